// What the language server answers of a text, without a server.
import { readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import type { Location } from "vscode-languageserver/node";
import { Analysis, pathAt } from "../../cli/lsp/analysis.ts";
import { completion, definition, hover, symbols } from "../../cli/lsp/answers.ts";
import { hoverAt } from "../../cli/lsp/hover.ts";
import { definitionOf } from "../../cli/lsp/names.ts";
import { keywords } from "../../cli/lsp/words.ts";
import { linesOf, Workspace } from "../../cli/lsp/workspace.ts";
import { textOf } from "../../compiler/check/errors.ts";
import { builtins, resolveFile } from "../../compiler/check/index.ts";
import { contextualWords, lexer, Name, reservedWords } from "../../grammar/tokens.ts";
import { checkText } from "../../runtime/check.ts";
import { lcg } from "../../runtime/measure/lcg.ts";
import { full } from "../full.ts";
import { mutants, semanticMutations } from "../language/mutate.ts";
import { project } from "../project.ts";
import { hoverText } from "./hover-text.ts";

const test = suite("lsp-answers");

const texts = ["stdlib", "examples"].flatMap((folder) =>
  readdirSync(join(project, folder), { recursive: true, encoding: "utf8" })
    .filter((name) => name.endsWith(".moe") && !name.includes("node_modules"))
    .map((name) => join(project, folder, name))
    .map((name) => ({ name, text: readFileSync(name, "utf8") })),
);
const words = (text: string): { readonly word: string; readonly at: number }[] =>
  lexer()
    .tokenize(text)
    .tokens.filter(({ tokenType }) => tokenType === Name)
    .map(({ image, startOffset }) => ({ word: image, at: startOffset }));

test("every name of the library is found: where it is declared, or that it is built in", () => {
  const special = new Set(["training", "generating", "step", "inf"]);
  let found = 0;
  for (const { name, text } of texts) {
    const analysis = new Analysis({ name, text }, resolveFile);
    const { program } = analysis.loaded.main;
    for (const { word, at } of words(text)) {
      const path = pathAt(program, at);
      const node = path.at(-1);
      const used = node && "kind" in node && node.kind === "name";
      const definition = definitionOf(analysis, path, at);
      if (definition) assert.is(textOf(definition.name.span), word, `${name}:${at}`);
      if (used && !definition) assert.ok(builtins.has(word) || special.has(word), `${name}:${at}: ${word}`);
      if (used) assert.ok(hoverAt(analysis, at), `${name}:${at}: ${word}`);
      if (used) found++;
    }
  }
  assert.ok(found > 5000, String(found));
});

test("what is declared with a type is hovered with that type", () => {
  let compared = 0;
  for (const { name, text } of texts) {
    const analysis = new Analysis({ name, text }, resolveFile);
    const lets = new Set([...text.matchAll(/let ([A-Z]\w*)/g)].map(([, size]) => size));
    for (const { at } of words(text).filter(({ at }) => text[at - 1] !== ".")) {
      const definition = definitionOf(analysis, pathAt(analysis.loaded.main.program, at), at);
      const by = definition?.by;
      if (!by || !("type" in by) || by.type?.kind !== "tensor") continue;
      const type = textOf(by.type.span);
      if (!/^[\w, .[\]]*$/.test(type) || type.split(/\W+/).some((size) => lets.has(size))) continue; // a size of `let` is shown as what it stands for
      const shown = hoverAt(analysis, at)?.code[0]?.replace(/^(?:param|state) | = .*$/g, "");
      assert.is(shown, `${textOf(definition.name.span)}: ${type}`, `${name}:${at}`);
      compared++;
    }
  }
  assert.ok(compared > 900, String(compared));
});

test("a layer is shown with its own sizes, not with those that others give it", () => {
  const text = `layer A(D, H = 2 * D) {
  param w: float[D, H] = 0
  forward(x: float[N, D]) -> float[N, H] { return x @ w }
}
layer B(D) {
  a: A(3 * D)
  forward(x: float[N, 3 * D]) -> float[N, 6 * D] { return a(x) }
}
`;
  const analysis = new Analysis({ name: "a.moe", text }, resolveFile);
  assert.equal(analysis.diagnostics, []);
  const shown = (at: number): string | undefined => hoverAt(analysis, at)?.code[0];
  assert.is(shown(text.indexOf("* D)")), "2 * D");
  assert.is(shown(text.indexOf("@ w")), "x @ w: float[N, H]");
  assert.is(shown(text.lastIndexOf(") }") + 1), "a(x): float[N, 6 * D]");
});

test("the errors are those of moec check", () => {
  let errors = 0;
  const short = texts.filter(({ text }) => text.length < 8000); // files of many models take seconds, and say no more
  for (const text of mutants(short, 40, semanticMutations)) {
    const analysis = new Analysis({ name: "a.moe", text }, resolveFile);
    while (analysis.incomplete) analysis.advance();
    assert.equal(analysis.diagnostics, checkText("a.moe", text));
    errors += analysis.diagnostics.length;
  }
  assert.ok(errors > 30, String(errors));
});

test("training steps are elaborated one by one, so that others can work between", () => {
  const step = "train(x: f32[N, D]) { loss l = mean(reshape(x, [N, D / 4, 4])) }";
  const text = ["A", "B"].map((name) => `model ${name}(D = 6) {\n  ${step}\n}\n`).join("");
  const analysis = new Analysis({ name: "a.moe", text }, resolveFile);
  let pieces = 0;
  for (; analysis.incomplete; pieces++) analysis.advance();
  assert.ok(pieces > 2 * 4, `${pieces}, for two models with four sizes of a batch`);
  assert.equal(
    analysis.diagnostics.map(({ code }) => code),
    ["E0211", "E0211"],
  );
});

const grammar = readFileSync(join(project, "grammar", "GRAMMAR.md"), "utf8").replaceAll(/\s+/g, " ");
test("every keyword has the words of GRAMMAR.md", () => {
  for (const { PATTERN: word } of [...reservedWords, ...contextualWords]) {
    assert.ok(typeof word === "string");
    const keyword = keywords[word];
    assert.ok(keyword, word);
    const { code, doc } = keyword;
    assert.ok(grammar.includes(`\`${code}`), code);
    assert.ok(grammar.includes(doc), doc);
    assert.ok(code.split(/\W+/).includes(word), code);
  }
});
test("every built-in function has its place in the table of GRAMMAR.md, which names no others", () => {
  const [, table = ""] = /## Built-in functions (.*?) ## Indices/.exec(grammar) ?? [];
  const rows = [...table.matchAll(/\| (`[^|]*`) \|/g)].map(([, first = ""]) => first);
  const named = rows.flatMap((row) => row.match(/`[^`]*`/g) ?? []);
  const names = named.flatMap((code) => code.replaceAll(/`|\(.*/g, "").split(" "));
  const lacking = [...builtins.keys()].filter((name) => !names.includes(name));
  assert.is(lacking.join(" "), "", "add these to the table of built-in functions in GRAMMAR.md");
  assert.equal(names.toSorted(), [...builtins.keys()].toSorted());
});
test("keywords are hovered, and where a declaration cannot be parsed its names, those of the others and what is built in", () => {
  const text = `layer A(D) {
  param w: float[D, D] = 0
  forward(x: float[N, D]) -> float[N, D] { return x @ w }
}
layer B(D) {
  a: A(D)
  forward(x: float[N, D]) -> float[N, D] { return softmax(a(x.A) }
}
model C(D = 4) {
  b: B(D)
  forward(x: float[N, D]) -> float[N, D] { return b(x) }
}
`;
  const workspace = new Workspace();
  const uri = "file:///nowhere/broken.moe";
  workspace.put(uri, text);
  const source = workspace.sourceOf(uri);
  assert.ok(source);
  assert.equal(
    workspace.analysisOf(source).loaded.main.program.declarations.map((d) => d.name.name),
    ["A", "C"],
    "B has no tree",
  );
  const at = (marked: string): number => text.indexOf(marked.replace("|", "")) + marked.indexOf("|");
  const hovered = (marked: string): string => hoverText(hover(workspace, source, at(marked)));
  assert.match(hovered("pa|ram w"), "a parameter and its initial value");
  assert.match(hovered("re|turn x @ w"), "return a, b");
  assert.match(hovered("lay|er B"), "owns parameters; has methods");
  assert.match(hovered("a: |A(D)"), "layer A(D)");
  assert.match(hovered("return soft|max"), "softmax(x");
  const defined = (marked: string): Location["range"] | undefined =>
    [definition(workspace, source, at(marked))].flat()[0]?.range;
  const start = (marked: string) => linesOf(source).positionAt(at(marked));
  assert.equal(defined("a: |A(D)")?.start, start("layer |A"));
  assert.equal(defined("b: |B(D)")?.start, start("layer |B"));
  assert.is(defined("return soft|max"), undefined);
  assert.is(defined("a(|x.A) }"), undefined);
  assert.is(hovered("a(x.|A) }"), "", "a member is not what has its name");
});

test("a member that branches declare is shown and found as each of them has it", () => {
  const text = `layer Up(D, H) { param weight: float[D, H] = 0 forward(x: float[N, D]) -> float[N, H] { return x @ weight } }
layer A(D, H, wide = true) {
  if wide { up: Up(D, 2 * H) } else { up: Up(D, H) }
  if wide { param b: float[2 * H] = 0 } else { param b: float[H] = 0 }
  forward(x: float[N, D]) -> float[N, H] {
    if wide { return (up(x) + b)[:, :H] }
    return up(x)
  }
}
layer B(D) { a: A(D, 2) forward(x: float[N, D]) -> float[N, 2] { return x[:, :2] * a.b } }
layer C(D, H, both = true) {
  inner: A(D, H, both)
  forward(x: float[N, D]) -> float[N, H] {
    if both { return inner.up(x)[:, :H] } else { let narrow = inner.up(x) return narrow }
  }
}
`;
  const workspace = new Workspace();
  workspace.put("file:///nowhere/branches.moe", text);
  const source = workspace.sourceOf("file:///nowhere/branches.moe");
  assert.ok(source);
  assert.equal(
    workspace.analysisOf(source).diagnostics.map(({ message }) => message)[0],
    "`*`: the shapes do not fit: axis 2 on the left, axis 4 on the right",
  );
  const at = (marked: string): number => text.indexOf(marked.replace("|", "")) + marked.indexOf("|");
  const starts = (marked: string) =>
    [definition(workspace, source, at(marked))].flat().map((found) => found?.range.start);
  const start = (marked: string) => linesOf(source).positionAt(at(marked));
  assert.equal(starts("return |up(x)"), [start("{ |up: Up(D, 2"), start("{ |up: Up(D, H)")]);
  assert.equal(starts("a.|b }"), [start("param |b: float[2"), start("param |b: float[H")]);
  const hovered = hoverText(hover(workspace, source, at("return |up(x)")));
  for (const line of ["up: Up(D, 2 * H)", "up: Up(D, H)"]) assert.match(hovered, line);
  assert.match(hoverText(hover(workspace, source, at("return |narrow"))), "float[N, H]");
  const named = completion(workspace, source, at("a.|b }")).map(({ label }) => label);
  assert.equal(named.toSorted(), ["b", "forward", "up"]);
});

test("any text has answers", () => {
  const workspace = new Workspace();
  const next = lcg(7);
  for (const text of mutants(texts, full ? 150 : 50)) {
    const uri = `file:///nowhere/${Math.floor(next() * 3)}.moe`;
    workspace.put(uri, text);
    const source = workspace.sourceOf(uri);
    assert.ok(source);
    for (const { error } of workspace.errorsOf(source)) assert.ok(error.message);
    symbols(workspace, source);
    for (let i = 0; i < 5; i++) {
      const at = Math.floor(next() * (text.length + 1));
      hover(workspace, source, at);
      definition(workspace, source, at);
      if (i === 0) completion(workspace, source, at);
    }
  }
});
test.run();
