// What a built-in function is: a record with its signature as users see it. `Args` binds a call's arguments to that signature and converts them.
import type { Value } from "../graph/node.ts";
import { pluralize } from "../pluralize.ts";
import type { Span } from "../syntax/ast.ts";
import { absentArgumentHelp, missingArgumentHelp, tooManyHelp } from "../syntax/help.ts";
import { equal, type Size } from "../types/size.ts";
import { showType, type Type } from "../types/type.ts";
import { spreadToNumber } from "./binary.ts";
import { absorb, argumentHelp, fail, tooManyLabel } from "./errors.ts";
import { toSize } from "./numbers.ts";
import { shapeOf } from "./sizes.ts";
import { axisOf, toDefaultTensor } from "./tensor.ts";
import { kindText, type Val } from "./values.ts";
import type { Call, CallArgument, World } from "./world.ts";

export interface Builtin {
  readonly name: string;
  /** Such as `take(x, index, axis)`; a `?` after a name marks an optional argument. */
  readonly signature: string;
  readonly doc: string;
  call(c: CallContext): Val;
}
export interface CallContext extends Call {
  readonly w: World;
  /** Identifies the call in the program, so that its random numbers differ from those of other calls. */
  readonly site: string;
}

/** A builtin from its signature; `build` reads the arguments by name. */
export function builtin(signature: string, doc: string, build: (c: CallContext, args: Args) => Val): Builtin {
  const [name = "", inner = ""] = signature.replace(")", "").split("(");
  const params = inner
    .split(",")
    .map((p) => p.trim())
    .filter((p) => p !== "");
  return { name, signature, doc, call: (c) => build(c, new Args(c, signature, params)) };
}

export class Args {
  readonly #c: CallContext;
  readonly #signature: string;
  readonly #given = new Map<string, CallArgument>();

  constructor(c: CallContext, signature: string, params: readonly string[]) {
    this.#c = c;
    this.#signature = signature;
    const names = params.map((p) => p.replace("?", ""));
    c.given.forEach((arg, i) => this.#place(arg, i, names, c.given.length));
    for (const p of params)
      if (!p.endsWith("?") && !this.#given.has(p))
        fail("E0306", `\`${signature}\` needs \`${p}\``, c.at, {
          help: missingArgumentHelp(this.#name, p) ?? `give it: \`${p}: ...\``,
        });
  }
  #place(arg: CallArgument, i: number, names: readonly string[], given: number): void {
    const name = arg.name?.name ?? names[i];
    if (name === undefined)
      return fail("E0305", `\`${this.#signature}\` takes ${pluralize(names.length, "argument")}`, arg.span, {
        label: tooManyLabel(given - names.length),
        help: tooManyHelp(this.#name) ?? "leave it out",
      });
    if (!names.includes(name))
      return fail("E0305", `\`${this.#signature}\` takes no argument \`${name}\``, arg.name?.span ?? arg.span, {
        help: absentArgumentHelp(this.#name, name) ?? argumentHelp(name, names),
      });
    if (this.#given.has(name))
      return fail("E0305", `\`${name}\` is given twice`, arg.span, {
        help: `leave one out: \`${this.#signature}\` takes them in this order`,
      });
    this.#given.set(name, arg);
  }
  get #name(): string {
    return this.#signature.slice(0, this.#signature.indexOf("("));
  }
  has(name: string): boolean {
    return this.#given.has(name);
  }
  /** Whether it was given by name rather than by position. */
  isNamed(name: string): boolean {
    return this.#given.get(name)?.name != null;
  }
  span(name: string): Span {
    return this.#given.get(name)?.span ?? this.#c.at;
  }
  /** The argument as it was given. */
  value(name: string): Val {
    const v = this.#given.get(name)?.value ?? absorb();
    return v.kind === "error" ? absorb() : v;
  }
  /** The argument as a compile-time number or boolean, or a tensor. */
  operand(name: string): { value: Val; span: Span } {
    const [value, span] = [spreadToNumber(this.value(name)), this.span(name)];
    if (value.kind !== "number" && value.kind !== "bool") toDefaultTensor(this.#c.w, value, span);
    return { value, span };
  }
  tensor(name: string): Value {
    return toDefaultTensor(this.#c.w, this.value(name), this.span(name));
  }
  size(name: string): Size {
    return toSize(this.#c.w, this.value(name), this.span(name));
  }
  shape(name: string): Size[] {
    const v = this.value(name);
    if (v.kind !== "list")
      return fail("E0314", `\`${name}\` is a list of sizes, not ${kindText[v.kind]}`, this.span(name), {
        help: "write `[A, B]`",
      });
    return shapeOf(this.#c.w, v, this.span(name));
  }
  /** A boolean known at compile time; false if it is not given. */
  flag(name: string): boolean {
    if (!this.has(name)) return false;
    const v = this.value(name);
    if (v.kind === "bool" && v.value !== null) return v.value;
    return fail("E0314", `\`${name}\` is \`true\` or \`false\``, this.span(name), { help: `write \`${name}: true\`` });
  }
  /** A single axis of `x`, `otherwise` if it is not given. */
  axis(name: string, x: Type, otherwise: number): number {
    if (!this.has(name)) return axisOf(this.#c.w, x, otherwise, this.#c.at);
    const axes = this.#axesOf(this.value(name), x, this.span(name));
    const [only, ...more] = axes;
    if (only === undefined || more.length > 0)
      return fail("E0207", "one axis is needed here", this.span(name), {
        help:
          this.value(name).kind === "list"
            ? "give one number: axes are exchanged, and worked along, one at a time"
            : "reshape `[...S, D]` to `[S, D]` first",
      });
    return only;
  }
  /** Axes given as a number, as `S`, or as a list of these; all axes of `x` if none are given. */
  axes(name: string, x: Type): number[] {
    if (!this.has(name)) return [...x.shape.keys()];
    return [...new Set(this.#axesOf(this.value(name), x, this.span(name)))].toSorted((a, c) => a - c);
  }
  #axesOf(v: Val, x: Type, at: Span): number[] {
    if (v.kind === "list") return v.items.flatMap((item) => this.#axesOf(item, x, at));
    if (v.kind === "spread") return this.#leading(v.name, v.axes, x, at);
    if (v.kind === "number" && typeof v.value === "number") return [axisOf(this.#c.w, x, v.value, at)];
    return fail("E0207", `an axis is a number, not ${v.kind === "number" ? "a size" : kindText[v.kind]}`, at, {
      help: "`axis: -1`, `axis: S` for the axes of `...S`, or a list",
    });
  }
  /** The axes of a spread `S`, which must be the leading axes of x. */
  #leading(name: string, axes: readonly Size[], x: Type, at: Span): number[] {
    if (!axes.every((n, i) => equal(n, x.shape[i] ?? -1)))
      return fail("E0207", `${showType(x)} does not begin with the axes \`...${name}\``, at, {
        help: "give the axis by its number, counted from the end",
      });
    return axes.map((_, i) => i);
  }
}
