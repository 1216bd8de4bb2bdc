// A kernel while it is written, with the values and buffers that its parameters stand for.
import { Bug } from "../diagnostic.ts";
import type { Value } from "../graph/node.ts";
import type { VirtualArg, VirtualBuffer } from "../plan/sequence.ts";
import { Builder } from "./build.ts";
import { elements } from "./elements.ts";
import { load } from "./expr.ts";
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
}
export interface Given {
  readonly param: Buffer;
  readonly buffer: VirtualBuffer;
  readonly access: VirtualArg["access"];
  readonly base: VirtualBuffer | null;
}
type Element = (at: readonly Expr[]) => Expr;

export class Draft {
  readonly k: Builder;
  readonly given: Given[] = [];
  private readonly memory: Memory;
  private readonly computedHere: ReadonlySet<Value>;

  /** `computed`: what the kernel never reads from memory. */
  constructor(doc: string, memory: Memory, computed: ReadonlySet<Value>) {
    this.k = new Builder(doc);
    this.memory = memory;
    this.computedHere = computed;
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
  ): Buffer {
    const known = this.given.find((g) => g.buffer === b);
    if (known) return known.param;
    const param = this.k.param(name, b.dtype, b.shape, b.layout, changing);
    this.given.push({ param, buffer: b, access, base });
    return param;
  }
  input(v: Value, name = "x"): Buffer {
    return this.param(name, this.bufferOf(v), "read");
  }
  output(v: Value, name = "y"): Buffer {
    return this.param(name, this.bufferOf(v), "write");
  }
  /** Sums of some columns, of a value that is a sum over all of them. */
  sums(v: Value, access: "read" | "write"): Buffer {
    return this.param("parts", this.memory.sumsOf(v), access);
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
  /** Elements of values as this kernel sees them. `own`: those that it has in tiles. */
  reader(
    own: ReadonlyMap<Value, Element> = new Map(),
    options: { readonly offsets?: Value | null; readonly plain?: boolean; readonly name?: string } = {},
  ): Reader {
    return new Reader(this.k, elements, {
      element: (v, at) => {
        const tile = own.get(v);
        if (tile) return tile(at);
        if (this.inlines(v)) return null;
        return load(this.input(v, options.name), ...at);
      },
      shared: (v) => !options.plain && this.memory.shared(v),
      offsets: options.offsets ?? null,
    });
  }
}
