// Which kernels compute a region, in order. Most regions take one kernel; sorting, routing and operations cut into pieces take several.
import { Bug } from "../diagnostic.ts";
import type { Node, Value } from "../graph/node.ts";
import { item } from "../item.ts";
import type { Choices } from "../kernel/schedule.ts";
import type { VirtualBuffer } from "../plan/sequence.ts";
import type { Region } from "../regions/region.ts";
import type { DType } from "../types/dtype.ts";
import { product } from "../types/numbers.ts";
import { count, dims, dtypeOf } from "../types/type.ts";
import { attention, attentionJoin, keyPieces } from "./attention/attention.ts";
import { attentionKeys, attentionQueries } from "./attention/attention-backward.ts";
import {
  attentionHeads,
  attentionTransposed,
  usesHeadTasks,
  usesTransposedScores,
} from "./attention/attention-host.ts";
import * as contract from "./contraction.ts";
import { cutoff, cutoffEnd, cutoffPieces, cutoffRound, cutoffRounds } from "./cutoff.ts";
import { type Draft, virtualBuffer } from "./draft.ts";
import { nameOf } from "./reader.ts";
import * as routing from "./route.ts";
import { lanes } from "./rows/lanes.ts";
import { rows } from "./rows/rows.ts";
import { scan } from "./scan.ts";
import { scatter } from "./scatter.ts";
import * as largest from "./top-k.ts";
import { type SortPass, sortedShape, sortPass, sortPasses } from "./top-k-sort.ts";

interface Launch {
  readonly kind: string;
  readonly write: (d: Draft) => void;
  /** The values that it makes; if not given, all outputs of the region. */
  readonly outputs?: readonly Value[];
  /** The nodes that it computes; if not given, all that the region computes. */
  readonly nodes?: readonly Node[];
}
interface LaunchRequest {
  readonly node: Node;
  readonly region: Region;
  readonly choices: Choices;
  /** Whether any node or result reads a value. */
  readonly isRead: (v: Value) => boolean;
}
/** The launches of any region except a `concat`, whose pieces are written where they are made (concat-pieces.ts). */
export function launchesOf(region: Region, choices: Choices, isRead: LaunchRequest["isRead"]): readonly Launch[] {
  const [node] = region.nodes;
  if (region.kind === "rows" || !node)
    return [{ kind: nameOf(item(region.outputs, 0).node), write: (d) => rows(d, region) }];
  if (region.kind === "lanes") return [{ kind: "lanes", write: (d) => lanes(d, region) }];
  const launches = launchesByOp[node.op.name];
  if (!launches) throw new Bug(`no kernel is known for ${node.op.name}`);
  return [...launches({ node, region, choices, isRead }), ...(region.kind === "tile" ? rowSumLaunches(region) : [])];
}
const rowSumLaunches = (region: Region): Launch[] =>
  contract
    .rowSums(region)
    .map((v) => ({ kind: "sum", write: (d) => contract.addPartialSums(d, v), outputs: [v], nodes: [v.node] }));

type Write = (d: Draft, node: Node, region: Region) => void;
const singleLaunch =
  (kind: string, write: Write) =>
  ({ node, region }: LaunchRequest): readonly Launch[] => [{ kind, write: (d) => write(d, node, region) }];
const launchesByOp: Readonly<Partial<Record<string, (request: LaunchRequest) => readonly Launch[]>>> = {
  dot: singleLaunch("dot", contract.dot),
  ragged_dot: singleLaunch("ragged_dot", contract.raggedDot),
  ragged_outer: singleLaunch("ragged_outer", contract.raggedOuter),
  ragged_sum: singleLaunch("ragged_sum", contract.raggedSum),
  scan: singleLaunch("scan", scan),
  scatter: singleLaunch("put", (d, _, { nodes }) => scatter(d, nodes)),
  top_k: topKLaunches,
  cutoff: cutoffLaunches,
  route: routeLaunches,
  attention: attentionLaunches,
  attention_backward: attentionBackwardLaunches,
};

function attentionLaunches({ node, choices }: LaunchRequest): readonly Launch[] {
  if (usesTransposedScores(node, choices))
    return [{ kind: "attention_transposed", write: (d) => attentionTransposed(d, node) }];
  const found = keyPieces(node, choices);
  if (!found) return [{ kind: "attention", write: (d) => attention(d, node) }];
  const shape = dims(item(node.results, 0).type);
  const of = (name: string, ...more: readonly number[]): VirtualBuffer =>
    virtualBuffer(`${name}.${node.id}`, "f32", [found.count, product(shape.slice(0, -1)), ...more], null);
  const pieces = { ...found, out: of("out", item(shape, 4)), top: of("top"), total: of("total") };
  return [
    { kind: "attention_pieces", write: (d) => attention(d, node, pieces) },
    { kind: "attention_join", write: (d) => attentionJoin(d, node, pieces), nodes: [] },
  ];
}
function attentionBackwardLaunches({ node, choices, isRead }: LaunchRequest): readonly Launch[] {
  const dbias = node.results[3] && isRead(node.results[3]) ? node.results[3] : null;
  if (usesHeadTasks(node, choices)) return [{ kind: "attention_heads", write: (d) => attentionHeads(d, node, dbias) }];
  return [
    { kind: "attention_queries", write: (d) => attentionQueries(d, node, dbias) },
    { kind: "attention_keys", write: (d) => attentionKeys(d, node) },
  ];
}
function topKLaunches({ node, choices }: LaunchRequest): readonly Launch[] {
  if (largest.usesSort(node, choices)) return sortLaunches(node);
  const length = largest.searchPieceLength(node, choices);
  if (length === null) return [{ kind: "top_k", write: (d) => largest.topK(d, node) }];
  const x = item(node.args, 0);
  const pieces = Math.ceil(item(dims(x.type), x.type.shape.length - 1) / length);
  const of = (name: string, dtype: DType): VirtualBuffer =>
    virtualBuffer(`${name}.${node.id}`, dtype, [count(item(node.results, 0).type), pieces], null);
  const made = { length, values: of("tops", dtypeOf(x.type)), index: of("places", "i32") };
  return [
    { kind: "largest_pieces", write: (d) => largest.largestOfPiece(d, node, made) },
    { kind: "largest", write: (d) => largest.largestOfPieces(d, node, made), nodes: [] },
  ];
}
function sortLaunches(node: Node): readonly Launch[] {
  const order = Array.from({ length: sortPasses - 1 }, (_, number) =>
    virtualBuffer(`order.${node.id}.${number}`, "i32", sortedShape(node), null),
  );
  return Array.from({ length: sortPasses }, (_, number): Launch => {
    const pass: SortPass = { number, before: order[number - 1] ?? null, after: order[number] ?? null };
    return { kind: "sort", write: (d) => sortPass(d, node, pass) };
  });
}
function cutoffLaunches({ node, choices }: LaunchRequest): readonly Launch[] {
  const pieces = cutoffPieces(node, choices);
  if (pieces <= 1) return [{ kind: "cutoff", write: (d) => cutoff(d, node) }];
  const rounds = cutoffRounds(node, pieces, (name, dtype, shape) =>
    virtualBuffer(`${name}.${node.id}`, dtype, shape, null),
  );
  return [
    ...rounds.map((round) => ({ kind: "cutoff_round", write: (d: Draft) => cutoffRound(d, node, round) })),
    { kind: "cutoff_end", write: (d) => cutoffEnd(d, node, item(rounds, rounds.length - 1)) },
  ];
}
/** One counting sort for each digit of the group; a small routing with one digit is done by one kernel. */
function routeLaunches({ node, isRead }: LaunchRequest): readonly Launch[] {
  const digits = routing.digitsOf(node);
  const places = digits.length > 1 || node.results.some((v, i) => i !== 1 && isRead(v));
  const [only] = digits;
  if (digits.length === 1 && only?.chunks === 1) {
    const pass: routing.RoutePass = { ...only, node, before: null, after: null };
    return [{ kind: "route", write: (d) => routing.routeInOneTask(d, pass, places) }];
  }
  const of = (name: string, p: number, shape: readonly number[]): VirtualBuffer =>
    virtualBuffer(`${name}.${node.id}.${p}`, "i32", shape, null);
  const order = digits.slice(1).map((_, p) => of("order", p, [routing.choicesOf(node)]));
  const passes = digits.flatMap((digit, p): Launch[] => {
    const pass: routing.RoutePass = { ...digit, node, before: order[p - 1] ?? null, after: order[p] ?? null };
    const [counts, starts] = [of("counts", p, [digit.chunks, digit.keys]), of("places", p, [digit.chunks, digit.keys])];
    return [
      { kind: "route_count", write: (d) => routing.routeCount(d, pass, counts) },
      { kind: "route_scan", write: (d) => routing.routeScan(d, pass, counts, places ? starts : null) },
      ...(places ? [{ kind: "route_place", write: (d: Draft) => routing.routePlace(d, pass, starts) }] : []),
    ];
  });
  const offsets: Launch = { kind: "route_offsets", write: (d) => routing.routeOffsets(d, node) };
  return digits.length > 1 ? [...passes, offsets] : passes;
}
