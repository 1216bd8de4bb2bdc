// Small kernels of a single task that become parts of one, with barriers between them, where launches would dominate (CUDA, `Choices.chain`).
import type { Node } from "../graph/node.ts";
import type { Choices } from "../kernel/schedule.ts";
import type { Phase } from "../plan/plan.ts";
import type { VirtualBuffer } from "../plan/sequence.ts";
import type { Region } from "../regions/region.ts";
import type { Draft, ParamBinding } from "./draft.ts";

/** What becomes a kernel, or a part of one. `nodes`: those that it computes; `isLate`: some of them depend on sums of workers (`lateNodes`). */
export interface KernelPart {
  readonly region: Region;
  readonly kind: string;
  readonly write: (d: Draft) => void;
  readonly nodes: readonly Node[];
  readonly phase: Phase;
  readonly isLate: boolean;
}
/** The parts that are waiting to become one kernel. */
export class Chain {
  readonly #limits: NonNullable<Choices["chain"]>;
  readonly #parts: KernelPart[] = [];
  /** The bytes of shared memory that they take. */
  #shared = 0;
  /** What they read and write, and what they write. */
  readonly #buffers = new Set<VirtualBuffer>();
  readonly #made = new Set<VirtualBuffer>();

  constructor(limits: Choices["chain"]) {
    this.#limits = limits ?? { parts: 0, buffers: 0, shared: 0 };
  }
  /** Whether one more part, which takes `shared` bytes, can join: there is room, and it is of the same phase. */
  takes(part: KernelPart, bindings: readonly ParamBinding[], shared: number): boolean {
    const buffers = new Set([...this.#buffers, ...bindings.map((g) => g.buffer)]);
    return (
      this.#parts.length < this.#limits.parts &&
      this.#shared + shared <= this.#limits.shared &&
      buffers.size <= this.#limits.buffers &&
      this.#parts.every((p) => p.phase === part.phase && p.isLate === part.isLate)
    );
  }
  add(part: KernelPart, bindings: readonly ParamBinding[], shared: number): void {
    this.#parts.push(part);
    this.#shared += shared;
    for (const { buffer, access } of bindings) {
      this.#buffers.add(buffer);
      if (access !== "read") this.#made.add(buffer);
    }
  }
  /** Whether a kernel reads what waiting parts make. Any other goes before them, so that more parts can join. */
  isReadBy(bindings: readonly ParamBinding[]): boolean {
    return bindings.some(({ buffer, base }) => this.#made.has(buffer) || (base && this.#made.has(base)));
  }
  /** Takes the waiting parts out. */
  end(): readonly KernelPart[] {
    this.#shared = 0;
    this.#buffers.clear();
    this.#made.clear();
    return this.#parts.splice(0);
  }
}
