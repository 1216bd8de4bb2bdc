// The list of passes, in their order: `toGraphs` makes a checked program's graphs, and `toPlan` a plan for a target from these.
import {
  type ElaboratedEntry,
  type Elaboration,
  type EntryRequest as ElaborationRequest,
  elaborate,
  type Training,
} from "./check/entry/elaborate.ts";
import type { Loaded } from "./check/modules.ts";
import { Problem } from "./diagnostic.ts";
import { recomputeFlagText, shardOptimizerFlagText, shardParametersFlagText, weightsFlagText } from "./flag-text.ts";
import { accumulate, type StoreGradient, updateGraph } from "./gradients/accumulate.ts";
import {
  parameterGradients,
  requestedGradients,
  splitTraining,
  unreached,
  withTraining,
} from "./gradients/entry-gradients.ts";
import {
  type Elaborated,
  type Graph,
  type Result,
  runtimeInputs,
  type Store,
  unstackedStore,
  type Value,
} from "./graph/node.ts";
import { printGraph, printTerm } from "./graph/print.ts";
import { verifyGraph } from "./graph/verify.ts";
import { assignedStores } from "./graph/walk.ts";
import type { Kernel } from "./kernel/ir.ts";
import type { Schedule } from "./kernel/schedule.ts";
import { choosePanels, type StorePanels } from "./lower/layout.ts";
import { lower } from "./lower/lower.ts";
import { dataAxis, replicaAxis, type Sharing, tensorAxis } from "./partition/mesh.ts";
import { partition } from "./partition/partition.ts";
import { requireFloatExperts, requireShadowed, shadowing } from "./partition/shadowing.ts";
import { dividedStores } from "./partition/store-placement.ts";
import { wholeWhereRead } from "./partition/whole-parameters.ts";
import {
  alone,
  ofOneWorker,
  placementsAlong,
  type WorkerSharing,
  workerSharingOf,
} from "./partition/worker-sharing.ts";
import { type Form, type Observer, type Pass, runPass, runPasses, timed } from "./pass.ts";
import { planMemory } from "./plan/memory.ts";
import type { Plan } from "./plan/plan.ts";
import { printPlan } from "./plan/print.ts";
import type { Sequence } from "./plan/sequence.ts";
import type { RewriteObserver } from "./rewrite/rule.ts";
import { simplify } from "./rewrite/simplify.ts";
import { type Backend, backends } from "./targets.ts";
import { findAttention } from "./transform/attention.ts";
import { keyStore, keysAsInputs } from "./transform/keys.ts";
import { prepare } from "./transform/prepare.ts";
import { cutHeads } from "./transform/products/head.ts";
import { pairProducts } from "./transform/products/pairs.ts";
import { shareMatrices } from "./transform/products/shared-matrix.ts";
import { untranspose } from "./transform/products/untranspose.ts";
import { shiftOperands } from "./transform/products/windows.ts";
import { type CodesOfCopies, quantise } from "./transform/quantise.ts";
import { routedBackward } from "./transform/routed.ts";
import { recomputeRouterLogits } from "./transform/router-logits.ts";
import { joinPieces } from "./transform/scatters/pieces.ts";
import { expandScatters } from "./transform/scatters/scatter.ts";
import { expandSingleUnit } from "./transform/single-unit.ts";
import type { Precision, Weights, WeightsOption } from "./types/dtype.ts";
import { type } from "./types/type.ts";

/** Values of size names; a spread (`...S`) takes a list, the sizes of its axes. */
export type Sizes = Readonly<Record<string, number | boolean | readonly number[]>>;
/**
 * One entry to compile: `method` of the model, under `name`. The method `train` by the name `evaluate` has `training` false. Entries that are named
 * `generate:T` share their states.
 */
export interface EntryRequest {
  readonly method: string;
  readonly name: string;
  readonly sizes: Sizes;
  /** Names of inputs that the caller gives although they have a default. */
  readonly inputs?: readonly string[];
  /** Adds gradients of the losses, plus of each float result times the input `cotangent.I`; a `train` then stops before its optimizer. */
  readonly gradients?: boolean;
}
export interface BuildRequest extends Partial<Sharing> {
  /** The name of a model, layer or function; default: the file's only model. */
  readonly declaration?: string;
  readonly sizes: Sizes;
  readonly precision: Precision;
  /** How matrices are kept that are not trained (`quantise`). Default: those of `kept` so, others as the program has them. */
  readonly weights?: WeightsOption | undefined;
  /** What the files hold as codes that parameters will be read from. Default: nothing. */
  readonly kept?: CodesOfCopies | undefined;
  readonly entries: readonly EntryRequest[];
  /** 1 (default): `train` itself steps the optimizer. n > 1: it only adds up gradients; the entry `train:update` steps by the mean of n batches. */
  readonly accumulate?: number;
  /** `train` keeps what passes between the layers of an array only, and makes each layer again in its backward: less memory, more time. */
  readonly recompute?: boolean | undefined;
  /** A checkpoint will give all parameters and saved states: `init` then gives the other stores only. */
  readonly restored?: boolean;
  readonly limits?: Limits;
}
/** Thresholds of passes in elements, which tests lower so that small programs reach them. Each pass has its own default. */
export interface Limits {
  /** Logits with fewer elements are not recomputed (`recomputeRouterLogits`). */
  readonly routerLogits?: number;
  /** Products with fewer elements are not cut into pieces of rows (`cutHeads`). */
  readonly heads?: number;
  /** Reductions of fewer elements are left as they are (`untranspose`). */
  readonly untranspose?: number;
  /** In bytes: rows that several choices share go once to each owner if that saves a worker more in an exchange (`partition`). */
  readonly sharedRows?: number;
  /** Of a piece of a sequence a worker has no fewer tokens, if there are several pieces (`tokenShard`). */
  readonly leastTokens?: number;
}

/**
 * The graphs of a checked program at given sizes: `init`, and the entries with their gradients and optimizer. Before any pass runs, `onStores` is
 * called with the stores that the program names, as one worker has them and as the whole program has them; it may refuse them by throwing.
 */
export function toGraphs(
  loaded: Loaded,
  request: BuildRequest,
  observer: Observer,
  onStores?: (own: readonly Store[], whole: readonly Store[]) => void,
): Elaborated {
  const entries = request.entries.map(methodOf);
  const shadowed = shadowing(request);
  const elaborated = timed("elaborate", observer, () =>
    elaborate(loaded, { ...request, entries, shadowed: shadowed.of }),
  );
  requireShadowed(request, shadowed.some());
  requireUndivided(request);
  if (request.recompute) requireLayers(elaborated.entries);
  requireNoGradients(request);
  const added: AddedStores = { stores: [], initResults: [] };
  const workerSharing = workerSharingOf(request, elaborated, added.stores);
  onStores?.(ofOneWorker(elaborated.stores(), workerSharing), elaborated.stores());
  const withGradients = new Set(request.entries.filter((e) => e.gradients).map((e) => e.name));
  const idle: string[] = [];
  const graphs = elaborated.entries.flatMap((entry) =>
    entryGraphs(elaborated, entry, { request, withGradients, added, idle, workerSharing }, observer),
  );
  const passes = afterGradients(elaborated.g, observer, {}, workerSharing);
  const init = keysAsInputs(elaborated.g, runPasses(passes, initOf(elaborated, request, added), observer));
  const stores = [
    ...ofOneWorker(workerSharing.stores(), workerSharing),
    ...runtimeInputStores(request, workerSharing),
    ...init.stores,
  ];
  const whole = { stores, graphs: [init.graph, ...graphs] };
  requireFloatExperts(request, whole);
  const { weights } = request;
  const wanted = weights ?? request.kept ?? "float";
  const kept = wanted === "float" ? whole : runPass(quantising(elaborated.g, wanted), whole, observer);
  if (weights && weights !== "float" && elaborated.entries.some((e) => e.training)) requireCodes(kept.stores, weights);
  const prepared = withFrozen(timed("prepare", observer, () => prepare(elaborated.g, kept)));
  const made = idle.length > 0 ? { ...prepared, unreached: idle } : prepared;
  if (tensorAxis(workerSharing).count === 1) return made;
  return { ...made, whole: { stores: elaborated.stores(), graphs: elaborated.entries.map(({ graph }) => graph) } };
}
/** Says which parameters are frozen. */
function withFrozen({ stores, graphs, ...more }: Elaborated): Elaborated {
  const assigned = assignedStores(graphs.slice(1));
  const isFrozen = ({ name, role }: Store): boolean => role === "parameter" && !assigned.has(name);
  return { ...more, graphs, stores: stores.map((s) => (isFrozen(s) ? { ...s, frozen: true } : s)) };
}
function requireNoGradients({ entries, weights = "float" }: BuildRequest): void {
  if (weights === "float" || !entries.some((e) => e.gradients)) return;
  throw new Problem(
    "weights that are kept as codes have no gradients",
    `leave ${weightsFlagText(weights)} or the gradients out`,
  );
}
/** Codes are not divided: a column's scale would be in several parts. */
function requireUndivided({ shardParameters = false, weights = "float" }: BuildRequest): void {
  if (weights === "float" || !shardParameters) return;
  throw new Problem(
    "weights that are kept as codes are whole on each worker",
    `leave ${weightsFlagText(weights)} or ${shardParametersFlagText} out; ${shardOptimizerFlagText} divides what is trained`,
  );
}
/** A training whose weights are to be kept as codes has some that it does not train. */
function requireCodes(stores: readonly Store[], weights: Weights): void {
  if (stores.some((s) => s.quantised)) return;
  throw new Problem(
    "no matrix can be kept as codes: what is trained cannot, and here nothing else multiplies or is looked up",
    `leave ${weightsFlagText(weights)} out, or let \`optimize\` name only what is to be trained, such as adapters`,
  );
}
const programForm: Form<Elaborated> = {
  name: "program",
  print: ({ graphs }) => graphs.map(printGraph).join("\n"),
  verify: ({ graphs }) => graphs.forEach((graph) => verifyGraph(graph, graph.name)),
};
const quantising = (g: G, wanted: Weights | CodesOfCopies): Pass<Elaborated, Elaborated> => ({
  name: "quantise",
  doc: "matrices of products, and tables, as codes and scales",
  to: programForm,
  run: (program) => quantise(g, program, wanted),
});
/** Something must be made again. */
function requireLayers(entries: readonly ElaboratedEntry[]): void {
  const trained = entries.filter((e) => e.training);
  if (trained.some((e) => e.training?.boundaries.length)) return;
  throw new Problem(
    trained.length === 0
      ? "nothing is trained here, so there is no backward that could compute layers again"
      : "`train` calls no array of layers one after the other, so there are no layers to compute again",
    `leave ${recomputeFlagText} out, or put the layers that are alike into an array: \`blocks: Block(D)[L]\``,
  );
}
function initOf(elaborated: Elaboration, { restored = false }: BuildRequest, added: AddedStores): Graph {
  const { name, results } = elaborated.init();
  const saved = new Set(elaborated.stores().flatMap((s) => (s.saved ? [s.name] : [])));
  const needed = restored ? results.filter((r) => !saved.has(r.name)) : results;
  return { name, results: [...needed, ...added.initResults] };
}
const methodOf = ({ method, name, sizes, inputs }: EntryRequest): ElaborationRequest => ({
  method,
  name,
  evaluates: name === "evaluate",
  sizes,
  inputs,
});
const runtimeInputStores = ({ accumulate = 1 }: BuildRequest, { workers }: WorkerSharing): readonly Store[] => [
  keyStore(runtimeInputs.key),
  unstackedStore(runtimeInputs.step, "input", type("i32", [])),
  ...(accumulate > 1 ? [unstackedStore(runtimeInputs.weight, "input", type("f32", []))] : []),
  ...(workers > 1 ? [unstackedStore(runtimeInputs.rank, "input", type("i32", []))] : []),
];

const graphForm: Form<Graph> = {
  name: "graph",
  print: printGraph,
  verify: (graph) => verifyGraph(graph, graph.name),
};
const graphPass = (name: string, doc: string, pass: (graph: Graph) => Graph): Pass<Graph, Graph> => ({
  name,
  doc,
  to: graphForm,
  run: pass,
});
type G = Elaboration["g"];
export const beforeGradients = (g: G, observer: Observer, limits: Limits = {}): Pass<Graph, Graph>[] => [
  graphPass("simplify", "rules of algebra, to a fixed point", (graph) => simplify(g, graph, false, watched(observer))),
  graphPass("shared", "a matrix that a batch shares is multiplied once, by the columns or rows of all", (graph) =>
    shareMatrices(g, graph),
  ),
  graphPass("attention", "softmax(q k, where: positions) v becomes one op", (graph) => findAttention(g, graph)),
  graphPass("written", "what a long loop puts step by step becomes a concat", (graph) => joinPieces(g, graph)),
  graphPass("untranspose", "reductions of what is read transposed go along its other axis", (graph) =>
    untranspose(g, graph, limits.untranspose),
  ),
];
export const afterGradients = (
  g: G,
  observer: Observer,
  limits: Limits = {},
  workerSharing: WorkerSharing = alone,
): Pass<Graph, Graph>[] => [
  graphPass("pieces", "what slices of a long loop send back becomes a concat", (graph) => joinPieces(g, graph)),
  graphPass("simplify", "rules of algebra, to a fixed point", (graph) => simplify(g, graph, true, watched(observer))),
  graphPass("routed", "the mixture's backward without its last product", (graph) => routedBackward(g, graph)),
  graphPass("scatters", "sums into places become routings", (graph) => expandScatters(g, graph)),
  graphPass("single-unit", "experts of one unit multiply rows by vectors", (graph) => expandSingleUnit(g, graph)),
  ...(tensorAxis(workerSharing).count > 1 ? [tensorPartitioning(g, workerSharing)] : []),
  ...(replicaAxis(workerSharing).count > 1 ? [replicaPartitioning(g, workerSharing)] : []),
  ...(dataAxis(workerSharing).count > 1 && workerSharing.shardParameters ? [gathering(g, workerSharing)] : []),
  ...(dataAxis(workerSharing).count > 1 ? [dataPartitioning(g, workerSharing, limits.sharedRows)] : []),
  graphPass("finish", "rules of algebra once more", (graph) => simplify(g, graph, true, watched(observer))),
  graphPass("router-logits", "the backward makes a router's logits again", (graph) =>
    recomputeRouterLogits(g, graph, limits.routerLogits),
  ),
  graphPass("heads", "products of a large vocabulary, and their losses, in pieces of rows", (graph) =>
    cutHeads(g, graph, limits.heads),
  ),
  graphPass("windows", "what shifted products add up is products of what is shifted", (graph) =>
    shiftOperands(g, graph),
  ),
  graphPass("pairs", "a sum of products is one contraction", (graph) => pairProducts(g, graph)),
];
function tensorPartitioning(g: G, sharing: WorkerSharing): Pass<Graph, Graph> {
  const doc = "what one worker has of matrices that several share, with collectives";
  return graphPass("tensor", doc, (graph) =>
    partition(g, graph, { workers: sharing.workers, axis: tensorAxis(sharing) }, placementsAlong(sharing, "tensor")),
  );
}
function replicaPartitioning(g: G, sharing: WorkerSharing): Pass<Graph, Graph> {
  const doc = "the batch of each group of workers that share its tokens";
  return graphPass("replica", doc, (graph) =>
    partition(g, graph, { workers: sharing.workers, axis: replicaAxis(sharing) }, placementsAlong(sharing, "replica")),
  );
}
function gathering(g: G, sharing: WorkerSharing): Pass<Graph, Graph> {
  const doc = "parameters of which each worker has a part are whole where they are read";
  const divided = (role: Store["role"]): ReadonlySet<string> => dividedStores(sharing.stores(), sharing, role);
  return graphPass("whole", doc, (graph) => wholeWhereRead(g, graph, divided("parameter"), divided("optimizer")));
}
function dataPartitioning(g: G, sharing: WorkerSharing, leastSaved?: number): Pass<Graph, Graph> {
  const doc = "one worker's graph: ops on its shards, with collectives";
  return graphPass("partition", doc, (graph) =>
    partition(g, graph, { ...sharing, leastSaved }, placementsAlong(sharing, "data")),
  );
}
const watched = ({ onRewrite }: Observer): RewriteObserver =>
  onRewrite
    ? { onRewrite: (rule, from, to) => onRewrite(rule.name, () => `${printTerm(from)} = ${printTerm(to)}`) }
    : {};

/** Stores that the compiler adds (sums of gradients, cotangents), and the results of `init` that initialise them; inputs need none. */
interface AddedStores {
  readonly stores: Store[];
  readonly initResults: Result[];
}
interface EntryOptions {
  readonly request: BuildRequest;
  /** The entries of which the caller asks for gradients; then there is no optimizer. */
  readonly withGradients: ReadonlySet<string>;
  readonly added: AddedStores;
  /** Gets the names of trained parameters that no loss depends on. */
  readonly idle: string[];
  readonly workerSharing: WorkerSharing;
}
/** The finished graph of one entry, with its gradients or its optimizer's step. Where gradients are accumulated the step is a second graph. */
function entryGraphs(
  e: Elaboration,
  entry: ElaboratedEntry,
  { request, withGradients, added, idle, workerSharing }: EntryOptions,
  observer: Observer,
): Graph[] {
  const { g } = e;
  const { training } = entry;
  const { accumulate: n = 1, recompute = false, limits } = request;
  const made = runPasses(beforeGradients(g, observer, limits), withTraining(entry, recompute), observer);
  const forward = splitTraining(entry, made, recompute);
  const finish = (graph: Graph): Graph =>
    runPasses(afterGradients(g, observer, limits, workerSharing), graph, observer);
  const withResults = (...more: Result[]): Graph =>
    finish({ ...forward.graph, results: [...forward.graph.results, ...more] });
  if (withGradients.has(entry.name)) {
    const requested = (): Result[] => requestedGradients(e, entry, forward, added.stores);
    return [withResults(...timed("differentiate", observer, requested))];
  }
  if (!training) return [withResults()];
  const grads = timed("differentiate", observer, () => parameterGradients(g, training, forward));
  const without = unreached(g, training, grads);
  if (grads.size > 0 && without.length === grads.size) throw nothingLearns(entry.name);
  idle.push(...without);
  if (n === 1) return [withResults(...timed("optimizer", observer, () => training.update(grads)))];
  const sums = accumulate(g, entry.name, gradientsOfStores(training, grads));
  const updates = timed("optimizer", observer, () => training.update(sums.means));
  added.stores.push(...sums.stores);
  added.initResults.push(...sums.clears);
  const update = finish(updateGraph(entry.name, updates, sums));
  return [withResults(...sums.adds), update];
}
const nothingLearns = (entry: string): Problem =>
  new Problem(
    `no loss of \`${entry}\` depends on a parameter that is trained`,
    "compute it from parameters by operations that have gradients: `detach`, comparisons, whole numbers and the indices of `top_k` have none",
  );
const gradientsOfStores = ({ trainable }: Training, grads: ReadonlyMap<string, Value>): StoreGradient[] =>
  trainable.map(({ store }) => ({ store, grad: grads.get(store.name) as Value }));
const sequenceForm: Form<Sequence> = {
  name: "sequence",
  print: (s) =>
    s.launches.map((l) => `${l.phase} ${l.kernel.name} ${l.args.map((a) => a.buffer.name).join(" ")}`).join("\n"),
  verify: () => undefined,
};
const panelsForm: Form<StorePanels> = {
  name: "layout",
  print: (panels) => [...panels].map(([store, width]) => `${store}: panels of ${width}`).join("\n"),
  verify: () => undefined,
};
const planForm: Form<Plan> = { name: "plan", print: printPlan, verify: () => undefined };

/** The plan for a target. `onKernel` is called with each distinct kernel; `schedules`: those that `moec tune` measured on this machine. */
export function toPlan(
  { graphs, stores }: Elaborated,
  observer: Observer,
  onKernel?: (k: Kernel) => void,
  schedules?: ReadonlyMap<string, Schedule>,
  backend: Backend = backends.host,
): Plan {
  const { emit, choices, access, variants } = backend;
  const layout: Pass<readonly Graph[], StorePanels> = {
    name: "layout",
    doc: "weights in the order in which contractions read them",
    to: panelsForm,
    run: (all) => (choices.panel === null ? new Map() : choosePanels(all, stores, choices.panel)),
  };
  const panels = runPass(layout, graphs, observer);
  const options = { emit, choices, access, variants, stores, panels, schedules, onKernel };
  const lowering: Pass<Graph, Sequence> = {
    name: "lower",
    doc: "regions, a kernel for each, and their text",
    to: sequenceForm,
    run: (graph) => lower(graph, options),
  };
  const planning: Pass<readonly Sequence[], Plan> = {
    name: "plan",
    doc: "places in one arena for all buffers",
    to: planForm,
    run: (sequences) =>
      planMemory(sequences, stores, {
        target: backend.name,
        header: backend.header(),
        grain: backend.grain,
      }),
  };
  const sequences = graphs.map((graph) => runPass(lowering, graph, observer));
  return runPass(planning, sequences, observer);
}
