// docs/tour.md: its programs check, and its commands print what is written below them.
import { readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { checkFile } from "../../runtime/check.ts";
import { command } from "../command.ts";
import { fencedBlocks } from "../fenced-blocks.ts";
import { temporaryFolder } from "../temporary-folder.ts";

const test = suite("tour");
const page = "docs/tour.md";
const folder = temporaryFolder();
const env: NodeJS.ProcessEnv = { ...process.env, COLUMNS: "100", NO_COLOR: "1", MOEC_CACHE: join(folder, "cache") };

const programs = fencedBlocks(page, "moe").map((text) => [/^\/\/ (\w+\.moe)\n/.exec(text)?.[1] ?? "", text] as const);
for (const [name, text] of programs) writeFileSync(join(folder, name), text);
for (const text of fencedBlocks(page, "json")) writeFileSync(join(folder, "x.json"), text);

test("the programs have no errors, but for the one that is wrong", () => {
  assert.equal(
    programs.map(([name]) => name),
    ["mixture.moe", "wrong.moe", "tiny.moe", "balanced.moe"],
  );
  for (const [name] of programs) assert.is(checkFile(join(folder, name)).length, name === "wrong.moe" ? 1 : 0, name);
});
/** Numbers to three digits: instruction sets round differently. */
const rounded = (text: string): string => text.replaceAll(/\d+\.\d+/g, (n) => Number(n).toPrecision(3));
for (const block of fencedBlocks(page, "console")) {
  const [, line = "", shown = ""] = /^\$ moec (.*)\n([^]*)$/.exec(block) ?? [];
  test(`moec ${line}`, () => {
    const { stdout } = command(line.split(" "), env, folder);
    const [begin, rest] = shown.split(/^\.\.\.$/m);
    const printed = rest === undefined ? stdout : stdout.slice(0, begin?.length);
    assert.is(rounded(printed).trimEnd(), rounded(begin ?? "").trimEnd());
  });
}
test("the README leads to it", () => assert.match(readFileSync("README.md", "utf8"), page));
test.run();
