// Keeps copies of parameters in narrower dtypes up to date: after a parameter was written from outside, they are made anew before the next run.
import { prepared } from "../compiler/transform/prepare.ts";
import { type At, type Executable, type Outcome, type Repeat, repeated, type Tensor } from "./executable.ts";
import { cancelled } from "./plan-executable.ts";

export const withCopies = (executable: Executable): Executable =>
  executable.entries.includes(prepared) ? new Copying(executable) : executable;

class Copying implements Executable {
  readonly stores: Executable["stores"];
  readonly entries: Executable["entries"];
  readonly bytes: Executable["bytes"];
  readonly #inner: Executable;
  readonly #parameters: ReadonlySet<string>;
  #stale = true;
  /** Set by `cancel`; checked between making the copies and running the entry, when the inner executable has no run to cancel. */
  #cancelled = false;

  constructor(inner: Executable) {
    this.#inner = inner;
    this.stores = inner.stores.filter((s) => s.role !== "prepared");
    this.entries = inner.entries.filter((name) => name !== prepared);
    this.bytes = inner.bytes;
    this.#parameters = new Set(inner.stores.filter((s) => s.role === "parameter").map((s) => s.name));
  }
  read(store: string): Tensor {
    return this.#inner.read(store);
  }
  write(store: string, value: Tensor): void {
    this.#inner.write(store, value);
    this.#stale ||= this.#parameters.has(store);
  }
  async run(entry: string, inputs: ReadonlyMap<string, Tensor>, at: At): Promise<Outcome> {
    await this.#refresh(entry, at);
    this.#requireWanted(entry);
    return this.#inner.run(entry, inputs, at);
  }
  async repeat(how: Repeat, ...run: Parameters<Executable["run"]>): Promise<Tensor["data"]> {
    await this.#refresh(run[0], run[2]);
    this.#requireWanted(run[0]);
    return repeated(this.#inner, how, ...run);
  }
  cancel(): void {
    this.#cancelled = true;
    this.#inner.cancel?.();
  }
  close(): void {
    this.#inner.close();
  }
  /** Makes the copies anew if a parameter was written; `init` assigns them itself. */
  async #refresh(entry: string, at: At): Promise<void> {
    this.#cancelled = false;
    if (this.#stale && entry !== "init") await this.#inner.run(prepared, new Map(), at);
    this.#stale = false;
  }
  #requireWanted(entry: string): void {
    if (this.#cancelled) throw cancelled(entry);
  }
}
