// A kernel while it is written, with the values and buffers that its parameters stand for.
import { Bug } from "../diagnostic.ts";
import type { Value } from "../graph/node.ts";
import type { Layout } from "../plan/plan.ts";
import type { VirtualArg, VirtualBuffer } from "../plan/sequence.ts";
import { manySteps } from "../transform/region.ts";
import { bytesOf, type DType } from "../types/dtype.ts";
import { gcd } from "../types/numbers.ts";
import { Builder, rowsLayout } from "./build.ts";
import { elements } from "./elements.ts";
import { add, address, ceil, footprint, isNum, item, load, num } from "./expr.ts";
import type { Buffer, Expr, Form } from "./ir.ts";
import { Reader } from "./read.ts";
import type { Choices, Contraction, Schedule } from "./schedule.ts";

/** Where values are: what lowering knows before a kernel is written. */
export interface Memory {
  /** The buffer that holds a value, or null if each kernel computes it where it reads it. */
  bufferOf(v: Value): VirtualBuffer | null;
  /** Read by more than one node. */
  shared(v: Value): boolean;
  /** Where an epilogue leaves a value's sums of some columns, to be added up. */
  sumsOf(v: Value): VirtualBuffer;
  /** How a contraction is cut. */
  schedule(c: Contraction): Schedule;
  readonly choices: Choices;
  /** Where else a value is a piece of what many steps make. */
  homes(v: Value): readonly Home[];
  /** Kernels are given buffers from the step on that they read or write, so that those of all steps are one. */
  readonly inSteps: boolean;
}
/** A value's place in a concat: the buffer of that, and there the element for each of the value's. */
export interface Home {
  readonly buffer: VirtualBuffer;
  readonly at: (at: readonly Expr[]) => readonly Expr[];
}
/** How elements are read. */
interface Reading {
  /** Values that the kernel has in tiles. */
  readonly own?: ReadonlyMap<Value, Element>;
  /** As of a `Reader`. */
  readonly offsets?: Value | null;
  /** No element gets a name. */
  readonly plain?: boolean;
  /** Of what it reads, in the text. */
  readonly name?: string;
}
export interface Given {
  readonly param: Buffer;
  readonly buffer: VirtualBuffer;
  readonly access: VirtualArg["access"];
  readonly base: VirtualBuffer | null;
  /** In elements: where in the buffer the parameter begins. */
  readonly shift: number;
}
/** What an index of a step begins with: a number, or the number that is added; of columns none is. */
function constantOf(x: Expr, isLast: boolean): number {
  if (isNum(x) || isLast) return isNum(x) ? x.value : 0;
  const last = x.e === "op" && x.op === "+" ? x.args[1] : undefined;
  return last && isNum(last) ? last.value : 0;
}
/** How many elements into a buffer an index of numbers is. */
function placeIn(b: VirtualBuffer, at: readonly number[]): number {
  const place = address(
    b,
    at.map((n) => num(n)),
  );
  return isNum(place) ? place.value : 0;
}
/** A value's element at an index. */
export type Element = (at: readonly Expr[]) => Expr;

/** One kernel: its statements (`k`), and the buffers that its parameters stand for (`given`), as they are asked for. */
export class Draft {
  readonly k: Builder;
  readonly given: Given[] = [];
  private readonly memory: Memory;
  private computedHere: ReadonlySet<Value>;

  /** `computed`: what the kernel, or its first part, never reads from memory. */
  constructor(doc: string, memory: Memory, computed: ReadonlySet<Value>) {
    this.k = new Builder(doc);
    this.memory = memory;
    this.computedHere = computed;
  }
  /** Begins a part, which reads what those before wrote. */
  next(computed: ReadonlySet<Value>): void {
    this.computedHere = computed;
    this.k.next();
  }
  schedule(c: Contraction): Schedule {
    return this.memory.schedule(c);
  }
  form(c: Contraction): Form | null {
    return this.choices.form?.(c) ?? null;
  }
  get choices(): Choices {
    return this.memory.choices;
  }
  /** The parameter for a buffer; the same buffer is one parameter. */
  param(
    name: string,
    b: VirtualBuffer,
    access: VirtualArg["access"],
    base: VirtualBuffer | null = null,
    changing = false,
    shift = 0,
  ): Buffer {
    const known = this.given.find((g) => g.buffer === b && g.shift === shift);
    if (known) return known.param;
    const param = this.k.param(name, b.dtype, b.shape, b.layout, changing);
    this.given.push({ param, buffer: b, access, base, shift });
    return param;
  }
  /** A parameter that begins at the element which the constants of an index name, and the index from there on. What a part before wrote has one name. */
  private from(
    name: string,
    b: VirtualBuffer,
    access: "read" | "part",
    at: readonly Expr[],
  ): readonly [Buffer, readonly Expr[]] {
    const isOwn = this.given.some((g) => g.buffer === b && g.access === "write");
    if (!this.memory.inSteps || isOwn || b.layout.kind !== "rows") return [this.param(name, b, access), at];
    const first = at.map((x, i) =>
      item(b.shape, i) < 2 * manySteps ? 0 : this.aligned(b, i, constantOf(x, i === at.length - 1)),
    );
    return [
      this.param(name, b, access, null, false, placeIn(b, first)),
      at.map((x, i) => add(x, num(-item(first, i)))),
    ];
  }
  /** The last of the first n indices of an axis at which a buffer may begin. */
  private aligned(b: VirtualBuffer, axis: number, n: number): number {
    const step = placeIn(
      b,
      b.shape.map((_, i) => (i === axis ? 1 : 0)),
    );
    const { steps } = this.choices;
    return n - (n % (steps / gcd(steps, step * bytesOf[b.dtype])));
  }
  input(v: Value, name = "x"): Buffer {
    return this.param(name, this.bufferOf(v), "read");
  }
  /** What stores an element of a value everywhere where it is wanted. */
  stores(v: Value): (at: readonly Expr[], value: Expr, stream?: boolean) => void {
    const homes = this.memory.homes(v);
    const own = this.memory.bufferOf(v) ? this.output(v) : null;
    return (at, value, stream = false) => {
      const x = homes.length > 1 || (own && homes.length > 0) ? this.named("value", value) : value;
      if (own) this.k.store(own, at, x, stream);
      for (const home of homes) this.put(home, at, x);
    };
  }
  /** Stores an element of a piece in its place. */
  put({ buffer, at: placeOf }: Home, at: readonly Expr[], value: Expr): void {
    const [to, there] = this.from("y", buffer, "part", placeOf(at));
    this.k.store(to, there, value);
  }
  private named(name: string, x: Expr): Expr {
    return x.e === "num" || x.e === "var" ? x : this.k.letHere(name, x);
  }
  output(v: Value, name = "y"): Buffer {
    return this.param(name, this.bufferOf(v), "write");
  }
  /** Sums of some columns, of a value that is a sum over all of them. */
  sums(v: Value, access: "read" | "write"): Buffer {
    return this.param("parts", this.memory.sumsOf(v), access);
  }
  /** How wide the panels are in which a value lies, if it does. */
  panelsOf(v: Value): number | null {
    const layout = this.memory.bufferOf(v)?.layout;
    return layout?.kind === "panels" ? layout.width : null;
  }
  bufferOf(v: Value): VirtualBuffer {
    const found = this.memory.bufferOf(v);
    if (!found) throw new Bug(`a value of ${v.node.op.name} has no buffer`);
    return found;
  }
  /** Whether the kernel computes a value where it reads it. */
  inlines(v: Value): boolean {
    return this.computedHere.has(v) || !this.memory.bufferOf(v);
  }
  /** Elements of values as this kernel sees them. */
  reader({ own, offsets = null, plain = false, name = "x" }: Reading = {}): Reader {
    return new Reader(this.k, elements, {
      element: (v, at) => {
        const tile = own?.get(v);
        if (tile) return tile(at);
        if (this.inlines(v)) return null;
        const [from, there] = this.from(name, this.bufferOf(v), "read", at);
        return load(from, ...there);
      },
      shared: (v) => !plain && this.memory.shared(v),
      offsets,
    });
  }
}

/** A buffer that has no place in memory yet. */
export function virtual(
  name: string,
  dtype: DType,
  shape: readonly number[],
  store: string | null,
  layout: Layout = rowsLayout(shape),
): VirtualBuffer {
  return { name, dtype, shape, layout, bytes: ceil(footprint({ shape, layout }) * bytesOf[dtype], 64), store };
}
