/** A number of things in words: `1 axis`, `2 axes`. */
export const pluralize = (n: number | string, one: string, many = `${one}s`): string =>
  `${n} ${Number(n) === 1 ? one : many}`;
