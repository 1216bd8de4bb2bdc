// Copies of parameters that entries read in a narrower dtype, made anew before the next run after a parameter was written.
import { prepared } from "../compiler/transform/prepare.ts";
import type { Executable, Outcome, Tensor } from "./executable.ts";

export const withCopies = (executable: Executable): Executable =>
  executable.entries.includes(prepared) ? new Copying(executable) : executable;

class Copying implements Executable {
  readonly stores: Executable["stores"];
  readonly entries: Executable["entries"];
  readonly bytes: Executable["bytes"];
  readonly #inner: Executable;
  readonly #parameters: ReadonlySet<string>;
  #stale = true;

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
  async run(
    entry: string,
    inputs: ReadonlyMap<string, Tensor>,
    at: Parameters<Executable["run"]>[2],
  ): Promise<Outcome> {
    // `init` assigns the copies itself
    if (this.#stale && entry !== "init") await this.#inner.run(prepared, new Map(), at);
    this.#stale = false;
    return this.#inner.run(entry, inputs, at);
  }
  close(): void {
    this.#inner.close();
  }
}
