// A kernel under construction, together with the graph values and virtual buffers that its parameters stand for.
import { Bug } from "../diagnostic.ts";
import type { Value } from "../graph/node.ts";
import { item } from "../item.ts";
import { contiguousLayout, KernelBuilder } from "../kernel/builder.ts";
import { address, footprint, isNum, load, num, roundUp, splitConstant, sub } from "../kernel/expr.ts";
import type { Buffer, Expr, OperandForm } from "../kernel/ir.ts";
import type { Choices, Contraction, Schedule } from "../kernel/schedule.ts";
import type { Layout } from "../plan/plan.ts";
import type { VirtualArg, VirtualBuffer } from "../plan/sequence.ts";
import type { Region } from "../regions/region.ts";
import { splatOf } from "../rewrite/pattern.ts";
import { bytesOf, type DType } from "../types/dtype.ts";
import { gcd } from "../types/numbers.ts";
import { elementRules, laneRules } from "./elements.ts";
import { Reader } from "./reader.ts";

/** What lowering (`Lowering` in lower.ts) tells the kernel writers: where values are, and what the target chooses. */
export interface LoweringContext {
  /** The buffer that holds a value, or null if kernels compute it inline where they read it. */
  bufferOf(v: Value): VirtualBuffer | null;
  /** Read by more than one node. */
  hasManyUses(v: Value): boolean;
  /** The buffer for partial sums of groups of columns, which an epilogue stores and a later kernel adds up. */
  partialSumsOf(v: Value): VirtualBuffer;
  /** The schedule of a contraction. */
  schedule(c: Contraction): Schedule;
  readonly choices: Choices;
  /** The places of a value as a piece of concats that the steps of a loop write piece by piece (concat-pieces.ts). */
  concatSlots(v: Value): readonly ConcatSlot[];
  /** Whether the steps of a loop, or pieces of rows, read a value slice by slice (concat-pieces.ts). */
  isReadInSlices(v: Value): boolean;
}
/** The place of a value in a concat: the concat's buffer, and a function from an index of the value to an index of the concat. */
export interface ConcatSlot {
  readonly buffer: VirtualBuffer;
  readonly at: (at: readonly Expr[]) => readonly Expr[];
}
/** Options of a `Reader`. */
interface ReaderOptions {
  /** Values that the kernel has in tiles or local buffers, with how to read an element of each. */
  readonly locals?: ReadonlyMap<Value, Element>;
  /** See `Reader.offsets`. */
  readonly offsets?: Value | null;
  /** Of a lane that computes its whole row: reductions are unrolled, and elements of these values are bound to variables. */
  readonly lane?: ReadonlySet<Value>;
  /** Do not bind elements that are used more than once to variables. */
  readonly withoutLets?: boolean;
  /** The name of the kernel's parameters for buffers read by this reader. */
  readonly name?: string;
}
export interface ParamBinding {
  readonly param: Buffer;
  readonly buffer: VirtualBuffer;
  readonly access: VirtualArg["access"];
  /** Of an "update": the buffer whose contents it begins with. */
  readonly base: VirtualBuffer | null;
  /** Where in the buffer the parameter begins, in elements. */
  readonly offset: number;
}
/** `mutable`: the kernel both reads and writes it, so that its loads stay where they are. */
type ParamOptions = Partial<Pick<ParamBinding, "base" | "offset"> & { readonly mutable: boolean }>;
/** The offset, in elements, of a constant index. */
function offsetIn(b: VirtualBuffer, at: readonly number[]): number {
  const place = address(
    b,
    at.map((n) => num(n)),
  );
  return isNum(place) ? place.value : 0;
}
/** Makes the expression of a value's element at an index. */
export type Element = (at: readonly Expr[]) => Expr;

/** What a part of a kernel computes and so never reads from memory. */
type ComputedValues = Pick<Region, "outputs" | "recomputed">;
/** One kernel being written: its statements (`k`), and the buffers of its parameters (`bindings`), in the order in which they were first used. */
export class Draft {
  readonly k: KernelBuilder;
  readonly bindings: ParamBinding[] = [];
  /** The contraction that it computes, if it is one, and how that is cut. */
  scheduled: { readonly contraction: Contraction; readonly schedule: Schedule } | null = null;
  readonly #context: LoweringContext;
  readonly #given: Schedule | null;
  #part: ComputedValues;

  /** `part`: what the first part of the kernel computes. `given`: the schedule to use instead of the target's. */
  constructor(doc: string, context: LoweringContext, part: ComputedValues, given: Schedule | null = null) {
    this.k = new KernelBuilder(doc);
    [this.#context, this.#part, this.#given] = [context, part, given];
  }
  /** Begins the next part of the kernel, which may read what earlier parts stored. */
  nextPart(part: ComputedValues): void {
    this.#part = part;
    this.k.nextPart();
  }
  schedule(contraction: Contraction): Schedule {
    const schedule = this.#given ?? this.#context.schedule(contraction);
    this.scheduled = { contraction, schedule };
    return schedule;
  }
  form(c: Contraction): OperandForm | null {
    return this.choices.form(c);
  }
  get choices(): Choices {
    return this.#context.choices;
  }
  /** The parameter for a buffer. The same buffer with the same offset is one parameter. */
  param(name: string, b: VirtualBuffer, access: VirtualArg["access"], options: ParamOptions = {}): Buffer {
    const { base = null, mutable = false, offset = 0 } = options;
    const known = this.bindings.find((g) => g.buffer === b && g.offset === offset);
    if (known) return known.param;
    const param = this.k.param(name, b.dtype, b.shape, b.layout, mutable);
    this.bindings.push({ param, buffer: b, access, base, offset });
    return param;
  }
  /**
   * A parameter that begins at the slice of a buffer to which an index points, and the index relative to it: so the kernels of all slices have the
   * same text. For what an earlier part of the kernel wrote, the whole buffer.
   */
  #paramAt(
    name: string,
    b: VirtualBuffer,
    access: "read" | "part",
    at: readonly Expr[],
  ): readonly [Buffer, readonly Expr[]] {
    const isOwn = this.bindings.some((g) => g.buffer === b && g.access === "write");
    if (isOwn || b.layout.kind !== "rows") return [this.param(name, b, access), at];
    const first = at.map((x, i) => this.#alignDown(b, i, Math.max(0, splitConstant(x)[1])));
    return [this.param(name, b, access, { offset: offsetIn(b, first) }), at.map((x, i) => sub(x, num(item(first, i))))];
  }
  /** The largest index <= n along an axis at which a parameter is aligned to `Choices.pointerAlignment` bytes. */
  #alignDown(b: VirtualBuffer, axis: number, n: number): number {
    const step = offsetIn(
      b,
      b.shape.map((_, i) => (i === axis ? 1 : 0)),
    );
    const { pointerAlignment } = this.choices;
    return n - (n % (pointerAlignment / gcd(pointerAlignment, step * bytesOf[b.dtype])));
  }
  input(v: Value, name = "x"): Buffer {
    return this.param(name, this.bufferOf(v), "read");
  }
  /** A function that stores an element of a value to all of its places: its own buffer and its slots in concats. */
  writerOf(v: Value): (at: readonly Expr[], value: Expr, stream?: boolean) => void {
    const slots = this.#context.concatSlots(v);
    const own = this.#context.bufferOf(v) ? this.output(v) : null;
    return (at, value, stream = false) => {
      const x = slots.length > 1 || (own && slots.length > 0) ? this.#named(value) : value;
      if (own) this.k.store(own, at, x, stream);
      for (const slot of slots) this.storeInConcat(slot, at, x);
    };
  }
  /** Stores an element of a piece in its place in the concat. */
  storeInConcat({ buffer, at: placeOf }: ConcatSlot, at: readonly Expr[], value: Expr): void {
    const [to, there] = this.#paramAt("y", buffer, "part", placeOf(at));
    this.k.store(to, there, value);
  }
  #named(x: Expr): Expr {
    return x.e === "num" || x.e === "var" ? x : this.k.letHere("value", x);
  }
  output(v: Value, name = "y"): Buffer {
    return this.param(name, this.bufferOf(v), "write");
  }
  /** The partial sums, over groups of columns, of a value that is a sum over all columns. */
  partialSums(v: Value, access: "read" | "write"): Buffer {
    return this.param("parts", this.#context.partialSumsOf(v), access);
  }
  /** The width of the panels in which a value lies in memory; null if it lies in rows or has no buffer. */
  panelWidthOf(v: Value): number | null {
    const layout = this.#context.bufferOf(v)?.layout;
    return layout?.kind === "panels" ? layout.width : null;
  }
  bufferOf(v: Value): VirtualBuffer {
    const found = this.#context.bufferOf(v);
    if (!found) throw new Bug(`a value of ${v.node.op.name} has no buffer`);
    return found;
  }
  /** Whether this kernel computes a value instead of reading it from memory: one number everywhere is never read. */
  inlines(v: Value): boolean {
    const { outputs, recomputed } = this.#part;
    return outputs.includes(v) || recomputed.has(v) || !this.#context.bufferOf(v) || splatOf(v) !== null;
  }
  /** A reader of elements of values for this kernel. */
  reader({ locals, offsets = null, withoutLets = false, lane, name = "x" }: ReaderOptions = {}): Reader {
    return new Reader(this.k, lane ? laneRules : elementRules, {
      element: (v, at) => {
        const tile = locals?.get(v);
        if (tile) return tile(at);
        if (this.inlines(v)) return null;
        if (!this.#context.isReadInSlices(v)) return load(this.param(name, this.bufferOf(v), "read"), ...at);
        const [from, there] = this.#paramAt(name, this.bufferOf(v), "read", at);
        return load(from, ...there);
      },
      hasManyUses: (v) => !withoutLets && (lane ? lane.has(v) : this.#context.hasManyUses(v)),
      offsets,
    });
  }
}

/** A buffer that has no place in memory yet. `store`: the name of the store that it is, or null for a temporary. */
export function virtualBuffer(
  name: string,
  dtype: DType,
  shape: readonly number[],
  store: string | null,
  layout: Layout = contiguousLayout(shape),
): VirtualBuffer {
  return { name, dtype, shape, layout, bytes: roundUp(footprint({ shape, layout }) * bytesOf[dtype], 64), store };
}
