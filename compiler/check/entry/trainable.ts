// What `moec check` finds beyond types: whether the models' `train` (or `forward`, if there is none) can be compiled, as far as that does not depend on
// the sizes of a batch.
import { type Diagnostic, Problem } from "../../diagnostic.ts";
import { ProgramError } from "../../program-error.ts";
import type { Method, Span } from "../../syntax/ast.ts";
import { nodesIn } from "../../syntax/nodes.ts";
import type { Loaded } from "../modules.ts";
import { nothingToTrain } from "../optimize.ts";
import { isLayer } from "../origin.ts";
import type { Declared } from "../values.ts";
import { elaborate } from "./elaborate.ts";
import { entrySignature, methodsOf, modelsOf, replacedMethods } from "./entry-signature.ts";

/**
 * The errors of the training steps, or calls, of a program in which `check` finds none. Of an alias without a body the optimizer's step is left out: it
 * is that of the layer, and takes most of the time, which is much for large models.
 */
export const checkTraining = (loaded: Loaded): Diagnostic[] => [...trainingErrors(loaded)].flat();
/** The same in pieces, each of one elaboration at most: between them others can work, or end it. */
export function* trainingErrors(loaded: Loaded): Generator<readonly Diagnostic[], void> {
  for (const model of modelsOf(loaded)) {
    const methods = methodsOf(model).map((m) => m.ast);
    const train = methods.find((m) => m.name.name === "train");
    const entry = train ?? methods.find((m) => m.name.name === "forward");
    if (entry && model.ast.header.every((p) => p.default)) yield* elaborationErrors(loaded, model, entry.name.name);
    else if (train) yield missingParts(model, train);
  }
}

/** The codes of errors that are there whatever the sizes of a batch. */
const sizeless: ReadonlySet<string> = new Set(["E0412", "E0413", "E0501", "E0502", "E0504", "E0505"]);
/** The codes of errors of numbers, which the header or the batch may have: what is no size, the K largest of fewer, and an index past the end. */
const ofNumbers: ReadonlySet<string> = new Set(["E0210", "E0211", "E0216"]);
/** The codes of errors that a condition may rule out (`index < E`), which what stands for the results of equal calls is not. */
const ofChoices: ReadonlySet<string> = new Set(["E0413", "E0216"]);
/** Sizes of a batch to elaborate with: one that fits most models, and others for those that need fewer or more rows, or a multiple of 3, 5 or 7. */
const batchSizes = [64, 2, 256, 1260];
/** What is wrong in `method`, and in the optimizer's step of `train`, with the header's defaults, if there is no size with which nothing is. */
function* elaborationErrors(loaded: Loaded, model: Declared, method: string): Generator<readonly Diagnostic[], void> {
  const all: (readonly Diagnostic[])[] = [];
  for (const size of batchSizes) {
    let errors = errorsWithSize(loaded, model, method, { size, checks: true });
    yield [];
    if (errors?.some(({ code }) => ofChoices.has(code))) {
      errors = errorsWithSize(loaded, model, method, { size, checks: false });
      yield [];
    }
    if (!errors) return;
    all.push(errors);
  }
  const [first = [], ...others] = all;
  const ofHeader = first
    .filter(({ code }) => ofNumbers.has(code))
    .filter((d) => others.every((list) => list.some(isSame(d))));
  yield [
    ...(all.map((list) => list.filter((d) => sizeless.has(d.code))).find((list) => list.length > 0) ?? []),
    ...ofHeader,
  ];
}
/** An error of `ofNumbers` is due to the header if other sizes of the batch leave it as it is. */
const isSame =
  ({ code, message, labels: [{ span }] }: Diagnostic) =>
  (other: Diagnostic): boolean =>
    other.code === code && other.message === message && other.labels[0].span.start === span.start;
/** Null: there are none at all. */
function errorsWithSize(
  loaded: Loaded,
  { ast }: Declared,
  method: string,
  { size, checks }: { readonly size: number; readonly checks: boolean },
): readonly Diagnostic[] | null {
  const declaration = ast.name.name;
  const { arguments: args, header } = entrySignature(loaded, declaration, method);
  const free = args
    .flatMap((a) => [a.spread, ...a.axes])
    .filter((name) => name !== null && !header.some((h) => h.name === name));
  const sizes = Object.fromEntries(free.map((name) => [name, size]));
  const entries = [{ name: method, method, sizes }];
  try {
    const {
      entries: [made],
    } = elaborate(loaded, { declaration, sizes: {}, precision: "f32", entries, checks });
    if (!isLayer(ast) || ast.body.length > 0) made?.training?.update(new Map());
    return null;
  } catch (error) {
    if (error instanceof ProgramError) return error.diagnostics.map((d) => withModel(d, ast.name.span));
    if (error instanceof Problem) return [];
    throw error;
  }
}
/** An error whose places are all in other files is shown with the model that it is an error of. */
const withModel = (d: Diagnostic, span: Span): Diagnostic =>
  d.labels.some((label) => label.span.source === span.source)
    ? d
    : { ...d, labels: [...d.labels, { span, text: "of this model" }] };
/** Without sizes: whether there is an `optimize`, and in all that the model can call a `loss`; layers that its header takes may state one. */
function missingParts(model: Declared, train: Method): Diagnostic[] {
  const takesLayers = model.ast.header.some((p) => p.type?.kind === "arrow");
  if (!takesLayers && !mentionsLoss(model, new Set(replacedMethods(model))))
    return [nothingToTrain("loss", train.name.span)];
  return nodesIn(train).some((n) => n.kind === "optimize") ? [] : [nothingToTrain("optimizer", train.name.span)];
}
/** `seen`: what has been looked at, or does not count. */
function mentionsLoss({ ast, module }: Declared, seen: Set<object>): boolean {
  if (seen.has(ast)) return false;
  seen.add(ast);
  const counted = isLayer(ast) ? { ...ast, body: ast.body.filter((m) => !seen.has(m)) } : ast;
  return nodesIn(counted).some(({ kind, name }) => {
    const named = kind === "name" && typeof name === "string" ? module.names.get(name) : null;
    return kind === "loss" || (named ? mentionsLoss(named, seen) : false);
  });
}
