// Groups of workers whose others say what a test lets them say.
import { type Transport, Workers } from "../../runtime/workers/workers.ts";

export const alike = (own: Uint8Array): Uint8Array => own;
/** Worker `rank` of two, where the other says what `other` makes of what this one says. */
export function two(rank: number, other: (own: Uint8Array) => Uint8Array = alike): Workers {
  const wire: Transport = {
    rank,
    size: 2,
    allGather: (own) => new Uint8Array(Buffer.concat(rank === 0 ? [own, other(own)] : [other(own), own])),
    abort: () => {},
    finalize: () => {},
  };
  return new Workers(wire);
}
/** Worker `rank` of four who say the same, but for the last two: these say `other`. */
export function four(rank: number, other: (own: Uint8Array) => Uint8Array = alike): Workers {
  const allGather = (own: Uint8Array): Uint8Array =>
    Uint8Array.from(
      Buffer.concat([own, own, ...[own, own].map((bytes) => (bytes.length === 16 ? other(bytes) : bytes))]),
    );
  return new Workers({ rank, size: 4, allGather, abort: () => {}, finalize: () => {} });
}
/** The other as this one, from here on as said. */
export function changing(rank: number): { workers: Workers; say: (other: (own: Uint8Array) => Uint8Array) => void } {
  let now = alike;
  return { workers: two(rank, (own) => now(own)), say: (other) => (now = other) };
}
export const saying =
  (...numbers: readonly number[]) =>
  (): Uint8Array =>
    new Uint8Array(Float64Array.from(numbers).buffer);
