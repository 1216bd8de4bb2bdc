// Checks a finished kernel: variables are bound where they are used, indices are in bounds as far as ranges tell, tiles are used according to their
// roles.
import { Bug } from "../diagnostic.ts";
import { item } from "../item.ts";
import { foldOf } from "../ops/reduce.ts";
import { boundVariables } from "./builder.ts";
import { range, typeOf } from "./expr.ts";
import type { Buffer, Expr, Kernel, Stmt, StmtOf, Tile, Var } from "./ir.ts";
import { ownExpressions } from "./passes.ts";
import { lines, show } from "./print.ts";

/** Throws a Bug that names the kernel. */
export function verify(k: Kernel): void {
  const verifier = new Verifier(k);
  k.body.forEach((s) => verifier.statement(s));
}
class Verifier {
  readonly #kernel: Kernel;
  /** The variables in scope, and the tiles made so far. */
  readonly #scope: Set<Var>;
  readonly #tiles = new Set<Tile>();

  constructor(k: Kernel) {
    this.#kernel = k;
    this.#scope = new Set(k.grid.flatMap(boundVariables));
  }
  statement(s: Stmt): void {
    this.#operands(s);
    switch (s.s) {
      case "let":
        return void this.#scope.add(s.v);
      case "for":
        return this.#within(boundVariables(s.axis), s.body);
      case "if":
        return this.#within([], s.body);
      case "tile":
        return void this.#tiles.add(s.tile);
      case "stage":
        this.#within(s.vs, s.body, s.value);
        return void this.#tiles.add(s.tile);
      case "mma":
        return this.#product(s);
      case "each":
        return this.#within(s.vs, s.body);
      case "par":
        return this.#within([s.v], s.body);
      case "fold":
        this.#within([s.v], s.body, s.value);
        return void this.#scope.add(s.into);
      case "moments":
        this.#within([s.v], s.body, s.value);
        this.#scope.add(s.sum);
        return void this.#scope.add(s.squares);
      case "both":
        return this.#both(s);
      case "foldrows":
        this.#within(s.vs, s.body, s.value);
        return void this.#tiles.add(s.into);
      case "scan":
        return this.#within([s.v, s.sum], s.body);
      case "tally":
        return this.#within([s.v, s.rank], s.body);
      case "store":
        return this.#element(s.to, s.at);
      case "sync":
        return;
    }
  }
  /**
   * Checks what a statement itself reads. The value of a statement with a body is checked inside its body, except a scan's, which comes before the
   * body.
   */
  #operands(s: Stmt): void {
    const later = "value" in s && "body" in s && s.s !== "scan" ? s.value : undefined;
    const own = s.s === "scan" || s.s === "tally" ? [s.v] : [];
    for (const x of ownExpressions(s)) if (x !== later) this.#within(own, [], x);
  }
  #both({ body }: StmtOf<"both">): void {
    const folds = body.filter((b) => b.s === "fold");
    const [a, b, ...more] = folds;
    const fit = a && b && folds.length === body.length && show(a.extent) === show(b.extent) && foldOf(b.op).picks;
    if (!fit || more.length > 0)
      this.#fail(`both wants two folds of one extent, the second no sum: ${body.flatMap(lines).join()}`);
    // Neither may read the other's result: both are bound afterwards.
    for (const f of folds) this.#operands(f);
    for (const f of folds) this.#within([f.v], f.body, f.value);
    for (const f of folds) this.#scope.add(f.into);
  }
  #product(s: StmtOf<"mma">): void {
    const made = [s.a, ...s.b, ...s.acc].every((t) => this.#tiles.has(t));
    if (!made || s.acc.some((t) => t.role !== "acc"))
      this.#fail(`mma wants operands and accumulators: ${lines(s).join()}`);
    if (s.b.some((t) => t.form !== s.a.form)) this.#fail(`mma wants operands of one form: ${lines(s).join()}`);
  }
  #within(vs: readonly Var[], body: readonly Stmt[], value?: Expr): void {
    for (const v of vs) this.#scope.add(v);
    for (const s of body) this.statement(s);
    if (value) this.#expression(value);
    for (const v of vs) this.#scope.delete(v);
    for (const s of body) if (s.s === "let") this.#scope.delete(s.v);
  }
  #expression(x: Expr): void {
    if (x.e === "var" && !this.#scope.has(x)) this.#fail(`${x.name} is not bound where it is used`);
    if (x.e === "load") this.#element(x.from, x.at);
    if (x.e === "op") for (const y of x.args) this.#expression(y);
  }
  #element(from: Buffer | Tile, at: readonly Expr[]): void {
    if (!this.#isDeclared(from)) this.#fail(`${from.name} is not declared`);
    if (at.length !== from.shape.length) this.#fail(`${from.name} has ${from.shape.length} axes, not ${at.length}`);
    at.forEach((x, d) => {
      const [[lo], size] = [range(x), item(from.shape, d)];
      if (typeOf(x) !== "index") this.#fail(`${show(x)} is no index`);
      // loops over an empty axis never run
      if (lo >= size && size > 0) this.#fail(`${show(x)} is outside axis ${d} of ${from.name}`);
      this.#expression(x);
    });
  }
  #isDeclared(from: Buffer | Tile): boolean {
    if (from.kind === "tile") return this.#tiles.has(from);
    return this.#kernel.params.includes(from) || this.#kernel.locals.includes(from);
  }
  #fail(what: string): never {
    throw new Bug(`kernel ${this.#kernel.name}: ${what}`);
  }
}
