// Threads that each encode with a tokenizer of their own. What they run is encoding-thread.ts.
import { existsSync } from "node:fs";
import { fileURLToPath } from "node:url";
import { Worker } from "node:worker_threads";
import { Problem } from "../../compiler/diagnostic.ts";
import type { Codec, Encoded, EncodingThreads, FilePart } from "../tokens.ts";
import type { TokenizerFile } from "./file.ts";

/** What a thread begins with. */
export interface ThreadData {
  readonly file: TokenizerFile;
  readonly timeLimit: number;
}
/** A thread's answers, in the order of what it was given. */
export type Answer =
  | { readonly made: Encoded }
  | { readonly problem: Pick<Problem, "message" | "help"> }
  | { readonly error: unknown };

/** Below the bundle's chunks. Null if moec runs from its sources, or is bundled into another program: it then encodes on one thread. */
function scriptOfThread(): URL | null {
  const script = new URL("runtime/tokenizer/encoding-thread.js", import.meta.url);
  return script.protocol === "file:" && existsSync(fileURLToPath(script)) ? script : null;
}
/** `script`: encoding-thread.ts, bundled. */
export const threadsOf = (data: ThreadData, script: URL | null = scriptOfThread()): Codec["openThreads"] =>
  script && ((count) => new Threads(script, { ...data, file: { ...data.file, files: new Map() } }, count));

class Threads implements EncodingThreads {
  readonly #threads: readonly Thread[];

  constructor(script: URL, workerData: ThreadData, count: number) {
    // flags of the process, such as --input-type, may not fit a file
    this.#threads = Array.from({ length: count }, () => new Thread(new Worker(script, { workerData, execArgv: [] })));
  }
  readonly encode = (part: FilePart): Promise<Encoded> => {
    const idlest = this.#threads.reduce((least, thread) => (thread.waiting < least.waiting ? thread : least));
    return idlest.encode(part);
  };
  async close(): Promise<void> {
    await Promise.all(this.#threads.map((thread) => thread.close()));
  }
}
interface Waiting {
  readonly resolve: (made: Encoded) => void;
  readonly reject: (error: unknown) => void;
}
class Thread {
  readonly #worker: Worker;
  readonly #waiting: Waiting[] = [];
  /** Why it ended. */
  #failed: { readonly error: unknown } | null = null;

  constructor(worker: Worker) {
    this.#worker = worker;
    this.#worker.on("message", (answer: Answer) => this.#answered(answer));
    this.#worker.on("error", (error) => this.#end(error));
    this.#worker.on("exit", (code) => this.#end(new Error(`a thread that encodes text ended with ${code}`)));
  }
  get waiting(): number {
    return this.#waiting.length;
  }
  encode(part: FilePart): Promise<Encoded> {
    return new Promise((resolve, reject) => {
      if (this.#failed) return reject(this.#failed.error);
      this.#waiting.push({ resolve, reject });
      this.#worker.postMessage(part);
    });
  }
  async close(): Promise<void> {
    await this.#worker.terminate();
  }
  #answered(answer: Answer): void {
    const first = this.#waiting.shift();
    if ("made" in answer) first?.resolve(answer.made);
    else first?.reject("error" in answer ? answer.error : new Problem(answer.problem.message, answer.problem.help));
  }
  #end(error: unknown): void {
    this.#failed ??= { error };
    for (const { reject } of this.#waiting.splice(0)) reject(this.#failed.error);
  }
}
