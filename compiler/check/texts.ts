// What determines a program, for keys of caches.
import type { Hole, Template } from "../syntax/hole.ts";
import type { Loaded } from "./modules.ts";

type Module = Loaded["main"];
/**
 * Which module is the main one; and of each the text, of a template what its holes hold, and which modules its imports are of (a link may name another
 * file than before, or none).
 */
export const textsOf = ({ main, modules }: Loaded): unknown => [
  modules.indexOf(main),
  modules.map(({ program, names }) => [
    textOf(program, modules),
    program.imports.flatMap((one) =>
      one.names.map(({ name }) => modules.findIndex((m) => m === names.get(name)?.module)),
    ),
  ]),
];
function textOf(program: Module["program"], modules: readonly Module[]): unknown {
  if (!("holes" in program)) return program.span.source.text;
  const { text, holes } = program as Template;
  return [text, ...holes.map((hole) => holeText(hole, modules))];
}
const holeText = (hole: Hole, modules: readonly Module[]): string => {
  if (typeof hole === "object") return `${hole.name} of ${modules.findIndex((m) => m.program === hole.program)}`;
  return typeof hole === "number" ? Buffer.from(Float64Array.of(hole).buffer).toString("hex") : String(hole);
};
