// All ops. To add one, write its record, declare its attributes in attrs.ts, and list it here.
import type { Op } from "../graph/node.ts";
import { attention, attention_backward } from "./attention.ts";
import { all_gather, all_reduce, all_to_all, exchange, whole } from "./collectives.ts";
import { cutoff } from "./cutoff.ts";
import { dot } from "./dot.ts";
import { from_fp4 } from "./fp4.ts";
import { gather, scatter, top_k } from "./gather.ts";
import { constant, iota, param } from "./leaf.ts";
import { after, binary, cast, detach, select, unary } from "./point.ts";
import { ragged_dot, ragged_outer, ragged_sum } from "./ragged.ts";
import { random } from "./random.ts";
import { reduce, scan } from "./reduce.ts";
import { combine, dispatch, route } from "./route.ts";
import { broadcast, concat, reshape, slice, transpose } from "./view.ts";

const leaves = [param, constant, iota] as const;
const points = [unary, binary, select, cast, from_fp4, detach, after, random] as const;
const views = [reshape, transpose, broadcast, slice, concat] as const;
const reductions = [reduce, scan, ragged_sum] as const;
const tiles = [dot, ragged_dot, ragged_outer, attention, attention_backward] as const;
const collectives = [all_gather, all_reduce, all_to_all, exchange, whole] as const;
const algorithms = [route, dispatch, combine, gather, scatter, top_k, cutoff] as const;

export const ops: readonly Op[] = [
  ...leaves,
  ...points,
  ...views,
  ...reductions,
  ...tiles,
  ...algorithms,
  ...collectives,
] as readonly Op[];
