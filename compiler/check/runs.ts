// Members that several branches of an `if` declare under one name, and elements of an array of different layers. A declaration is checked anew with
// each of them: once with every condition that chooses among them assumed to hold, and once for each that is asked, with that one assumed not to.
import { type Diagnostic, locationText } from "../diagnostic.ts";
import type { Expr } from "../syntax/ast.ts";
import { type Choice, Choices } from "./choices.ts";
import { textOf } from "./errors.ts";
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
    const { chosen, found } = runWith(w, given, run);
    checked.push({ given, found });
    for (const choice of chosen) {
      if (!known.has(choice.condition.text)) runs.push([...given, { ...choice, holds: false }]);
      known.add(choice.condition.text);
    }
  }
  w.choices = new Choices();
  w.diagnostics.push(...before, ...joined(checked).filter((d) => !isUseful(w, d)));
}
/** Runs until all that is chosen was assumed from the beginning, as an `if` may have asked a condition before a member did. */
function runWith(w: World, given: readonly Choice[], run: () => void): Pick<Checked, "found"> & { chosen: Choice[] } {
  const chosen: Choice[] = [];
  for (;;) {
    w.choices = new Choices([...given, ...chosen]);
    run();
    const found = new Map(w.diagnostics.splice(0).map((d) => [keyOf(d), d]));
    if (w.choices.asked.length === 0) return { chosen, found };
    chosen.push(...w.choices.asked);
  }
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
  return checked.flatMap(({ given, found }) =>
    given.length === 1 && !found.has(key) ? given.map((choice) => ({ ...choice, holds: true })) : [],
  );
}
const choiceText = ({ holds, question: { at, answer } }: Choice): string =>
  `\`${textOf(at)}\`, at ${locationText(at)}, is ${holds ? "" : "not "}${answer}`;
