// Which of node_modules a kit takes: what package.json depends on, and what that depends on.
import { existsSync, readFileSync } from "node:fs";
import { dirname, join } from "node:path";

interface Package {
  readonly dependencies?: Readonly<Record<string, string>>;
  readonly optionalDependencies?: Readonly<Record<string, string>>;
}
/** A package by its place below the root: `ffi-napi/node_modules/node-addon-api`. */
export const folderOf = (name: string): string => join("node_modules", name);
const read = (file: string): Package => JSON.parse(readFileSync(file, "utf8")) as Package;

/** Places of the root's dependencies, its optional ones too, of `more`, and of all that those depend on. Throws where one is not installed. */
export function packagesFor(root: string, more: readonly string[]): string[] {
  const found = new Set<string>();
  const { dependencies: needed, optionalDependencies: useful } = read(join(root, "package.json"));
  const queue = [...Object.keys({ ...needed, ...useful }), ...more];
  const add = (name: string, from: string, optional: boolean): void => {
    const place = placeOf(root, name, from);
    if (place === null && !optional) throw new Error(`${name} is not installed: run \`npm ci\``);
    if (place === null || found.has(place)) return;
    found.add(place);
    const { dependencies = {}, optionalDependencies = {} } = read(join(root, folderOf(place), "package.json"));
    for (const next of Object.keys(dependencies)) add(next, place, next in optionalDependencies);
    for (const next of Object.keys(optionalDependencies)) add(next, place, true);
  };
  for (const name of queue) add(name, ".", false);
  return [...found].toSorted();
}
/** As Node looks for it: in the nearest node_modules around `from`. */
function placeOf(root: string, name: string, from: string): string | null {
  for (let around = from; ; around = dirname(around)) {
    const place = around === "." ? name : join(around, "node_modules", name);
    if (existsSync(join(root, folderOf(place), "package.json"))) return place;
    if (around === ".") return null;
  }
}
