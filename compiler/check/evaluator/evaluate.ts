// Evaluates expressions, both for checking (values are placeholders) and for elaboration (values are nodes).
import { runtimeInputs } from "../../graph/node.ts";
import * as b from "../../ops/build.ts";
import type * as ast from "../../syntax/ast.ts";
import { isForeignModule, nameHelp } from "../../syntax/help.ts";
import { type Size, show, sub } from "../../types/size.ts";
import { type Type, type } from "../../types/type.ts";
import { binaryOf, unaryOf } from "../binary.ts";
import { builtins } from "../builtins/list.ts";
import { condition } from "../conditions.ts";
import { absorb, type DiagnosticText, didYouMean, fail, nearest, passOnHelp, quoted, textOf } from "../errors.ts";
import { declarationValue } from "../frames.ts";
import { fillHeader } from "../headers.ts";
import { anyOf, forwardOf, hasMember, makeInstance, memberOf, notHere, oneOf } from "../layers.ts";
import { toMakeable, toMakers } from "../makers.ts";
import { libraryHome, libraryNames } from "../modules.ts";
import { calledFrom, toSize } from "../numbers.ts";
import { isLayer } from "../origin.ts";
import { abstractStorage } from "../storage.ts";
import { toDefaultTensor } from "../tensor.ts";
import { isCapital, spreadAxes } from "../types.ts";
import {
  bool,
  type Callable,
  type Instances,
  kindText,
  type Makeable,
  type Makers,
  number,
  type Scope,
  tensor,
  type Val,
} from "../values.ts";
import type { Call, CallArgument, World } from "../world.ts";
import { readSlot } from "./effects.ts";
import { indexTensor } from "./indexing.ts";
import { innerNameHelp } from "./inner-names.ts";
import { memberOfPicked } from "./picked.ts";
import { callPicked, sameResults } from "./routed.ts";

export function evaluate(w: World, e: ast.Expr, scope: Scope, want: Type | null): Val {
  switch (e.kind) {
    case "number":
      return number(e.value, Number.isInteger(e.value));
    case "bool":
      return bool(e.value);
    case "name":
      return nameValue(w, e.name, e.span, scope);
    case "unary":
      return unaryOf(w, value(w, e.value, scope), e);
    case "binary":
      return binaryValue(w, e, scope);
    case "call":
      return callValue(w, e, scope, want);
    case "member":
      return memberValue(w, e, scope);
    case "index":
      return indexValue(w, e, scope);
    case "list":
      return listValue(w, e, scope);
    case "hole":
      return holeValue(w, e, scope);
  }
}
/** Evaluates an operand; if it is already known to be wrong, gives up without a second error. */
function value(w: World, e: ast.Expr, scope: Scope): Val {
  const v = w.evaluate(e, scope);
  return v.kind === "error" ? absorb() : v;
}

/** Both sides are evaluated even if the first one fails, so that errors in both are reported. */
function binaryValue(w: World, e: Extract<ast.Expr, { kind: "binary" }>, scope: Scope): Val {
  const sides = [e.left, e.right].map((side) => w.guard<Val>(() => value(w, side, scope), { kind: "error" }));
  const [left = absorb(), right = absorb()] = sides;
  return left.kind === "error" || right.kind === "error" ? absorb() : binaryOf(w, e, left, right, scope);
}

function nameValue(w: World, name: string, at: ast.Span, scope: Scope): Val {
  const found = scope.get(name);
  if (found?.kind === "spread" && scope.frame.lane?.kind === "routed")
    fail("E0403", `\`${name}\` stands for a batch, and there is none in a layer called by \`experts[index](x)\``, at, {
      notes: calledFrom(w),
      help: "move what concerns the batch out of the routed layer, for instance to its gate; a gate inside of an expert knows one row: `SoftmaxGate`",
    });
  if (found) return found.kind === "slot" ? readSlot(w, found, scope) : found;
  const flag = special(w, name);
  if (flag) return flag;
  if (builtins.has(name)) return { kind: "fn", fn: { kind: "builtin", name } };
  const words = memberWords(name, scope) ?? { help: unknownHelp(name, scope) };
  return fail("E0301", `nothing is called \`${name}\` here`, at, words);
}
/** The remedy for a name that is a member of this layer: of another choice, or used in the declaration of another member, where it is not visible. */
function memberWords(name: string, { frame: { role, body, instance } }: Scope): DiagnosticText | null {
  if (instance && role !== "header") return notHere(instance.make, name);
  if (role !== "header" || !isLayer(body) || !hasMember(body.body, name)) return null;
  return {
    help: `\`${name}\` is a member, and members do not see one another: use it in a method, or let \`${body.name.name}\` have in its header what both need`,
  };
}
function unknownHelp(name: string, scope: Scope): string {
  const foreign = nameHelp(name);
  if (foreign !== null) return foreign;
  const of = scope.frame.instance?.make.of;
  if (of?.kind === "layer" && of.maker.parts.some((part) => part.header.has(name))) return passOnHelp(name);
  const inner = innerNameHelp(name, scope.frame);
  if (inner !== null) return inner;
  const module = libraryHome(name);
  if (module) return `it is in the library: \`import { ${name} } from "${module}"\``;
  const otherwise = isCapital(name)
    ? `a size stands alone in an argument's type, as in \`float[${name}]\`, or in the header; that of a result is named by a type: \`let y: float[${name}] = ...\``
    : "declare it, import it, or give it as an argument";
  return didYouMean(name, [...scope.all(), ...builtins.keys(), ...specials], nearLibrary(name) ?? otherwise);
}
/** The remedy for a name that resembles a declaration of the library. */
function nearLibrary(name: string): string | null {
  const near = name.length > 2 && isCapital(name) ? nearest(name, libraryNames()) : null;
  return near && `did you mean \`${near}\`, of "${libraryHome(near)}"?`;
}
/** Reports module prefixes of other languages, such as in `torch.cat` and `nn.Linear`. */
function requireNoModule(e: Extract<ast.Expr, { kind: "member" }>, scope: Scope): void {
  if (e.object.kind !== "name" || !isForeignModule(e.object.name) || scope.get(e.object.name)) return;
  const name = e.name.name;
  fail("E0301", `nothing is called \`${e.object.name}\` here`, e.object.span, {
    help: builtins.has(name) ? `functions have no module before them: \`${name}(...)\`` : unknownHelp(name, scope),
  });
}
const specials = ["training", "generating", "step", "inf"];
function special(w: World, name: string): Val | null {
  switch (name) {
    case "training":
      return bool(w.options.training, condition(name));
    case "generating":
      return bool(w.options.generating, condition(name));
    case "inf":
      return number(Number.POSITIVE_INFINITY, false);
    case "step":
      return tensor(w.make(type("i32", []), () => b.param(w.g, runtimeInputs.step, type("i32", []))));
    default:
      return null;
  }
}

function callValue(w: World, e: Extract<ast.Expr, { kind: "call" }>, scope: Scope, want: Type | null): Val {
  const callee = value(w, e.callee, scope);
  const given = e.args.map(
    (a): CallArgument => ({ name: a.name, value: w.evaluate(a.value, scope), span: a.value.span }),
  );
  const call: Call = { given, from: scope.frame, at: e.span, want: null };
  w.g.span = e.span;
  switch (callee.kind) {
    case "fn":
      return w.call(callee.fn, { ...call, want });
    case "layer":
      return sameResults(
        [callee.layer, ...callee.others].map((layer) => w.call(forwardOf(layer, e.callee.span), call)),
        e.span,
      );
    case "picked":
      if (callee.within.length > 0) return failCalledWithin(e.callee);
      return callPicked(w, callee.layers, callee.index, call);
    case "declaration":
      return fillHeader(w, callee.decl, given, scope, e.span);
    case "maker":
      return w.call(functionOf(w, callee.make, e.callee.span), call);
    default:
      return fail("E0307", `${kindText[callee.kind]} cannot be called`, e.callee.span, {
        help:
          callee.kind === "layers"
            ? pickHelp(quoted(e.callee.span, "layers"))
            : (hiddenHelp(e.callee, scope) ?? "call a function, a layer or a method"),
      });
  }
}
const failCalledWithin = (callee: ast.Expr): never =>
  fail(
    "E0307",
    `\`${textOf(callee.span)}\` is a layer of each layer of an array, of which only tensors are read`,
    callee.span,
    {
      help: "have its call in the `forward` of a layer that the array is made of, and call `experts[:](x)`",
    },
  );
/** The remedy for a call of a tensor that hides a member, or a function, of the same name. */
function hiddenHelp(callee: ast.Expr, scope: Scope): string | null {
  if (callee.kind !== "name") return null;
  const { name } = callee;
  const isMember = scope.get(name)?.kind === "slot";
  const hidesMember = !isMember && scope.frame.instance?.members.has(name);
  if (!hidesMember && !builtins.has(name) && !scope.root().has(name)) return null;
  return `\`${name}\` is ${isMember ? "a member" : "an argument or a variable"} here, and hides the ${hidesMember ? "member" : "function"} \`${name}\`: give it another name`;
}
const pickHelp = (layers: string): string =>
  `pick one: \`${layers}[0](x)\`, all: \`${layers}[:](x)\`, by index: \`${layers}[index](x)\`, or one after the other: \`for layer in ${layers} { x = layer(x) }\``;
/** The function passed for a header name. A layer passed there must become a member first. */
function functionOf(w: World, make: Makeable, at: ast.Span): Callable {
  if (make.of.kind === "layer") {
    const [name, layer] = [quoted(at, "name"), make.of.maker.parts[0].ast.name.name];
    fail("E0307", `\`${textOf(at)}\` is a layer yet to be made`, at, {
      help:
        make.arrows.length > 0
          ? `make it a member, \`${name}: ${name}\`, and call that`
          : `make it a member of this layer, \`${/^\w+$/.test(name) ? name : "name"}: ${layer}(...)\`, and call that`,
    });
  }
  return forwardOf(makeInstance(w, make, "", abstractStorage(w)), at);
}
/** The remedy for members that values do not have here, such as methods of PyTorch's tensors. */
function noMemberHelp(e: Extract<ast.Expr, { kind: "member" }>): string {
  const [name, object] = [e.name.name, textOf(e.object.span)];
  if (object === "self" || object === "this") return nameHelp(object) ?? "";
  if (/^(T|mT|t|adjoint)$/.test(name)) return `write \`transpose(${object}, -2, -1)\``;
  if (name === "shape") return "sizes have names: those of its type";
  const given = /^\(([^()\n]+)\)/.exec(e.span.source.text.slice(e.span.end))?.[1];
  if (given !== undefined && /^(view|reshape)$/.test(name)) {
    const sizes = given.replace(/^\[(.*)\]$/, "$1");
    const whole = /(^|,\s*)-1\b/.test(sizes) ? "; in place of -1 write its size, as in `B * T`" : "";
    return `write \`reshape(${object}, [${sizes}])\`${whole}`;
  }
  if (given !== undefined && /^(max|min)$/.test(name)) return `write \`${name}(${object}, axis: ${given})\``;
  if (builtins.has(name)) return `write \`${name}(${given === undefined ? object : `${object}, ${given}`})\``;
  const [foreign, home] = [nameHelp(name), libraryHome(name)];
  if (foreign === null && home) return `write \`${name}(${object})\`, with \`${name}\` of "${home}"`;
  return foreign ?? "members are those of layers: `embed.weight`";
}
function memberValue(w: World, e: Extract<ast.Expr, { kind: "member" }>, scope: Scope): Val {
  requireNoModule(e, scope);
  const object = value(w, e.object, scope);
  if (object.kind === "picked")
    return memberOfPicked(w, object, e.name, quoted(e.object.span, "experts[index]"), scope);
  if (object.kind !== "layer")
    return fail("E0313", `${kindText[object.kind]} has no members`, e.name.span, {
      help: object.kind === "layers" ? ofEachHelp(e, object.layers) : noMemberHelp(e),
    });
  const layer = oneOf(w, object, e.object.span);
  const { name } = e.name;
  if (!layer.members.has(name) && [object.layer, ...object.others].some(({ members }) => members.has(name))) absorb();
  const found = memberOf(layer, e.name);
  return found.kind === "slot" ? readSlot(w, found, scope) : found;
}
function ofEachHelp({ object, name: { name } }: Extract<ast.Expr, { kind: "member" }>, of: Instances): string {
  const layers = quoted(object.span, "layers");
  if (name === "forward") return pickHelp(layers);
  const ofAll = of.kinds[0]?.members.get(name)?.().kind === "fn" ? "" : `, of all \`${layers}[:].${name}\``;
  return `of one it is \`${layers}[0].${name}\`${ofAll}`;
}

function indexValue(w: World, e: Extract<ast.Expr, { kind: "index" }>, scope: Scope): Val {
  const object = value(w, e.object, scope);
  switch (object.kind) {
    case "maker":
    case "declaration":
      return makersOf({ times: onlySize(w, e, scope), items: [toMakeable(object, null, e.object.span)] });
    case "makers":
      return makersOf({ times: onlySize(w, e, scope), items: [object.makers] });
    case "list":
      if (object.items.some((v) => v.kind === "tensor"))
        return fail("E0210", "a list of tensors has no places", e.object.span, {
          help: "name each of them, or join them along an axis: `concat([x[new], y[new]], axis: 0)`",
        });
      return makersOf({ times: onlySize(w, e, scope), items: object.items.map((v) => asItem(w, v, e.object.span)) });
    case "layers":
      return pick(w, object.layers, e, scope);
    default:
      return indexTensor(w, toDefaultTensor(w, object, e.object.span), e, scope);
  }
}
const makersOf = (makers: Makers): Val => ({ kind: "makers", makers });
const asItem = (w: World, v: Val, at: ast.Span): Makeable | Makers =>
  v.kind === "makers" ? toMakers(w, v, null, at) : toMakeable(v, null, at);
function onlySize(w: World, e: Extract<ast.Expr, { kind: "index" }>, scope: Scope): Size {
  const [item, ...more] = e.items;
  if (!item || more.length > 0 || item.kind === "slice" || item.kind === "ellipsis" || item.kind === "new")
    return fail("E0210", "an array of layers has a number of copies", e.span, { help: "write `Linear(D, H)[4]`" });
  return toSize(w, value(w, item, scope), item.span);
}
function pick(w: World, layers: Instances, e: Extract<ast.Expr, { kind: "index" }>, scope: Scope): Val {
  const [item, ...more] = e.items;
  if (!item || more.length > 0 || item.kind === "ellipsis" || item.kind === "new")
    return fail("E0210", "layers are picked by one index", e.span, {
      help: "`layers[3]`, `layers[:]` or `layers[index]`",
    });
  if (item.kind === "slice") {
    if (item.from || item.to)
      return fail("E0210", "a part of an array of layers cannot be picked", item.span, {
        help: "`layers[:]` calls all",
      });
    return { kind: "picked", layers, index: null, within: [] };
  }
  const v = value(w, item, scope);
  if (v.kind === "tensor") return { kind: "picked", layers, index: v.value, within: [] };
  if (v.kind !== "number")
    return fail("E0210", `layers are picked by a number or an i32 tensor, not ${kindText[v.kind]}`, item.span, {
      help: "`layers[3]` or `layers[index]`",
    });
  const at = layerNumber(v.value, layers.length, item.span);
  if (w.checking) return anyOf(layers, typeof at === "number" ? at : null) ?? absorb();
  return { kind: "layer", layer: layers.at(at ?? absorb()), others: [] };
}
/** The number of a layer; null: it is not known while checking. A number that no layer has is an error. */
function layerNumber(at: Size | null, length: Size, span: ast.Span): number | null {
  if (typeof at !== "number") return null;
  if (Number.isInteger(at) && at >= 0 && (typeof length !== "number" || at < length)) return at;
  const all = `layers are numbered from 0 to ${show(sub(length, 1))}; where an index tensor holds -1, no layer is called`;
  return fail("E0210", `there is no layer ${at} of ${show(length)}`, span, {
    help: length === 0 ? "this array has none: make it of one layer or more" : all,
  });
}

function listValue(w: World, e: Extract<ast.Expr, { kind: "list" }>, scope: Scope): Val {
  const items = e.items.map((item): Val => {
    if (item.kind === "spread")
      return { kind: "list", items: spreadAxes(item.name.name, item, scope).map((n) => number(n, true)) };
    return value(w, item, scope);
  });
  const layers = items.length > 0 && items.every((v) => v.kind === "maker" || v.kind === "makers");
  if (layers) return makersOf({ times: 1, items: items.map((v) => asItem(w, v, e.span)) });
  return { kind: "list", items, spans: e.items.map((item) => item.span) };
}
function holeValue(w: World, e: Extract<ast.Expr, { kind: "hole" }>, scope: Scope): Val {
  const hole = w.hole(e.index, scope);
  return hole
    ? declarationValue(hole)
    : fail("E0301", "this hole is empty", e.span, { help: "give the template a declaration here" });
}
