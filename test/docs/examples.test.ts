// What people copy from is right: the programs of the documents, and the examples.
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { plain, render } from "../../compiler/render.ts";
import { main } from "../../examples/embed.ts";
import { type Digit, main as trainVision } from "../../examples/vision-moe.ts";
import { checkFile, checkText } from "../../runtime/check.ts";
import { deadLinks, documentsIn, list } from "../documents.ts";
import { fencedBlocks } from "../fenced-blocks.ts";
import { project } from "../project.ts";

const test = suite("examples");
const documents = documentsIn(project);
const read = (file: string): string => readFileSync(join(project, file), "utf8");

test("every program of the documents checks", () => {
  const others = documents.filter((file) => file !== "docs/tour.md"); // its programs import one another: tour.test.ts
  const programs = others.flatMap((file) => fencedBlocks(file, "moe").map((text) => ({ file, text })));
  assert.ok(programs.length >= 9, `${programs.length} programs`);
  for (const { file, text } of programs) assert.is(render(checkText(file, text), { color: false, width: 100 }), "");
});
test("every program of the examples checks", () => {
  for (const file of list(project, "examples", ".moe"))
    assert.equal(checkFile(join(project, file)).map(plain), [], file);
});
test("TypeScript in the documents is a part of an example", () => {
  const examples = list(project, "examples", ".ts").map((file) =>
    flush(read(file).replaceAll('"../runtime/index.ts"', '"moec"')),
  );
  const parts = ["README.md", "docs/embedding.md"].flatMap((file) => fencedBlocks(file, "ts"));
  assert.ok(parts.length > 4, `${parts.length} parts`);
  for (const part of parts)
    assert.ok(
      examples.some((text) => text.includes(flush(part.trim()))),
      `in no example:\n${part}`,
    );
});
const flush = (text: string): string => text.replaceAll(/^ +/gm, "");
test("links lead to files and headings that are there", () => {
  for (const file of documents) assert.equal(deadLinks(project, file), [], file);
});
test("the error of the README is what is printed", () => {
  const text = `layer Linear(In, Out) {
  param weight: float[Out, In] = 0
  forward(x: float[...S, In]) -> float[...S, Out] { return x @ weight }
}`;
  const drawn = render(checkText("model.moe", text));
  assert.ok(fencedBlocks("README.md", "text").includes(drawn), drawn);
});
test("the README names every command", () => {
  for (const file of list(project, "cli/commands", ".ts"))
    assert.match(read("README.md"), new RegExp(`\`moec ${file.replace(/.*\/|\.ts$/g, "")}[ \`]`), file);
});

for (const target of ["reference", "host"] as const)
  test(`embed.ts trains on ${target}`, async () => {
    const losses = await main(target, () => undefined);
    assert.is(losses.length, 20);
    assert.ok(losses.every(Number.isFinite));
    assert.ok((losses.at(-1) ?? 1) < 0.9 * (losses[0] ?? 0), `${losses[0]} to ${losses.at(-1)}`);
  });
test("vision-moe.ts learns to tell bars by their place, in a few steps", async () => {
  const bars = Array.from({ length: 40 }, (_, i): Digit => {
    const label = i % 4;
    const image = Array.from({ length: 28 * 28 }, (__, p) => Number(Math.floor(p / 28 / 7) === label && p % 3 > 0));
    return { image, label };
  });
  assert.ok((await trainVision({ digits: bars, steps: 60, log: () => undefined })) > 0.9);
});
test.run();
