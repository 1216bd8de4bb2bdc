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
  text(): string;
}
export interface Observer {
  readonly timings: Map<string, number>;
  after(ran: Ran): void;
}
export const silent = (): Observer => ({ timings: new Map(), after: () => {} });

/** Runs one pass: timed, verified, observed. What verification throws names the guilty pass. */
export function run<From, To>(pass: Pass<From, To>, input: From, observer: Observer): To {
  const start = performance.now();
  const output = pass.run(input);
  const seconds = (performance.now() - start) / 1000;
  observer.timings.set(pass.name, (observer.timings.get(pass.name) ?? 0) + seconds);
  try {
    pass.to.verify(output);
  } catch (cause) {
    throw new Bug(`pass ${pass.name} left a malformed ${pass.to.name}: ${cause instanceof Error ? cause.message : String(cause)}`);
  }
  observer.after({ pass: pass.name, seconds, text: () => pass.to.print(output) });
  return output;
}
/** Two passes as one: a wrong order does not compile. */
export const chain =
  <A, B, C>(first: Pass<A, B>, second: Pass<B, C>) =>
  (input: A, observer: Observer): C =>
    run(second, run(first, input, observer), observer);
