// Lists the packages that a kit needs: the dependencies in package.json, and theirs.
import { existsSync, readFileSync } from "node:fs";
import { dirname, join } from "node:path";

interface Package {
  readonly dependencies?: Readonly<Record<string, string>>;
  readonly optionalDependencies?: Readonly<Record<string, string>>;
}
/** The folder of a package, by its path below node_modules: `ffi-napi/node_modules/node-addon-api`. */
export const folderOf = (name: string): string => join("node_modules", name);
const read = (file: string): Package => JSON.parse(readFileSync(file, "utf8")) as Package;

/**
 * Paths below node_modules of the root's dependencies (optional ones included), of `more`, and of all their dependencies. Throws if one that is not
 * optional is missing.
 */
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
/** Resolves a package as Node does: in the nearest node_modules around `from`; null if it is not installed. */
function placeOf(root: string, name: string, from: string): string | null {
  for (let around = from; ; around = dirname(around)) {
    const place = around === "." ? name : join(around, "node_modules", name);
    if (existsSync(join(root, folderOf(place), "package.json"))) return place;
    if (around === ".") return null;
  }
}
