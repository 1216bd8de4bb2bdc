// A pass is a named pure function from one form of the program to another. Running one also times, verifies and prints it.
import { Bug } from "./diagnostic.ts";

/** A form of the program (graph, kernels, plan): how to print it, and how to check it (`verify` throws). */
export interface Form<T> {
  readonly name: string;
  print(value: T): string;
  verify(value: T): void;
}
export interface Pass<From, To> {
  readonly name: string;
  readonly doc: string;
  readonly to: Form<To>;
  run(input: From): To;
}
/** What an observer is told about a pass or timed stage. `text` prints its result, and is only called if needed. */
export interface PassEvent {
  readonly pass: string;
  /** When it began: `performance.now()`, in seconds. */
  readonly start: number;
  readonly seconds: number;
  readonly text?: () => string;
}
export interface Observer {
  /** Seconds by pass, summed over all entries. */
  readonly timings: Map<string, number>;
  onPass(ran: PassEvent): void;
  /** Called with the input and output of each pass; used by tests. */
  readonly onChange?: (pass: string, from: unknown, to: unknown) => void;
  /** Called for each rewrite by a rule; `rule` is its equation, `text` prints both sides. */
  readonly onRewrite?: (rule: string, text: () => string) => void;
}
export const silentObserver = (): Observer => ({ timings: new Map(), onPass: () => undefined });

/** Runs `work`, adding its time to that of the stage. */
export function timed<T>(stage: string, observer: Observer, work: () => T): T {
  const start = performance.now() / 1000;
  const result = work();
  const seconds = performance.now() / 1000 - start;
  observer.timings.set(stage, (observer.timings.get(stage) ?? 0) + seconds);
  observer.onPass({ pass: stage, start, seconds });
  return result;
}
/** Runs one pass, times and verifies it, and tells the observer. An error of the verification names the pass. */
export function runPass<From, To>(pass: Pass<From, To>, input: From, observer: Observer): To {
  const start = performance.now() / 1000;
  const output = pass.run(input);
  const seconds = performance.now() / 1000 - start;
  observer.timings.set(pass.name, (observer.timings.get(pass.name) ?? 0) + seconds);
  try {
    timed("verify", observer, () => pass.to.verify(output));
  } catch (cause) {
    const why = cause instanceof Error ? cause.message : String(cause);
    throw new Bug(`pass ${pass.name} left a malformed ${pass.to.name}: ${why}`);
  }
  observer.onChange?.(pass.name, input, output);
  observer.onPass({ pass: pass.name, start, seconds, text: () => pass.to.print(output) });
  return output;
}
/** Runs passes one after the other. */
export const runPasses = <T>(passes: readonly Pass<T, T>[], input: T, observer: Observer): T =>
  passes.reduce((value, pass) => runPass(pass, value, observer), input);
