// The language server: a client speaks with the process that an editor starts.
import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { readdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { execPath } from "node:process";
import { setTimeout } from "node:timers/promises";
import { pathToFileURL } from "node:url";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import {
  type CompletionItem,
  createProtocolConnection,
  type Diagnostic,
  type DocumentSymbol,
  type Hover,
  type Location,
  type ProtocolConnection,
  type PublishDiagnosticsParams,
  type Range,
  ResponseError,
  StreamMessageReader,
  StreamMessageWriter,
  type TextEdit,
} from "vscode-languageserver/node";
import { TextDocument } from "vscode-languageserver-textdocument";
import { Analysis, pathAt } from "../cli/lsp/analysis.ts";
import { completion, definition, hover, symbols } from "../cli/lsp/answers.ts";
import { hoverAt } from "../cli/lsp/hover.ts";
import { definitionOf } from "../cli/lsp/names.ts";
import { guardOf } from "../cli/lsp/server.ts";
import { keywords } from "../cli/lsp/words.ts";
import { linesOf, Workspace } from "../cli/lsp/workspace.ts";
import { textOf } from "../compiler/check/errors.ts";
import { builtins, resolveFile } from "../compiler/check/index.ts";
import { Bug } from "../compiler/diagnostic.ts";
import { contextualWords, lexer, Name, reservedWords } from "../grammar/tokens.ts";
import { checkText } from "../runtime/compile.ts";
import { lcg } from "../runtime/measure/lcg.ts";
import { main, root } from "./command.ts";
import { mutants, semanticMutations } from "./syntax/mutate.ts";
import { temporaryFolder } from "./temporary-folder.ts";

const test = suite("lsp");

/** An editor with its server. */
class Editor {
  readonly server: ChildProcess;
  readonly connection: ProtocolConnection;
  readonly logged: string[] = [];
  readonly #errors = new Map<string, readonly Diagnostic[]>();
  readonly #texts = new Map<string, TextDocument>();

  constructor() {
    this.server = spawn(execPath, [main, "lsp", "--stdio"], { cwd: root, stdio: ["pipe", "pipe", "inherit"] });
    const { stdin, stdout } = this.server;
    assert.ok(stdin && stdout);
    this.connection = createProtocolConnection(new StreamMessageReader(stdout), new StreamMessageWriter(stdin));
    this.connection.onNotification(
      "textDocument/publishDiagnostics",
      ({ uri, diagnostics }: PublishDiagnosticsParams) => {
        this.#errors.set(uri, diagnostics);
      },
    );
    this.connection.onNotification("window/logMessage", ({ message }: { message: string }) => {
      this.logged.push(message);
    });
    this.connection.listen();
  }
  /** Begins a session, in which the editor watches files; `refuses`: it says that it cannot. */
  async start(refuses = false): Promise<object> {
    const watches = new Promise<void>((resolve) => {
      this.connection.onRequest("client/registerCapability", () => {
        resolve();
        return refuses ? new ResponseError(1, "no") : null;
      });
    });
    const capabilities = { workspace: { didChangeWatchedFiles: { dynamicRegistration: true } } };
    const said = await this.connection.sendRequest("initialize", { processId: null, rootUri: null, capabilities });
    await this.connection.sendNotification("initialized", {});
    await watches;
    return said as object;
  }
  async open(uri: string, text: string): Promise<void> {
    this.#texts.set(uri, TextDocument.create(uri, "moe", 1, text));
    await this.connection.sendNotification("textDocument/didOpen", {
      textDocument: { uri, languageId: "moe", version: 1, text },
    });
  }
  text(uri: string): TextDocument {
    const text = this.#texts.get(uri);
    assert.ok(text, uri);
    return text;
  }
  /** Replaces a part of a text, by an incremental change. */
  async replace(uri: string, old: string, by: string): Promise<void> {
    const before = this.text(uri);
    const start = before.getText().indexOf(old);
    assert.ok(start >= 0, old);
    const range = { start: before.positionAt(start), end: before.positionAt(start + old.length) };
    const version = before.version + 1;
    this.#texts.set(
      uri,
      TextDocument.create(
        uri,
        "moe",
        version,
        before.getText().replace(old, () => by),
      ),
    );
    const contentChanges = [{ range, text: by }];
    await this.connection.sendNotification("textDocument/didChange", {
      textDocument: { uri, version },
      contentChanges,
    });
  }
  async close(uri: string): Promise<void> {
    this.#texts.delete(uri);
    await this.connection.sendNotification("textDocument/didClose", { textDocument: { uri } });
  }
  /** The range between two marks `|` in a part of the text, or the place of one. */
  rangeOf(uri: string, marked: string): Range {
    const text = this.text(uri);
    const [before = "", inside = ""] = marked.split("|");
    const start = text.getText().indexOf(marked.replaceAll("|", "")) + before.length;
    assert.ok(start >= before.length, marked);
    return { start: text.positionAt(start), end: text.positionAt(start + inside.length) };
  }
  ask<T>(method: string, uri: string, marked?: string): Promise<T> {
    const position = marked === undefined ? {} : { position: this.rangeOf(uri, marked).start };
    const options = { tabSize: 2, insertSpaces: true };
    return this.connection.sendRequest(`textDocument/${method}`, { textDocument: { uri }, ...position, options });
  }
  /** The errors of a document, once their codes are those. */
  async errors(uri: string, ...codes: string[]): Promise<readonly Diagnostic[]> {
    const deadline = AbortSignal.timeout(30_000);
    for (;;) {
      const found = this.#errors.get(uri);
      if (found?.map(({ code }) => code).join() === codes.join()) return found;
      if (deadline.aborted) assert.unreachable(`not ${codes.join()}: ${JSON.stringify(found)}`);
      await setTimeout(20);
    }
  }
  async end(logged: readonly string[] = []): Promise<void> {
    await this.connection.sendRequest("shutdown");
    await this.connection.sendNotification("exit");
    assert.equal(await once(this.server, "exit"), [0, null]);
    assert.equal(this.logged, logged);
  }
}
const hoverText = (hover: Hover | null): string =>
  hover && typeof hover.contents === "object" && "value" in hover.contents ? hover.contents.value : "";

const library = `// Twice as much.
fn twice(x: float[...S]) -> float[...S] { return 2 * x }

layer Linear(In, Out) {
  param weight: float[In, Out] = 0

  forward(x: float[...S, In]) -> float[...S, Out] { return x @ weight }
}
`;
const program = `import { twice, Linear } from "./library"
import { RmsNorm } from "std/nn"

layer Two(D, H) { // 😀
  up: Linear(D, H)
  down: Linear(H, D)
  norm: RmsNorm(D)

  forward(x: float[...S, D]) -> float[...S, D] {
    let h = up(norm(x))
    let (score, index) = top_k(h, 2)
    return down(twice(h)) + sum(down.weight, axis: 0)
  }
}
`;
/** A folder with both, and their URIs. */
function project(): { readonly uri: string; readonly libraryUri: string; readonly folder: string } {
  const folder = temporaryFolder();
  writeFileSync(join(folder, "library.moe"), library);
  writeFileSync(join(folder, "two.moe"), program);
  const uriOf = (name: string): string => pathToFileURL(join(folder, name)).href;
  return { uri: uriOf("two.moe"), libraryUri: uriOf("library.moe"), folder };
}

test("errors come as one types, of the open texts and not of the files, and go when they are mended", async () => {
  const editor = new Editor();
  assert.match(JSON.stringify(await editor.start()), '"name":"moec"');
  const { uri, libraryUri } = project();
  await editor.open(uri, program);
  assert.equal(await editor.errors(uri), []);

  await editor.replace(uri, "let h = up(norm(x))", "let h = up(x @ norm(x))");
  const [product] = await editor.errors(uri, "E0203");
  assert.equal(product?.range, editor.rangeOf(uri, "x |@| norm(x)"));
  assert.match(JSON.stringify(product?.message), /^"`@` needs the last axis.*\\nhelp: /);
  assert.equal(
    product?.relatedInformation?.map(({ location, message }) => [location, message]),
    [
      [{ uri, range: editor.rangeOf(uri, "|x| @ norm(x)") }, "float[...S, D]"],
      [{ uri, range: editor.rangeOf(uri, "x @ |norm(x)|") }, "float[...S, D]"],
    ],
  );
  await editor.replace(uri, "let h = up(x @ norm(x))", "let h = up(norm(x))");
  assert.equal(await editor.errors(uri), []);

  await editor.replace(uri, "layer Two(D, H) { // 😀", "layer Two(D, H) { 😀 😀");
  const [, second] = await editor.errors(uri, "E0102", "E0102");
  assert.equal(second?.range.start.character, "layer Two(D, H) { 😀 ".length, "columns are UTF-16 units");
  await editor.replace(uri, "😀 😀", "");
  assert.equal(await editor.errors(uri), []);

  await editor.open(libraryUri, library);
  await editor.replace(libraryUri, "fn twice(x: float[...S])", "fn twice(x: float[...S], y: f32)");
  assert.is((await editor.errors(uri, "E0306")).length, 1, "a text that imports it is checked again");
  await editor.replace(libraryUri, "(x: float[...S], y: f32)", "(x: float[...S])");
  assert.equal(await editor.errors(uri), [], "and again");
  await editor.replace(libraryUri, "2 * x }", "2 * z }");
  assert.is((await editor.errors(libraryUri, "E0301")).length, 1, "once, though two texts have it");
  await editor.close(libraryUri);
  assert.equal(await editor.errors(libraryUri), [], "its file is used again");
  assert.equal(await editor.errors(uri), []);
  await editor.end();
});

test("what elaboration finds comes too", async () => {
  const editor = new Editor();
  await editor.start();
  const { uri } = project();
  const model = "model M(D = 6) {\n  train(x: f32[N, D]) { loss l = mean(reshape(x, [N, D / 4, 4])) }\n}\n";
  await editor.open(uri, model);
  const [odd] = await editor.errors(uri, "E0211");
  assert.equal(odd?.range, editor.rangeOf(uri, "|[N, D / 4, 4]|"));
  await editor.end();
});

test("errors of a file that is not open are shown in it", async () => {
  const editor = new Editor();
  await editor.start();
  const { uri, libraryUri, folder } = project();
  writeFileSync(join(folder, "library.moe"), library.replace("2 * x", "2 * z"));
  await editor.open(uri, program);
  assert.is((await editor.errors(libraryUri, "E0301")).length, 1);
  writeFileSync(join(folder, "library.moe"), library);
  await editor.connection.sendNotification("workspace/didChangeWatchedFiles", { changes: [] });
  assert.equal(await editor.errors(libraryUri), []);
  await editor.end();
});

test("hover, definitions, symbols and completion", async () => {
  const editor = new Editor();
  await editor.start();
  const { uri, libraryUri } = project();
  await editor.open(uri, program);
  const hovered = async (marked: string): Promise<string> => hoverText(await editor.ask("hover", uri, marked));
  assert.is(await hovered("let |h = up"), "```moe\nh: float[...S, H]\n```");
  assert.is(await hovered("up(norm(|x))"), "```moe\nx: float[...S, D]\n```");
  assert.is(await hovered("let (score, ind|ex)"), "```moe\nindex: i32[...S, 2]\n```");
  assert.is(await hovered("down.wei|ght"), "```moe\nweight: float[H, D]\n```");
  assert.is(
    await hovered("down(twice(h)) |+ sum"),
    "```moe\ndown(twice(h)) + sum(down.weight, axis: 0): float[...S, D]\n```",
  );
  assert.is(await hovered("down(tw|ice(h))"), "```moe\nfn twice(x: float[...S]) -> float[...S]\n```\nTwice as much.");
  assert.match(await hovered("to|p_k(h"), /^```moe\ntop_k\(x, k.*\)\n```\n\w/);
  assert.match(await hovered("= |up(norm"), /up: Linear\(D, H\)\nlayer Linear\(In, Out\)\n {2}forward\(/);

  const defined = (marked: string): Promise<Location | null> => editor.ask("definition", uri, marked);
  const here = (marked: string): Location => ({ uri, range: editor.rangeOf(uri, marked) });
  assert.equal(await defined("down(twice(|h))"), here("let |h| = up"));
  assert.equal(await defined("up(norm(|x))"), here("forward(|x|: float"));
  assert.equal(await defined("return do|wn"), here("  |down|: Linear"));
  assert.equal(await defined("float[...S|, D] {"), here("x: float[...|S|, D]"));
  assert.equal(await defined("RmsNorm(|D)"), here("Two(|D|, H)"));
  await editor.open(libraryUri, library);
  const there = (marked: string): Location => ({ uri: libraryUri, range: editor.rangeOf(libraryUri, marked) });
  assert.equal(await defined("{ tw|ice,"), there("fn |twice|("));
  assert.equal(await defined("down.wei|ght"), there("param |weight|:"));
  assert.equal(await defined('"./lib|rary"'), there("||// Twice"));
  const standard = await defined("norm: Rms|Norm");
  assert.ok(standard);
  assert.is(standard.uri, pathToFileURL(join(root, "stdlib", "nn.moe")).href);
  const line = readFileSync(join(root, "stdlib", "nn.moe"), "utf8").split("\n")[standard.range.start.line];
  assert.match(line ?? "", "layer RmsNorm(");
  assert.is(await defined("to|p_k(h"), null);

  const outline = await editor.ask<DocumentSymbol[]>("documentSymbol", uri);
  assert.equal(
    outline.map(({ name, children }) => [name, children?.map((child) => child.name)]),
    [["Two", ["up", "down", "norm", "forward"]]],
  );
  assert.equal(outline[0]?.selectionRange, editor.rangeOf(uri, "layer |Two|("));

  const complete = async (before: string): Promise<string[]> => {
    await editor.replace(uri, "    return down(", `${before}\n    return down(`);
    const items = await editor.ask<CompletionItem[]>("completion", uri, `${before}|\n    return down(`);
    await editor.replace(uri, `${before}\n`, "");
    return items.map(({ label }) => label);
  };
  assert.equal(await complete("    let y = up."), ["weight", "forward"]);
  const names = await complete("    let y = so");
  for (const name of ["score", "h", "x", "D", "norm", "twice", "RmsNorm", "softmax"])
    assert.ok(names.includes(name), name);
  assert.not.ok(names.includes("y"));
  assert.equal(await complete("    // so"), []);
  await editor.replace(uri, "{ twice, Linear }", "{ twice, Linear,  }");
  const imports = await editor.ask<CompletionItem[]>("completion", uri, "Linear, | }");
  assert.equal(
    imports.map(({ label }) => label),
    ["twice", "Linear"],
  );
  await editor.end();
});

test("formatting is that of moec fmt, with the text's line ends; a text with errors of syntax stays", async () => {
  const editor = new Editor();
  await editor.start();
  const uri = "untitled:Untitled-1";
  const messy = "// 😀\r\nfn f(x:float[N])->float[N]{\r\n  return x+1\r\n}\r\n";
  const neat = "// 😀\r\nfn f(x: float[N]) -> float[N] {\r\n  return x + 1\r\n}\r\n";
  await editor.open(uri, messy);
  const edits = await editor.ask<TextEdit[]>("formatting", uri);
  assert.is(TextDocument.applyEdits(editor.text(uri), edits), neat);
  assert.ok((edits[0]?.range.start.line ?? 0) > 0, "what is the same is not replaced");
  await editor.replace(uri, messy, neat);
  assert.equal(await editor.ask("formatting", uri), []);
  await editor.replace(uri, "return", "return return");
  assert.equal(await editor.ask("formatting", uri), []);
  assert.is((await editor.errors(uri, "E0101")).length, 1);
  await editor.end();
});

const texts = ["stdlib", "examples"].flatMap((folder) =>
  readdirSync(join(root, folder), { recursive: true, encoding: "utf8" })
    .filter((name) => name.endsWith(".moe") && !name.includes("node_modules"))
    .map((name) => join(root, folder, name))
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
  for (const text of mutants(texts, 40, semanticMutations)) {
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

const grammar = readFileSync(join(root, "grammar", "GRAMMAR.md"), "utf8").replaceAll(/\s+/g, " ");
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
test("keywords are hovered, and where a declaration cannot be parsed its names, those of the others and what is built in", () => {
  const text = `layer A(D) {
  param w: float[D, D] = 0
  forward(x: float[N, D]) -> float[N, D] { return x @ w }
}
layer B(D) {
  a: A(D)
  forward(x: float[N, D]) -> float[N, D] { return softmax(a(x) }
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
  const defined = (marked: string): Location["range"] | undefined => definition(workspace, source, at(marked))?.range;
  const start = (marked: string) => linesOf(source).positionAt(at(marked));
  assert.equal(defined("a: |A(D)")?.start, start("layer |A"));
  assert.equal(defined("b: |B(D)")?.start, start("layer |B"));
  assert.is(defined("return soft|max"), undefined);
  assert.is(defined("a(|x) }"), undefined);
});

test("odd documents and positions have answers, also in an editor that can do less", async () => {
  const editor = new Editor();
  await editor.start(true);
  const odd = ["file://elsewhere/a.moe", "git:/a.moe?x#y", "file:///nowhere/%F0%9F%98%80.moe", "file:///dev/null"];
  for (const uri of odd) {
    await editor.open(uri, 'import { x } from "./y"\n\0\ud800 layer');
    const textDocument = { uri };
    for (const line of [0, 1, 1e6])
      for (const character of [0, 9, 1e6])
        await editor.connection.sendRequest("textDocument/hover", { textDocument, position: { line, character } });
    assert.ok((await editor.errors(uri, "E0303", "E0102")).length > 0);
  }
  assert.is(
    await editor.connection.sendRequest("textDocument/formatting", { textDocument: { uri: "file:///b" }, options: {} }),
    null,
  );
  await editor.end(["Registering request handler for workspace/didChangeWatchedFiles failed."]);
});

test("any text has answers", () => {
  const workspace = new Workspace();
  const next = lcg(7);
  for (const text of mutants(texts, 150)) {
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
test("a defect is logged, and does not end the server", () => {
  const logged: string[] = [];
  const guard = guardOf({ console: { error: (text) => logged.push(text) } });
  assert.is(
    guard(() => {
      throw new Bug("a defect");
    }, 7),
    7,
  );
  assert.match(logged.join(), /a defect[^]*\n +at /);
});
test.run();
