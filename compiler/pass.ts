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
/** What an observer learns of each pass that ran. `text` prints its result, and is only computed when asked for. */
export interface Ran {
  readonly pass: string;
  readonly seconds: number;
  readonly text: () => string;
}
export interface Observer {
  /** Seconds by pass, summed over entries. */
  readonly timings: Map<string, number>;
  after(ran: Ran): void;
}
export const silent = (): Observer => ({ timings: new Map(), after: () => undefined });

/** Seconds of `work`, added to the stage's. */
export function timed<T>(stage: string, observer: Observer, work: () => T): T {
  const start = performance.now();
  const result = work();
  observer.timings.set(stage, (observer.timings.get(stage) ?? 0) + (performance.now() - start) / 1000);
  return result;
}
/** Runs one pass: timed, verified, observed. What verification throws names the guilty pass. */
export function run<From, To>(pass: Pass<From, To>, input: From, observer: Observer): To {
  const start = performance.now();
  const output = timed(pass.name, observer, () => pass.run(input));
  const seconds = (performance.now() - start) / 1000;
  try {
    timed("verify", observer, () => pass.to.verify(output));
  } catch (cause) {
    const why = cause instanceof Error ? cause.message : String(cause);
    throw new Bug(`pass ${pass.name} left a malformed ${pass.to.name}: ${why}`);
  }
  observer.after({ pass: pass.name, seconds, text: () => pass.to.print(output) });
  return output;
}
/** One pass after the other. */
export const through = <T>(passes: readonly Pass<T, T>[], input: T, observer: Observer): T =>
  passes.reduce((value, pass) => run(pass, value, observer), input);
