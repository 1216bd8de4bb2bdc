// Symbolic sizes in a normal form: sums of products with rational coefficients, in which division by a product is exact and cancels. The checker
// works with symbols; after elaboration all sizes are plain numbers.
import { getOrMake } from "../memoize.ts";
import { gcd } from "./numbers.ts";

/** A name that stands for an integer. The atom of a spread `...S` stands for its axes, with `product` the atom of their product; else null. */
export interface Atom {
  readonly id: number;
  readonly name: string;
  readonly product: Atom | null;
}
type Power = readonly [atom: Atom, exponent: number];
interface Term {
  readonly num: number;
  /** Always positive. */
  readonly den: number;
  readonly powers: readonly Power[];
}
export class Sym {
  readonly terms: readonly Term[];
  constructor(terms: readonly Term[]) {
    this.terms = terms;
  }
}
export type Size = number | Sym;

let atoms = 0;
const quotients = new Map<string, Atom>();
export const atom = (name: string): Atom => ({ id: atoms++, name, product: null });
/** `...S`: in the checker, one axis that stands for any number of axes. Used as a size, `S` is `product`. */
export const spreadAtom = (name: string): Atom => ({ id: atoms++, name: `...${name}`, product: atom(name) });
export const sizeOf = (a: Atom): Size => new Sym([{ num: 1, den: 1, powers: [[a, 1]] }]);
/** If a size is a single atom, that atom; else null. */
export function atomOf(a: Size): Atom | null {
  if (typeof a === "number") return null;
  const [term, ...more] = a.terms;
  const [power, ...others] = term?.powers ?? [];
  if (!term || !power || more.length > 0 || others.length > 0) return null;
  return term.num === term.den && power[1] === 1 ? power[0] : null;
}
export const isSpread = (a: Size): boolean => atomOf(a)?.product != null;

/** In order of the atoms, so that of equal programs equal sizes are shown alike. */
const key = (powers: readonly Power[]): string =>
  powers.map(([a, e]) => `${String(a.id).padStart(9, "0")}^${e}`).join("*");
/** A key that is equal only for equal sizes; names would not do, as two atoms may share one. */
const identity = (a: Size): string =>
  terms(a)
    .map((t) => `${t.num}/${t.den} ${key(t.powers)}`)
    .join(" + ");
const terms = (a: Size): readonly Term[] =>
  typeof a === "number" ? (a === 0 ? [] : [{ num: a, den: 1, powers: [] }]) : a.terms;

/** Adds up like terms, drops zeros and sorts: equal sizes get equal forms. */
function normal(list: readonly Term[]): Size {
  const sums = new Map<string, Term>();
  for (const t of list) {
    const k = key(t.powers);
    const old = sums.get(k);
    sums.set(
      k,
      old ? reduced(old.num * t.den + t.num * old.den, old.den * t.den, t.powers) : reduced(t.num, t.den, t.powers),
    );
  }
  const kept = [...sums]
    .filter(([, t]) => t.num !== 0)
    .toSorted(([a], [b]) => (a < b ? 1 : -1))
    .map(([, t]) => t);
  const [only] = kept;
  if (!only) return 0;
  return kept.length === 1 && only.powers.length === 0 && only.den === 1 ? only.num : new Sym(kept);
}
function reduced(num: number, den: number, powers: readonly Power[]): Term {
  const g = gcd(num, den);
  return { num: num / g, den: den / g, powers };
}
function multiplied(a: Term, b: Term): Term {
  const exponents = new Map<Atom, number>();
  for (const [x, e] of [...a.powers, ...b.powers]) exponents.set(x, (exponents.get(x) ?? 0) + e);
  const powers = [...exponents].filter(([, e]) => e !== 0).toSorted(([x], [y]) => x.id - y.id);
  return reduced(a.num * b.num, a.den * b.den, powers);
}

// after elaboration all sizes are numbers, which need no normal form
export const add = (a: Size, b: Size): Size =>
  typeof a === "number" && typeof b === "number" ? a + b : normal([...terms(a), ...terms(b)]);
export const sub = (a: Size, b: Size): Size => add(a, mul(b, -1));
export const mul = (a: Size, b: Size): Size =>
  typeof a === "number" && typeof b === "number"
    ? a * b || 0 // no -0
    : normal(terms(a).flatMap((x) => terms(b).map((y) => multiplied(x, y))));
/** Exact division. If the divisor is a sum, the quotient becomes an atom of its own, the same for equal operands. */
export function div(a: Size, b: Size): Size {
  const [by, ...more] = terms(b);
  if (by && more.length === 0) {
    const inverse: Term = {
      num: by.den * Math.sign(by.num),
      den: Math.abs(by.num),
      powers: by.powers.map(([x, e]) => [x, -e] as const),
    };
    return normal(terms(a).map((t) => multiplied(t, inverse)));
  }
  if (equal(a, b)) return 1;
  const both = `${identity(a)} / ${identity(b)}`;
  return sizeOf(getOrMake(quotients, both, () => atom(`(${show(a)}) / (${show(b)})`)));
}
export const product = (list: readonly Size[]): Size => list.map(flat).reduce<Size>(mul, 1);
/** The product of a spread's axes; any other size as it is. */
function flat(a: Size): Size {
  if (typeof a === "number") return a;
  const whole = atomOf(a)?.product;
  return whole ? sizeOf(whole) : a;
}
export function equal(a: Size, b: Size): boolean {
  if (a === b || typeof a === "number" || typeof b === "number") return a === b;
  const d = sub(a, b);
  return d === 0;
}
export const equalAll = (a: readonly Size[], b: readonly Size[]): boolean =>
  a.length === b.length && a.every((x, i) => equal(x, b[i] ?? -1));

/** A size as it is written in a program: `D / Heads`, `2 * D + 1`, `...S`. */
export function show(a: Size): string {
  if (typeof a === "number") return String(a);
  return a.terms.map(showTerm).reduce((x, y) => (y.startsWith("-") ? `${x} - ${y.slice(1)}` : `${x} + ${y}`));
}
function showTerm(t: Term): string {
  const side = (sign: 1 | -1): string[] =>
    t.powers.filter(([, e]) => e * sign > 0).flatMap(([a, e]) => Array.from({ length: Math.abs(e) }, () => a.name));
  const over = side(1);
  const magnitude = Math.abs(t.num);
  const top = [...(magnitude === 1 && over.length > 0 ? [] : [String(magnitude)]), ...over].join(" * ");
  const under = [...(t.den === 1 ? [] : [String(t.den)]), ...side(-1)];
  return (t.num < 0 ? "-" : "") + [top, ...under].join(" / ");
}
export const mentions = (a: Size, name: Atom): boolean => terms(a).some((t) => t.powers.some(([x]) => x === name));
/** Replaces atoms by sizes, for example a signature's names by the caller's sizes. Spreads are expanded where axes are, not here. */
export function substitute(a: Size, by: ReadonlyMap<Atom, Size>): Size {
  if (typeof a === "number") return a;
  return a.terms
    .map((t) =>
      t.powers.reduce<Size>(
        (x, [p, e]) => {
          const value = by.get(p) ?? sizeOf(p);
          let result = x;
          for (let i = 0; i < Math.abs(e); i++) result = e > 0 ? mul(result, value) : div(result, value);
          return result;
        },
        normal([{ ...t, powers: [] }]),
      ),
    )
    .reduce<Size>(add, 0);
}
