// Checks of a finished kernel: every name is bound where it is used, indices are in bounds as far as ranges tell, tiles play one role.
import { Bug } from "../diagnostic.ts";
import { item, range, typeOf } from "./expr.ts";
import type { Axis, Buffer, Expr, Kernel, Stmt, Tile, Var } from "./ir.ts";
import { exprs } from "./passes.ts";
import { lines, show } from "./print.ts";

export function verify(k: Kernel): void {
  const scope = new Set<Var>(k.grid.flatMap(bound));
  const tiles = new Set<Tile>();
  const fail = (what: string): never => {
    throw new Bug(`kernel ${k.name}: ${what}`);
  };
  const expression = (x: Expr): void => {
    if (x.e === "var" && !scope.has(x)) fail(`${x.name} is not bound where it is used`);
    if (x.e === "load") element(x.from, x.at);
    if (x.e === "op") x.args.forEach(expression);
  };
  const element = (from: Buffer | Tile, at: readonly Expr[]): void => {
    if (from.kind === "tile" ? !tiles.has(from) : !(k.params.includes(from) || k.locals.includes(from)))
      fail(`${from.name} is not declared`);
    if (at.length !== from.shape.length) fail(`${from.name} has ${from.shape.length} axes, not ${at.length}`);
    at.forEach((x, d) => {
      const [lo] = range(x);
      if (typeOf(x) !== "index") fail(`${show(x)} is no index`);
      if (lo !== -Infinity && lo >= item(from.shape, d) && item(from.shape, d) > 0)
        fail(`${show(x)} is outside axis ${d} of ${from.name}`);
      expression(x);
    });
  };
  const within = (vs: readonly Var[], body: readonly Stmt[], value?: Expr): void => {
    for (const v of vs) scope.add(v);
    body.forEach(statement);
    if (value) expression(value);
    for (const v of vs) scope.delete(v);
    for (const s of body) if (s.s === "let") scope.delete(s.v);
  };
  const statement = (s: Stmt): void => {
    const own = "value" in s && "body" in s ? s.value : undefined;
    for (const x of exprs(s))
      if (x !== own || s.s === "scan") within(s.s === "scan" || s.s === "tally" ? [s.v] : [], [], x);
    switch (s.s) {
      case "let":
        return void scope.add(s.v);
      case "for":
        return within(bound(s.axis), s.body);
      case "if":
        return within([], s.body);
      case "tile":
        return void tiles.add(s.tile);
      case "stage":
        within(s.vs, s.body, s.value);
        return void tiles.add(s.tile);
      case "mma":
        if ([s.a, ...s.b, ...s.acc].some((t) => !tiles.has(t)) || s.acc.some((t) => t.role !== "acc"))
          fail(`mma wants operands and accumulators: ${lines(s).join()}`);
        return;
      case "each":
        return within(s.vs, s.body);
      case "par":
        return within([s.v], s.body);
      case "fold":
        within([s.v], s.body, s.value);
        return void scope.add(s.into);
      case "foldrows":
        within(s.vs, s.body, s.value);
        return void tiles.add(s.into);
      case "scan":
        return within([s.v, s.sum], s.body);
      case "tally":
        return within([s.v, s.rank], s.body);
      case "store":
        return element(s.to, s.at);
      case "sync":
        return;
    }
  };
  k.body.forEach(statement);
}
const bound = (a: Axis): Var[] => (a.n.e === "var" ? [a.v, a.n] : [a.v]);
