// The language server: a client speaks with the process that an editor starts.
import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { readFileSync, writeFileSync } from "node:fs";
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
import { guardOf } from "../../cli/lsp/server.ts";
import { Bug } from "../../compiler/diagnostic.ts";
import { main } from "../command.ts";
import { project } from "../project.ts";
import { temporaryFolder } from "../temporary-folder.ts";
import { hoverText } from "./hover-text.ts";

const test = suite("lsp");

/** An editor with its server. */
class Editor {
  readonly server: ChildProcess;
  readonly connection: ProtocolConnection;
  readonly logged: string[] = [];
  readonly #errors = new Map<string, readonly Diagnostic[]>();
  readonly #texts = new Map<string, TextDocument>();

  constructor() {
    this.server = spawn(execPath, [main, "lsp", "--stdio"], { cwd: project, stdio: ["pipe", "pipe", "inherit"] });
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
function workspace(): { readonly uri: string; readonly libraryUri: string; readonly folder: string } {
  const folder = temporaryFolder();
  writeFileSync(join(folder, "library.moe"), library);
  writeFileSync(join(folder, "two.moe"), program);
  const uriOf = (name: string): string => pathToFileURL(join(folder, name)).href;
  return { uri: uriOf("two.moe"), libraryUri: uriOf("library.moe"), folder };
}

test("errors come as one types, of the open texts and not of the files, and go when they are mended", async () => {
  const editor = new Editor();
  assert.match(JSON.stringify(await editor.start()), '"name":"moec"');
  const { uri, libraryUri } = workspace();
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
  const { uri } = workspace();
  const model = "model M(D = 6) {\n  train(x: f32[N, D]) { loss l = mean(reshape(x, [N, D / 4, 4])) }\n}\n";
  await editor.open(uri, model);
  const [odd] = await editor.errors(uri, "E0211");
  assert.equal(odd?.range, editor.rangeOf(uri, "[N, |D / 4|, 4]"));
  await editor.end();
});

test("errors of a file that is not open are shown in it", async () => {
  const editor = new Editor();
  await editor.start();
  const { uri, libraryUri, folder } = workspace();
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
  const { uri, libraryUri } = workspace();
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
  assert.is(standard.uri, pathToFileURL(join(project, "stdlib", "nn.moe")).href);
  const line = readFileSync(join(project, "stdlib", "nn.moe"), "utf8").split("\n")[standard.range.start.line];
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
