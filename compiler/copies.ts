// Names of the copies of a parameter of equal layers, whose own name has a `*` for each array of layers: `blocks.*.up.weight`. In files each copy has a name of its
// own, or several are one tensor, whose name lacks numbers that are leading axes instead.

/** The name and index of each copy, in row-major order; `[[name, []]]` if nothing is stacked. */
export function copies(name: string, over: readonly number[]): [name: string, index: number[]][] {
  const [first, ...rest] = over;
  if (first === undefined) return [[name, []]];
  return Array.from({ length: first }, (_, i) => i).flatMap((i) =>
    copies(name.replace("*", String(i)), rest).map(([n, index]): [string, number[]] => [n, [i, ...index]]),
  );
}
/** The name of all copies as one tensor. */
export const stackedName = (name: string): string =>
  name
    .split(".")
    .filter((piece) => piece !== "*")
    .join(".");

/** All names under which a file may give a copy: any subset of its numbers left out, which then index leading axes. */
export function spellings(name: string): [name: string, index: number[]][] {
  return name.split(".").reduce<[string, number[]][]>(
    (list, piece, i) => {
      const joined = list.map(([n, index]): [string, number[]] => [i === 0 ? piece : `${n}.${piece}`, index]);
      if (i === 0 || !/^\d+$/.test(piece)) return joined;
      return [...joined, ...list.map(([n, index]): [string, number[]] => [n, [...index, Number(piece)]])];
    },
    [["", []]],
  );
}
