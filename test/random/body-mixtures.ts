// Mixtures in random layers of tensors of any shape: experts with random bodies, in which there may be experts again; their rows are numbers, vectors
// or matrices. Some calls share their experts or their indices with earlier ones.
import { type Experts, type Made, product, type Step, type Tensors, typeOf, type Variable } from "./body.ts";
import { bodySteps } from "./body-steps.ts";
import type { Shape } from "./random-graph.ts";

const starts = (v: Shape, lead: Shape): boolean => lead.every((n, i) => v[i] === n);
/** An array of experts with a random body, or one that an earlier call has. */
function expertsOf(t: Tensors, row: Shape, E: number | null): Experts {
  const { draw } = t;
  const known = t.experts.filter((e) => e.row.join() === row.join() && (E === null || e.E === E));
  if (known.length > 0 && draw.chance(0.4)) return draw.of(known);
  const body = t.inner();
  const name = `Body${t.name()}`;
  const given = [body.add({ name: "x", dtype: "float", shape: row })];
  const second = draw.chance(0.3) ? draw.of([[], [2], [3, 2]]) : null;
  if (second) given.push(body.add({ name: "y", dtype: "float", shape: second }));
  for (let i = 3 + draw.below(5); i > 0; i--) body.step(t.depth === 0 ? [...inBodies, mixture] : inBodies);
  const fits = body.results().filter((v) => v.dtype === "float" && product(v.shape) <= 200);
  const results = fits.slice(0, draw.of([1, 1, 2]));
  const made = results.length > 0 ? results : given.slice(0, 1);
  const types = made.map((v) => typeOf("float", v.shape));
  t.layers.push(
    ...body.layers,
    `layer ${name}() {
  param own: float = 1
  ${body.members.join("\n  ")}
  forward(${given.map((v) => `${v.name}: ${typeOf("float", v.shape)}`).join(", ")}) -> ${types.length > 1 ? `(${types.join(", ")})` : types[0]} {
    ${body.lines.join("\n    ")}
    return ${made.map((v) => `${v.name} * own`).join(", ")}
  }
}`,
  );
  const experts = { member: t.name(), E: E ?? 1 + draw.below(4), row, second, results: made.map((v) => v.shape) };
  t.members.push(`${experts.member}: ${name}()[${experts.E}]`);
  t.experts.push(experts);
  return experts;
}
/** The indices of experts for rows with axes `lead`, from numbers or from places, of some rank; some are out of range. */
function indexOf(t: Tensors, x: Variable, lead: Shape, E: number): Variable {
  const { draw } = t;
  const K = draw.of([null, 1, 2, 3]);
  const shape = K === null ? lead : [...lead, K];
  const known = t.variables.filter((v) => v.dtype === "i32" && v.shape.join() === shape.join());
  const inner = x.shape.length - lead.length;
  const flat = `${"sum(".repeat(inner)}sin(${x.name})${", axis: -1)".repeat(inner)}`;
  const places = lead.length === 1 ? `range(${lead[0]})` : `range(${lead[0]})[:, new] + range(${lead[1]})`;
  const chosen = draw.chance(0.5) ? `i32(floor(abs(${flat}) * 7))` : places;
  const from =
    known.length > 0 && draw.chance(0.4)
      ? draw.of(known).name
      : K === null
        ? `(${chosen})`
        : `((${chosen})[..., new] + range(${K}))`;
  const name = t.name();
  t.lines.push(`let ${name} = ${from} % ${E + 1} - ${draw.below(2)}`);
  return t.add({ name, dtype: "i32", shape });
}
/** A value for the second argument, whose axes before the row are some of `axes`. */
function secondOf(t: Tensors, row: Shape, axes: Shape): string {
  const given = t.any((v) => {
    const lead = v.shape.slice(0, v.shape.length - row.length);
    return v.dtype === "float" && v.shape.slice(lead.length).join() === row.join() && starts(axes, lead);
  });
  if (given) return given.name;
  return t.param("float", [...axes.slice(0, t.draw.below(axes.length + 1)), ...row]).name;
}
/** A call of experts by index, of each copy on its own row, or of one. */
export function mixture(t: Tensors): Made | null {
  const x = t.any((v) => v.dtype === "float" && v.shape.length >= 1 && v.shape[0] !== 0);
  if (!x) return null;
  const { draw } = t;
  const lead = x.shape.slice(0, x.shape.length > 2 && draw.chance(0.3) ? 2 : 1);
  const row = x.shape.slice(lead.length);
  const kind = draw.of(["own", "one", "routed", "routed", "routed", "routed"]);
  const experts = expertsOf(t, row, kind === "own" ? (lead[0] ?? 0) : null);
  const { member, E, second } = experts;
  if (kind === "one" || (lead.length > 1 && kind === "own")) {
    const at = lead.map(() => "0").join(", ");
    return called(t, experts, `${member}[${draw.below(E)}]`, `${x.name}[${at}]`, []);
  }
  if (kind === "own") return second === null ? called(t, experts, `${member}[:]`, x.name, lead) : null;
  const index = indexOf(t, x, lead, E);
  return called(t, experts, `${member}[${index.name}]`, x.name, index.shape);
}
/** The call with its results, sometimes summed over the choices, each times a score. */
function called(t: Tensors, { second, results }: Experts, callee: string, x: string, axes: Shape): Made {
  const { draw } = t;
  const text = `${callee}(${x}${second === null ? "" : `, ${secondOf(t, second, axes)}`})`;
  const all = results.map((shape): Variable => ({ name: t.name(), dtype: "float", shape: [...axes, ...shape] }));
  const names = all.map((v) => v.name).join(", ");
  t.lines.push(`let ${all.length > 1 ? `(${names})` : names} = ${text}`);
  for (const v of all) if (product(v.shape) <= 3000 && v.shape.length <= 4) t.add(v);
  const [first] = all as [Variable];
  if (axes.length < 2 || draw.chance(0.3)) return { ...first, text: `${first.name} * 0.5` };
  const score = t.of(axes, "float");
  const fresh = ", new".repeat(first.shape.length - axes.length);
  const scores = draw.of([`${score}[...${fresh}]`, `sigmoid(${score})[...${fresh}]`, `softmax(${score})[...${fresh}]`]);
  const shape = first.shape.toSpliced(axes.length - 1, 1);
  return { text: `sum(${scores} * ${first.name}, axis: ${axes.length - 1})`, dtype: "float", shape };
}
const inBodies: readonly Step[] = Object.values(bodySteps);
