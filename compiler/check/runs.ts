// Members that several branches of an `if` declare under one name, and elements of an array of different layers. A declaration is checked anew with
// each of them: once with every condition that chooses among them assumed to hold, once for each `if` with its condition assumed otherwise, within the
// branches around it, and once with all of them otherwise.
import { type Diagnostic, locationText } from "../diagnostic.ts";
import type { Expr } from "../syntax/ast.ts";
import { assuming, type Choice, Choices } from "./choices.ts";
import { textOf } from "./errors.ts";
import type { Val } from "./values.ts";
import type { World } from "./world.ts";

interface Checked {
  readonly given: readonly Choice[];
  readonly found: ReadonlyMap<string, Diagnostic>;
}
/** Runs a check with each choice of members. An error that only some of them make says which. */
export function checkChoices(w: World, run: () => void): void {
  const [before, known] = [w.diagnostics.splice(0), new Set<string>()];
  w.useful.clear();
  const checked: Checked[] = [];
  const runs: (readonly Choice[])[] = [[]];
  for (const given of runs) {
    const { met, found } = runWith(w, given, run);
    checked.push({ given, found });
    for (const [key, { within, ...choice }] of met) {
      const around = united(given, within);
      if (known.has(key) || assuming(around).of(choice.condition) !== null) continue;
      known.add(key);
      runs.push([...around, { ...choice, holds: !choice.holds }]);
    }
  }
  const last = together(runs);
  if (last) checked.push({ given: last, found: runWith(w, last, run).found });
  w.choices = new Choices();
  w.diagnostics.push(...before, ...joined(checked).filter((d) => !isUseful(w, d)));
}
/** What the runs assume otherwise, at once, as far as one leaves it open of another; null: a run assumed just that. */
function together(runs: readonly (readonly Choice[])[]): readonly Choice[] | null {
  const all: Choice[] = [];
  for (const [choice] of runs.map((given) => given.slice(-1)))
    if (choice && assuming(all).of(choice.condition) === null) all.push(choice);
  return runs.some((given) => given.length === all.length && united(given, all).length === all.length) ? null : all;
}
const united = (given: readonly Choice[], more: readonly Choice[]): readonly Choice[] => [
  ...given,
  ...more.filter(({ condition }) => given.every((one) => one.condition.text !== condition.text)),
];
/** Runs until all that is chosen was assumed from the beginning, as an `if` may have asked a condition before a member did. */
function runWith(w: World, given: readonly Choice[], run: () => void): Pick<Checked, "found"> & Pick<Choices, "met"> {
  const made: Choice[] = [];
  for (;;) {
    w.choices = new Choices([...given, ...made]);
    const values = valuesOf(w, run);
    const found = new Map(w.diagnostics.splice(0).map((d) => [keyOf(d), d]));
    if (w.choices.made.length === 0) {
      for (const [e, value] of values) w.onValue(e, value);
      return { met: w.choices.met, found };
    }
    made.push(...w.choices.made);
  }
}
/** Runs, and gives the values of which it tells editors: only those of a run with all that it chooses are right. */
function valuesOf(w: World, run: () => void): ReadonlyMap<Expr, Val> {
  const [values, tell] = [new Map<Expr, Val>(), w.onValue];
  w.onValue = (e, value) => values.set(e, value);
  try {
    run();
  } finally {
    w.onValue = tell;
  }
  return values;
}
/** Whether a call that does nothing in one run does something in another. */
const isUseful = (w: World, { code, labels: [{ span }] }: Diagnostic): boolean =>
  code === "E0317" && [...w.useful].some((e: Expr) => e.span.source === span.source && e.span.start === span.start);
const keyOf = ({ code, message, labels: [{ span }] }: Diagnostic): string =>
  [code, span.source.name, span.start, message].join("\n");

function joined(checked: readonly Checked[]): Diagnostic[] {
  const all = new Map(checked.toReversed().flatMap(({ found }) => [...found]));
  return [...all].map(([key, d]) => {
    const why = whyOf(checked, key);
    return why.length === 0 ? d : { ...d, notes: [...d.notes, `this is where ${why.map(choiceText).join(" and ")}`] };
  });
}
/** What the first run assumes that finds an error; of that without assumptions: what other runs, which do not find it, deny. */
function whyOf(checked: readonly Checked[], key: string): readonly Choice[] {
  const first = checked.find(({ found }) => found.has(key));
  if (!first || first.given.length > 0) return first?.given ?? [];
  return checked.flatMap(({ given, found }) => {
    const [last, ...around] = given.toReversed();
    return last && around.every(({ holds }) => holds) && !found.has(key) ? [{ ...last, holds: !last.holds }] : [];
  });
}
const choiceText = ({ holds, question: { at, answer } }: Choice): string =>
  `\`${textOf(at)}\`, at ${locationText(at)}, is ${holds ? "" : "not "}${answer}`;
