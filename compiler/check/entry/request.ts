// What is requested from elaboration, and how names in headers and types get their values from it.
import { Problem } from "../../diagnostic.ts";
import { describeValue, sizeFlagText } from "../../flag-text.ts";
import type * as ast from "../../syntax/ast.ts";
import type { Precision } from "../../types/dtype.ts";
import { didYouMean, fail, textOf } from "../errors.ts";
import { bareName, isCapital, namesIn } from "../types.ts";
import { type Declared, number, type Scope, type Val } from "../values.ts";
import type { CallArgument } from "../world.ts";
import { methodsCalled, methodsOf } from "./entry-signature.ts";

export interface EntryRequest {
  /** Unique; the name of the graph, and the prefix of its inputs, as in `NAME/tokens`. */
  readonly name: string;
  /** The method to compile; `train` and `generate` are special. For a function, its name or "forward". */
  readonly method: string;
  /** Compile `train` for evaluation: `training` is false, and nothing is learned. */
  readonly evaluates?: boolean;
  readonly sizes: Sizes;
  /** Optional arguments that are nevertheless inputs. */
  readonly inputs?: readonly string[] | undefined;
}
/** Whether an entry trains, rather than evaluates. */
export const trains = ({ method, evaluates = false }: EntryRequest): boolean => method === "train" && !evaluates;
/** Whether an entry is a part of generating: its states are those of `generate`, beside which alone `encode` is one. */
export const generates = ({ method }: EntryRequest, decl: Declared): boolean =>
  method === "generate" || (method === "encode" && methodsCalled(decl, "generate").length > 0);
/** Values by name; a spread `...S` takes a list. */
export type Sizes = Readonly<Record<string, number | boolean | readonly number[]>>;
export interface Request {
  /** The name of the declaration; the only model of the file if not given. */
  readonly declaration?: string;
  /** Values for the header, and for all entries that do not have their own. */
  readonly sizes: Sizes;
  readonly precision: Precision;
  readonly entries: readonly EntryRequest[];
  /** Errors are looked for, and the graphs are thrown away: of what is equal, calls of layers and parameters to train, one is elaborated. */
  readonly checks?: boolean;
  /** How many experts of an array are computed where the rows are (`evaluator/shadow.ts`), of how many, for so many choices. Absent: none are. */
  readonly shadowed?: ((experts: number, choices: number) => number) | undefined;
}

/** The sizes and values given for one entry, and which names have used them. */
export class RequestedValues {
  readonly #decl: Declared;
  readonly #request: Request;
  readonly #entry: EntryRequest;
  readonly #names = new Set<string>();
  readonly #inputs = new Set<string>();

  constructor(decl: Declared, request: Request, entry: EntryRequest) {
    [this.#decl, this.#request, this.#entry] = [decl, request, entry];
  }
  /** The header arguments that are given. */
  header(): CallArgument[] {
    const decl = this.#decl;
    for (const p of decl.ast.header) this.#names.add(p.name.name);
    const missing = decl.ast.header.filter((p) => this.#size(p.name.name) === undefined && !p.default);
    if (missing[0]) this.#failMissing(missing[0], missing.slice(1));
    for (const p of decl.ast.header) {
      if (p.type && this.#size(p.name.name) !== undefined)
        throw new Problem(
          `${p.name.name} is a layer, which cannot be set from outside`,
          `declare a model that fills it in: model M(...) = ${decl.ast.name.name}(...)`,
        );
    }
    return decl.ast.header.flatMap((p): CallArgument[] => {
      const v = this.#size(p.name.name);
      return v === undefined ? [] : [{ name: p.name, value: compileTimeValue(p.name.name, v), span: p.span }];
    });
  }
  #failMissing(p: ast.HeaderParam, others: readonly ast.HeaderParam[]): never {
    const of = this.#decl.ast.name.name;
    const name = p.name.name;
    fail("E0407", `\`${of}\` needs \`${name}\``, p.span, {
      notes: others.length > 0 ? [`it needs ${others.map((other) => `\`${other.name.name}\``).join(", ")} too`] : [],
      help: p.type
        ? `only a layer can give \`${name}\`: declare \`model M(...) = ${of}(...)\``
        : `give it: ${sizeFlagText(name)}, or a default: \`${name} = 8\``,
    });
  }
  #size(name: string): number | boolean | readonly number[] | undefined {
    const [entry, request] = [this.#entry, this.#request];
    return Object.hasOwn(entry.sizes, name)
      ? entry.sizes[name]
      : Object.hasOwn(request.sizes, name)
        ? request.sizes[name]
        : undefined;
  }
  /** Binds the names in the types of an entry's parameters to the sizes that are given. */
  bind(params: readonly ast.HeaderParam[], scope: Scope): void {
    for (const p of params) {
      if (p.type?.kind !== "tensor") continue;
      this.#inputs.add(p.name.name);
      if (this.usesDefault(p)) continue;
      const { spread } = p.type;
      const names = [
        ...(spread ? [spread] : []),
        ...p.type.axes.flatMap((e) => (bareName(e) === null ? [] : [{ name: textOf(e.span), span: e.span }])),
      ];
      for (const { name, span } of names) {
        this.#names.add(name);
        if (scope.get(name) && !scope.has(name) && scope.get(name)?.kind !== "declaration") continue;
        const v = this.#size(name);
        if (v === undefined)
          fail("E0408", `the entry \`${this.#entry.method}\` needs the size \`${name}\``, span, {
            help: `give it: ${sizeFlagText(name, 128)}; \`moec run\` finds it in its inputs, \`train\` in TypeScript in tensors of the first batch`,
          });
        scope.set(
          name,
          name === spread?.name ? { kind: "spread", name, axes: axesOf(name, v) } : compileTimeValue(name, v),
        );
      }
    }
  }
  /** The argument for a size or value parameter of a function. */
  value(p: ast.HeaderParam, scope: Scope): CallArgument[] {
    this.#names.add(p.name.name);
    const v = this.#size(p.name.name);
    if (v !== undefined && !p.type) return [{ name: p.name, value: compileTimeValue(p.name.name, v), span: p.span }];
    if (!p.default && !scope.get(p.name.name))
      fail("E0407", `\`${this.#decl.ast.name.name}\` needs \`${p.name.name}\``, p.span, {
        help: `give it: ${sizeFlagText(p.name.name)}`,
      });
    return [];
  }
  /** Whether a parameter is left to its default. */
  usesDefault(p: ast.HeaderParam): boolean {
    return p.default !== null && !this.#entry.inputs?.includes(p.name.name);
  }
  /** Throws a Problem for a size or input that the declaration does not have. */
  checkNames(): void {
    const used = new Set(this.#names);
    for (const m of methodsOf(this.#decl))
      for (const p of m.ast.params) if (p.type?.kind === "tensor") for (const n of namesIn(p.type)) used.add(n);
    const { ast } = this.#decl;
    if (ast.kind === "fn") for (const p of ast.header) used.add(p.name.name);
    for (const name of [...Object.keys(this.#request.sizes), ...Object.keys(this.#entry.sizes)])
      if (!used.has(name))
        throw new Problem(
          `${ast.name.name} has no size or value ${name}`,
          didYouMean(name, used, `it has ${[...used].join(", ")}`),
        );
    for (const name of this.#entry.inputs ?? [])
      if (!this.#inputs.has(name))
        throw new Problem(
          `${this.#entry.method} has no input ${name}`,
          didYouMean(name, this.#inputs, `it has ${[...this.#inputs].join(", ")}`),
        );
  }
}
/** The axes of a spread, given as a list or as a single number. */
function axesOf(name: string, v: Sizes[string]): readonly number[] {
  const axes: readonly unknown[] = Array.isArray(v) ? v : [v];
  const no = axes.find((n) => !isSize(n));
  if (no !== undefined || axes.includes(undefined))
    throw new Problem(
      `${name} is a list of sizes, and ${describeValue(no)} is none`,
      `give whole numbers: in TypeScript \`sizes: { ${name}: [2, 3] }\``,
    );
  return axes as readonly number[];
}
const isSize = (n: unknown): boolean => Number.isSafeInteger(n) && (n as number) >= 0;
function compileTimeValue(name: string, v: number | boolean | readonly number[]): Val {
  if (typeof v === "boolean") return { kind: "bool", value: v };
  if (typeof v === "number") {
    if (isCapital(name) && !isSize(v))
      throw new Problem(`${name} is a size, and ${v} is not`, `give a whole number: ${sizeFlagText(name, 8)}`);
    return number(v, isCapital(name));
  }
  if (!Array.isArray(v))
    throw new Problem(`${name} is given ${describeValue(v)}`, "give a number, a boolean or a list of sizes");
  return { kind: "list", items: v.map((n) => number(n, true)) };
}
