// Executes statements. Checking runs both branches of an `if`, and the body of a loop once; elaboration takes one branch and unrolls loops.
import { pluralize } from "../../pluralize.ts";
import type * as ast from "../../syntax/ast.ts";
import { isFloat } from "../../types/dtype.ts";
import { atom, equalAll, type Size, show, sizeOf as sizeOfAtom } from "../../types/size.ts";
import { showType, type Type } from "../../types/type.ts";
import { absorb, didYouMean, duplicates, Failure, fail, quoted, quotedOperand, resultText, textOf } from "../errors.ts";
import { anyOf, conditionOf } from "../layers.ts";
import { calledFrom, toSize } from "../numbers.ts";
import { checkOptimize } from "../optimize.ts";
import { castTo, conform, toDefaultTensor } from "../tensor.ts";
import { isCapital, typeOf } from "../types.ts";
import { unifyAll } from "../unify.ts";
import { bool, errorVal, kindText, number, resultList, results, Scope, tensor, type Val } from "../values.ts";
import type { World } from "../world.ts";
import { runLoss, runMetric, runState, runUpdate } from "./effects.ts";
import { innerNameHelp } from "./inner-names.ts";
import { requireRead } from "./unread.ts";
import { runCall } from "./untaken.ts";

/** Runs statements in order. Returns whether every path through them ends with `return`. */
export function execute(w: World, body: readonly ast.Stmt[], scope: Scope): boolean {
  const { here } = w.choices;
  let returned = false;
  for (const [place, stmt] of body.entries()) {
    if (w.checking) w.guard(() => requireRead(body, place, scope));
    const way: Way = w.guard(() => run(w, stmt, scope), stmt.kind === "return" ? "returns" : "goes on");
    returned ||= way !== "goes on";
    if (way === "ends" || (returned && !w.checking)) break;
  }
  w.choices.here = here;
  return returned;
}
/** Where a statement leads: on; out of the body; or out of it as this run assumes, so that what follows is left to another run. */
type Way = "goes on" | "returns" | "ends";
function run(w: World, stmt: ast.Stmt, scope: Scope): Way {
  w.countStep();
  w.g.span = stmt.span;
  switch (stmt.kind) {
    case "let":
      runLet(w, stmt, scope);
      return "goes on";
    case "set":
      runSet(w, stmt, scope);
      return "goes on";
    case "return":
      runReturn(w, stmt, scope);
      return "returns";
    case "if":
      return runIf(w, stmt, scope);
    case "for":
      return runFor(w, stmt, scope);
    case "loss":
      runLoss(w, stmt, scope);
      return "goes on";
    case "metric":
      runMetric(w, stmt, scope);
      return "goes on";
    case "state":
      runState(w, stmt, scope);
      return "goes on";
    case "update":
      runUpdate(w, stmt, scope);
      return "goes on";
    case "optimize":
      checkOptimize(w, stmt, scope);
      return "goes on";
    case "expr":
      runCall(w, stmt, scope);
      return "goes on";
  }
}
type Of<K extends ast.Stmt["kind"]> = Extract<ast.Stmt, { kind: K }>;

function runLet(w: World, stmt: Of<"let">, scope: Scope): void {
  const wrong = stmt.names.map(() => errorVal);
  const items = w.guard(() => letItems(w, stmt, scope), wrong);
  stmt.names.forEach((name, i) => {
    if (name)
      scope.set(
        name.name,
        w.guard(() => named(w, name, items[i] ?? errorVal, stmt.value.span), errorVal),
      );
  });
}
function letItems(w: World, stmt: Of<"let">, scope: Scope): readonly Val[] {
  const [duplicate] = duplicates(stmt.names);
  if (duplicate) throw new Failure(duplicate);
  const value = letValue(w, stmt, scope);
  if (value.kind === "error") return absorb();
  const items = value.kind === "tuple" ? value.items : [value];
  return items.length === stmt.names.length ? items : wrongCount(stmt, value);
}
function letValue(w: World, stmt: Of<"let">, scope: Scope): Val {
  if (!stmt.type) {
    const value = w.evaluate(stmt.value, scope);
    if (value.kind === "none")
      return fail("E0311", "this call has no result", stmt.value.span, {
        help: "call it as a statement of its own, or declare its result with `-> type`",
      });
    return value;
  }
  const open = newSizes(stmt.type, scope, () => w.evaluate(stmt.value, scope));
  const want = typeOf(w, stmt.type, scope);
  const value = open ?? w.evaluate(stmt.value, scope, want);
  const [name] = stmt.names;
  const declared = { what: `\`${name?.name ?? "_"}\``, span: stmt.type.span, text: textOf(stmt.type.span) };
  return tensor(conform(w, value, want, declared, stmt.value.span));
}
/** For `let y: f32[B, U] = ...` where U is new: binds U to the value's size. Returns the value if it had to be evaluated for that, else null. */
function newSizes(t: ast.TypeExpr, scope: Scope, evaluate: () => Val): Val | null {
  const unknown = t.axes.flatMap((e, i) =>
    e.kind === "name" && isCapital(e.name) && !scope.holder(e.name) ? [{ e, i }] : [],
  );
  if (unknown.length === 0) return null;
  const value = evaluate();
  if (value.kind === "error") absorb();
  const shape = value.kind === "tensor" ? value.value.type.shape : [];
  for (const { e, i } of unknown) {
    const n: Size | undefined = shape[shape.length - t.axes.length + i];
    if (n === undefined)
      fail("E0301", `\`${textOf(e.span)}\` is no size here`, e.span, {
        help: didYouMean(
          textOf(e.span),
          scope.all(),
          "a size is named by a header, an argument's type, or a capital `let`",
        ),
      });
    scope.set(textOf(e.span), number(n, true));
  }
  return value;
}
function wrongCount(stmt: Of<"let">, value: Val): never {
  const n = value.kind === "tuple" ? value.items.length : 1;
  const name = stmt.names[0]?.name ?? "x";
  return fail("E0310", `${pluralize(n, "result")} for ${pluralize(stmt.names.length, "name")}`, stmt.span, {
    label: textOf(stmt.value.span).split("\n")[0] ?? "",
    help:
      n === 1
        ? `write \`let ${name} = ...\`; parts of one result are slices: \`${name}[..., :D]\``
        : `write \`let (${Array.from({ length: n }, (_, i) => (stmt.names[i] ? stmt.names[i].name : "_")).join(", ")}) = ...\``,
  });
}
/** The value bound to a name. A capital name holds a size: a number that is not known yet becomes a new symbol. */
function named(w: World, name: ast.Name, v: Val, at: ast.Span): Val {
  if (!isCapital(name.name) || v.kind === "error") return v;
  if (v.kind === "number" && v.value === null) return number(sizeOfAtom(atom(name.name)), true);
  if (v.kind !== "number" && v.kind !== "spread")
    return fail(
      "E0211",
      `\`${name.name}\` begins with a capital, so it is a size, not ${kindText[v.kind]}`,
      name.span,
      {
        help: "begin the name in lower case",
      },
    );
  return number(toSize(w, v, at), true);
}

function runSet(w: World, stmt: Of<"set">, scope: Scope): void {
  const name = stmt.name.name;
  const holder = scope.holder(name);
  const old = scope.get(name);
  if (!holder || !old) {
    const help =
      innerNameHelp(name, scope.frame) ?? didYouMean(name, scope.all(), `make it first: \`let ${name} = ...\``);
    scope.set(name, errorVal); // so that its uses are not reported too
    return fail("E0301", `\`${name}\` is not a variable here`, stmt.name.span, { help });
  }
  if (old.kind === "error") return;
  if (old.kind === "slot")
    return fail("E0404", `\`${name}\` is a ${old.state ? "state" : "parameter"}`, stmt.name.span, {
      help: old.state ? `write \`update ${name} = ...\`` : "only the optimizer changes parameters",
    });
  if (holder.frame !== scope.frame)
    return fail("E0404", `\`${name}\` is not a variable of this body`, stmt.name.span, {
      help: `make one: \`let ${name} = ...\``,
    });
  const isInLoop = holder !== scope && scope.frame.iterations !== "";
  const set = (): Val => sameTypeAs(w, stmt, old, w.evaluate(stmt.value, scope), isInLoop);
  holder.set(name, w.guard(set, errorVal));
}
/** The new value, of the type of the old one. `isInLoop`: the variable is made outside of the loop that sets it. */
function sameTypeAs(w: World, stmt: Of<"set">, old: Val, value: Val, isInLoop: boolean): Val {
  const { name } = stmt.name;
  if (value.kind === "error") return value;
  if (old.kind === "number" && value.kind === "number") {
    if (old.whole && !value.whole)
      return fail("E0215", `\`${name}\` is a whole number, and this need not be one`, stmt.value.span, {
        help: `round it, or make a new variable: \`let ${name} = ...\``,
      });
    return number(w.checking ? null : value.value, old.whole);
  }
  if (old.kind === "bool" && value.kind === "bool") return w.checking ? bool(null) : value;
  if (old.kind !== "tensor")
    return fail("E0215", `\`${name}\` is ${kindText[old.kind]}, and this is ${kindText[value.kind]}`, stmt.value.span, {
      help:
        old.kind === "number" && value.kind === "tensor"
          ? `make it a tensor from the first: \`let ${name}: ${showType(value.value.type)} = ...\``
          : `make a new one: \`let ${name} = ...\``,
    });
  const x = toDefaultTensor(w, value, stmt.value.span);
  const want = old.value.type;
  const fits =
    equalAll(x.type.shape, want.shape) &&
    (x.type.dtype === want.dtype || (isFloat(x.type.dtype) && isFloat(want.dtype)));
  if (!fits)
    return fail("E0215", `\`${name}\` is ${showType(want)}, and this is ${showType(x.type)}`, stmt.value.span, {
      label: showType(x.type),
      notes: ["`x = ...` keeps the type of `x`", ...calledFrom(w)],
      help: isInLoop
        ? `give \`${name}\` its last size before this block, and set rows of it: \`${name} = put(${name}, index, rows, axis: a)\``
        : `change the value, or make a new variable: \`let ${name} = ...\``,
    });
  return tensor(castTo(w, x, want.dtype));
}

function runReturn(w: World, stmt: Of<"return">, scope: Scope): void {
  const { frame } = scope;
  const own = new Scope(frame, scope);
  const wants = frame.result.map((t) => (openSizes(t, own) ? null : typeOf(w, t, own)));
  const values = returnedValues(w, stmt, wants, scope);
  const fits = frame.result.map((t, i) => ({
    type: t,
    value: values[i] ?? errorVal,
    what: resultText(i, frame.result.length),
    span: (stmt.values[i] ?? stmt.values[0])?.span ?? stmt.span,
    resultOf: stmt.values.length < frame.result.length ? stmt.values[0]?.span : undefined,
  }));
  frame.returned = results(unifyAll(w, fits, own, null).map(tensor));
}
/** The values of a `return`: as many as are declared (`wants`), or the results of its one call. */
function returnedValues(w: World, stmt: Of<"return">, wants: readonly (Type | null)[], scope: Scope): Val[] {
  const [only] = stmt.values;
  const isCall = only?.kind === "call" && stmt.values.length === 1 && wants.length > 1;
  if (!isCall && stmt.values.length !== wants.length) wrongReturn(stmt, stmt.values.length, scope);
  const values = isCall
    ? resultList(w.evaluate(only, scope))
    : stmt.values.map((e, i) => w.evaluate(e, scope, wants[i] ?? null));
  if (values.some((v) => v.kind === "error")) absorb();
  return values.length === wants.length ? [...values] : wrongReturn(stmt, values.length, scope);
}
function wrongReturn(stmt: Of<"return">, n: number, { frame }: Scope): never {
  const wanted = frame.result;
  return fail(
    "E0206",
    `${pluralize(n, "result")} returned where ${pluralize(wanted.length, "result")} declared`,
    stmt.span,
    {
      also: wanted.slice(0, 1).map((t) => ({ span: t.span, text: "declared here" })),
      help: wanted.length === 0 ? "declare the result: `-> type`" : "return as many as are declared",
    },
  );
}
const openSizes = (t: ast.TypeExpr, scope: Scope): boolean =>
  t.axes.some((e) => e.kind === "name" && !scope.holder(e.name));

function runIf(w: World, stmt: Of<"if">, scope: Scope): Way {
  if (w.checking) return checkIf(w, stmt, scope);
  const holds = conditionOf(w, stmt.cond, scope) === true;
  return execute(w, holds ? stmt.then : stmt.else, scope.inner()) ? "ends" : "goes on";
}
/** Both branches are checked even if the condition is known, but not if members depend on it; the condition itself must be valid. */
function checkIf(w: World, stmt: Of<"if">, scope: Scope): Way {
  const asked = w.guard(() => conditionOf(w, stmt.cond, scope), null);
  const open = typeof asked === "boolean" ? null : asked;
  const { choices } = w;
  const holds = open && choices.here.of(open);
  if (holds !== null) return execute(w, holds ? stmt.then : stmt.else, scope.inner()) ? "ends" : "goes on";
  const { here } = choices;
  const [first = false, second = false] = [true, false].map((is) => {
    choices.here = here;
    if (open) choices.suppose(open, is);
    return execute(w, is ? stmt.then : stmt.else, scope.inner());
  });
  choices.here = here;
  if (open && first !== second) choices.suppose(open, second); // what follows is where the branch that returns was not taken
  return first && second ? "returns" : "goes on";
}

function runFor(w: World, stmt: Of<"for">, scope: Scope): Way {
  const turns =
    stmt.over.kind === "range" ? rangeIterations(w, stmt.over, stmt.name, scope) : layerIterations(w, stmt.over, scope);
  const { iterations } = scope.frame;
  for (const [i, value] of turns.entries()) {
    const block = scope.inner();
    block.set(stmt.name.name, value);
    if (stmt.index) block.set(stmt.index.name, w.checking ? symbolicIndex(stmt.index) : number(i, true));
    scope.frame.iterations = `${iterations}.${i}`;
    const done = execute(w, stmt.body, block);
    scope.frame.iterations = iterations;
    if (done && !w.checking) return "returns";
  }
  return "goes on";
}
/** A loop counter while checking: one symbol, so that sizes made from it agree (`x[i:T + i]` has T rows). */
const symbolicIndex = (name: ast.Name): Val => number(sizeOfAtom(atom(name.name)), true);
const maxIterations = 10000;
function rangeIterations(w: World, range: ast.Range, name: ast.Name, scope: Scope): Val[] {
  const [from, to] = [range.from, range.to].map((e) => {
    const v = w.evaluate(e, scope);
    if (v.kind === "error") absorb();
    return v.kind === "number" && v.value === null ? null : toSize(w, v, e.span);
  });
  if (w.checking) return [symbolicIndex(name)];
  const start = Number(from);
  const turns = Math.max(0, Number(to) - start);
  if (turns > maxIterations)
    return fail("E0211", `a loop of ${turns} turns`, range.span, {
      notes: ["loops are unrolled", ...calledFrom(w)],
      help: `loop at most ${maxIterations} times`,
    });
  return Array.from({ length: turns }, (_, i) => number(start + i, true));
}
function loopHelp(v: Val, over: ast.Expr): string {
  const text = quoted(over.span);
  if (v.kind === "number") return `write \`for i in 0:${text}\``;
  if (v.kind !== "tensor") return "write `for block in blocks` or `for i in 0:n`";
  const [rows = "n"] = v.value.type.shape.map(show);
  if (over.kind === "call" && textOf(over.callee.span) === "range") return `write \`for i in 0:${rows}\``;
  return `write \`for i in 0:${rows}\` and \`${quotedOperand(over.span)}[i]\`, which is unrolled; operators work on all rows at once`;
}
function layerIterations(w: World, over: ast.Expr, scope: Scope): Val[] {
  const v = w.evaluate(over, scope);
  if (v.kind === "error") return absorb();
  if (v.kind !== "layers")
    return fail("E0311", `a loop goes over an array of layers or numbers, not ${kindText[v.kind]}`, over.span, {
      help: loopHelp(v, over),
    });
  if (w.checking) {
    const one = anyOf(v.layers, null);
    return one ? [one] : [];
  }
  return Array.from({ length: Number(v.layers.length) }, (_, i) => ({
    kind: "layer",
    layer: v.layers.at(i),
    others: [],
  }));
}
