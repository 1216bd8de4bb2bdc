// Sets of small numbers that grow from one another: what each step of a long loop depends on is what the step before it does, and a little more.
const wordsOfBlock = 32;
const bitsOfBlock = 32 * wordsOfBlock;
type Block = Uint32Array;

/** A set of numbers from 0. Its blocks of bits are never changed once they are made, so that sets share those that are equal. */
export class BitSet {
  readonly #blocks: (Block | undefined)[] = [];

  has(n: number): boolean {
    const block = this.#blocks[Math.floor(n / bitsOfBlock)];
    return block !== undefined && ((block[wordOf(n)] ?? 0) & bitOf(n)) !== 0;
  }
  add(n: number): void {
    if (this.has(n)) return;
    const at = Math.floor(n / bitsOfBlock);
    const block = this.#blocks[at]?.slice() ?? new Uint32Array(wordsOfBlock);
    block[wordOf(n)] = (block[wordOf(n)] ?? 0) | bitOf(n);
    this.#blocks[at] = block;
  }
  /** Adds all numbers of the other set; returns whether any was missing. */
  addAll(other: BitSet): boolean {
    let grown = false;
    for (const [at, block] of other.#blocks.entries()) {
      if (block === undefined || block === this.#blocks[at]) continue;
      const both = union(this.#blocks[at], block);
      grown ||= both !== this.#blocks[at];
      this.#blocks[at] = both;
    }
    return grown;
  }
}
const wordOf = (n: number): number => (n % bitsOfBlock) >>> 5;
const bitOf = (n: number): number => 1 << (n & 31);
/** One of the two if it has all that the other has. */
function union(a: Block | undefined, b: Block): Block {
  if (a && includes(a, b)) return a;
  return !a || includes(b, a) ? b : a.map((word, i) => word | (b[i] ?? 0));
}
const includes = (a: Block, b: Block): boolean => b.every((word, i) => (word & ~(a[i] ?? 0)) === 0);
