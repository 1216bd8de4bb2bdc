// A pass is a named pure function between two forms. Running one gives its time, its verification and its printing.
import { Bug } from "./diagnostic.ts";

/** What a pass reads or makes: how it is printed, and what must hold of it (throws otherwise). */
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
/** What an observer learns of each pass that ran, or stage that was timed. `text` prints its result, and is only computed when asked for. */
export interface Ran {
  readonly pass: string;
  /** Of `performance.now()`, in seconds. */
  readonly start: number;
  readonly seconds: number;
  readonly text?: () => string;
}
export interface Observer {
  /** Seconds by pass, summed over entries. */
  readonly timings: Map<string, number>;
  after(ran: Ran): void;
  /** Told of what each pass read and made. For tests. */
  readonly changed?: (pass: string, from: unknown, to: unknown) => void;
  /** Told of each use of a rule, by its equation; `text`: the two sides. */
  readonly rewrote?: (rule: string, text: () => string) => void;
}
export const silent = (): Observer => ({ timings: new Map(), after: () => undefined });

/** Seconds of `work`, added to the stage's. */
export function timed<T>(stage: string, observer: Observer, work: () => T): T {
  const start = performance.now() / 1000;
  const result = work();
  const seconds = performance.now() / 1000 - start;
  observer.timings.set(stage, (observer.timings.get(stage) ?? 0) + seconds);
  observer.after({ pass: stage, start, seconds });
  return result;
}
/** Runs one pass: timed, verified, observed. What verification throws names the guilty pass. */
export function run<From, To>(pass: Pass<From, To>, input: From, observer: Observer): To {
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
  observer.changed?.(pass.name, input, output);
  observer.after({ pass: pass.name, start, seconds, text: () => pass.to.print(output) });
  return output;
}
/** One pass after the other. */
export const through = <T>(passes: readonly Pass<T, T>[], input: T, observer: Observer): T =>
  passes.reduce((value, pass) => run(pass, value, observer), input);
