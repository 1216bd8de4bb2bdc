// Keeps copies of parameters in narrower dtypes up to date: after a parameter was written from outside, they are made anew before the next run.
import { prepareEntry } from "../../compiler/transform/prepare.ts";
import { type Executable, type Outcome, type RunContext, repeatOrRun, type Tensor } from "./executable.ts";
import { cancelledProblem } from "./plan-executable.ts";

export const withPreparedCopies = (executable: Executable): Executable =>
  executable.entries.includes(prepareEntry) ? new PreparedExecutable(executable) : executable;

class PreparedExecutable implements Executable {
  readonly stores: Executable["stores"];
  readonly entries: Executable["entries"];
  readonly bytes: Executable["bytes"];
  readonly readCodes?: NonNullable<Executable["readCodes"]>;
  readonly writeCodes?: NonNullable<Executable["writeCodes"]>;
  readonly readPart?: NonNullable<Executable["readPart"]>;
  readonly writePart?: NonNullable<Executable["writePart"]>;
  readonly repeat?: NonNullable<Executable["repeat"]>;
  readonly #inner: Executable;
  readonly #parameters: ReadonlySet<string>;
  #stale = true;
  /** Set by `cancel`; checked between making the copies and running the entry, when the inner executable has no run to cancel. */
  #cancelled = false;

  constructor(inner: Executable) {
    this.#inner = inner;
    this.stores = inner.stores.filter((s) => s.role !== "prepared");
    this.entries = inner.entries.filter((name) => name !== prepareEntry);
    this.bytes = inner.bytes;
    if (inner.readCodes) this.readCodes = inner.readCodes;
    if (inner.readPart) this.readPart = inner.readPart;
    if (inner.writeCodes)
      this.writeCodes = (store, ...part) => {
        inner.writeCodes?.(store, ...part);
        this.#stale ||= this.#parameters.has(store);
      };
    if (inner.writePart)
      this.writePart = (store, ...part) => {
        inner.writePart?.(store, ...part);
        this.#stale ||= this.#parameters.has(store);
      };
    if (inner.repeat)
      this.repeat = async (how, ...run) => {
        await this.#refresh(run[0], run[2]);
        this.#requireNotCancelled(run[0]);
        return repeatOrRun(inner, how, ...run);
      };
    this.#parameters = new Set(inner.stores.filter((s) => s.role === "parameter").map((s) => s.name));
  }
  read(store: string): Tensor {
    return this.#inner.read(store);
  }
  write(store: string, value: Tensor): void {
    this.#inner.write(store, value);
    this.#stale ||= this.#parameters.has(store);
  }
  async run(entry: string, inputs: ReadonlyMap<string, Tensor>, at: RunContext): Promise<Outcome> {
    await this.#refresh(entry, at);
    this.#requireNotCancelled(entry);
    return this.#inner.run(entry, inputs, at);
  }
  cancel(): void {
    this.#cancelled = true;
    this.#inner.cancel?.();
  }
  close(): void {
    this.#inner.close();
  }
  /** Makes the copies anew if a parameter was written; `init` assigns them itself. */
  async #refresh(entry: string, at: RunContext): Promise<void> {
    this.#cancelled = false;
    if (this.#stale && entry !== "init") await this.#inner.run(prepareEntry, new Map(), at);
    this.#stale = false;
  }
  #requireNotCancelled(entry: string): void {
    if (this.#cancelled) throw cancelledProblem(entry);
  }
}
