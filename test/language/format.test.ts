// The formatter and `moec fmt`.
import { spawnSync } from "node:child_process";
import {
  chmodSync,
  lstatSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from "node:fs";
import { dirname, join } from "node:path";
import { execPath } from "node:process";
import fc from "fast-check";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { ProgramError } from "../../compiler/program-error.ts";
import type { Program } from "../../compiler/syntax/ast.ts";
import { format as formatNamed } from "../../compiler/syntax/format.ts";
import { parse } from "../../compiler/syntax/parse.ts";
import { print } from "../../compiler/syntax/print.ts";
import { lexer } from "../../grammar/tokens.ts";
import { lcg } from "../../runtime/measure/lcg.ts";
import { command, main } from "../command.ts";
import { withCpuTime } from "../cpu-time.ts";
import { fencedBlocks } from "../fenced-blocks.ts";
import { full } from "../full.ts";
import { project } from "../project.ts";
import { temporaryFolder } from "../temporary-folder.ts";
import { programs as trees } from "./generate.ts";
import { mutants, semanticMutations } from "./mutate.ts";

const test = suite("format");
const format = (text: string): string => formatNamed("model.moe", text);

const folders = ["stdlib", "examples", "bench", "test"];
const files = folders.flatMap((folder) =>
  readdirSync(join(project, folder), { recursive: true, encoding: "utf8" })
    .filter((name) => name.endsWith(".moe") && !name.includes("node_modules"))
    .map((name) => join(folder, name)),
);
const sources = files.map((name) => ({ name, text: readFileSync(join(project, name), "utf8") }));

interface Piece {
  readonly text: string;
  /** The line breaks before it. */
  readonly breaks: number;
}
/** The tokens and comments of a text, in their order. */
function pieces(text: string): Piece[] {
  const { tokens, groups } = lexer().tokenize(text);
  const all = [...tokens, ...(groups["comments"] ?? [])].toSorted((a, b) => a.startOffset - b.startOffset);
  let end = 0;
  return all.map(({ image, startOffset }) => {
    const breaks = text.slice(end, startOffset).split("\n").length - 1;
    end = startOffset + image.length;
    return { text: image.trimEnd(), breaks };
  });
}
const content = (text: string): string[] => pieces(text).map((piece) => piece.text);
/** Whether two pieces are still two without a space. */
const mayTouch = (a: string, b: string): boolean => content(a + b).join("\n") === `${a}\n${b}`;
/** A text with other white space. `gap` makes what is between two pieces; undefined: nothing, or a space where one is needed. */
function respaced(text: string, gap: (breaks: number) => string | undefined): string {
  const all = pieces(text);
  const spaced = all.map((piece, i) => {
    const before = all[i - 1]?.text ?? "";
    const space = gap(piece.breaks) ?? (mayTouch(before, piece.text) ? "" : " ");
    return `${before.startsWith("//") && !space.includes("\n") ? "\n" : ""}${space}${piece.text}`;
  });
  return spaced.join("");
}
const breaksOnly = (n: number): string | undefined => (n === 0 ? undefined : "\n".repeat(n));
const damages: Readonly<Record<string, (text: string) => string>> = {
  "indentation removed": (text) => text.replaceAll(/^ +/gm, ""),
  "spaces dropped": (text) => respaced(text, breaksOnly),
  "spaces doubled": (text) => respaced(text, (n) => `${"\n".repeat(n)}  `),
  "tabs, line ends of Windows, trailing spaces, more blank lines, a byte order mark": (text) =>
    `\uFEFF\r\n${respaced(text, (n) => `\t${(n > 1 ? " \r\n\t\r\n\r\n" : n === 1 ? "\r\n" : "").padEnd(4)}`)}\t\r\n \r\n`,
};

test("every program of the repository is as the formatter writes it, also from its lines without their white space", () => {
  assert.ok(sources.length > 70);
  const all = Object.entries(damages);
  for (const [i, { name, text }] of sources.entries()) {
    assert.is(formatNamed(name, text), text);
    for (const [damage, damaged] of full ? all : all.slice(i % all.length).slice(0, 1))
      assert.is(formatNamed(name, damaged(text)), text, `${name}, ${damage}`);
  }
});
test("so are the programs in the documentation", () => {
  const documents = ["README.md", "grammar/GRAMMAR.md", "docs/from-pytorch.md"];
  const blocks = documents.flatMap((file) => fencedBlocks(file, "moe"));
  assert.ok(blocks.length > 10);
  for (const block of blocks) assert.is(format(block), block);
});
const assertPrinted = (tree: Program): void => assert.is(format(print(tree)), print(tree));
test("a tree is printed in the formatter's style", () => {
  for (const source of sources) assertPrinted(parse(source).program);
  fc.assert(fc.property(trees, assertPrinted), { seed: 3, numRuns: full ? 100 : 40 });
});

/** White space and comments, by chance. */
const gaps = [
  undefined,
  undefined,
  " ",
  "\t ",
  "\n",
  "\r\n  ",
  "\n\n\n",
  " // a comment\n",
  "\n\n    //two\n\n//of them \n",
];
function assertFormatted(text: string): void {
  const formatted = format(text);
  assert.equal(content(formatted), content(text));
  assert.is(format(formatted), formatted, text);
  assert.not.match(formatted, /[^\S\n]$/m);
  assert.not.match(formatted, /^\s|\t|\r|\n\n\n|\n\n$/);
  assert.is(format(respaced(formatted, breaksOnly)), formatted);
}
test("random programs with random white space and comments keep their tokens, and are formatted once for all", () => {
  fc.assert(
    fc.property(trees, fc.nat(), (tree, seed) => {
      const next = lcg(seed);
      assertFormatted(respaced(print(tree), () => gaps[Math.floor(next() * gaps.length)]));
    }),
    { seed: 4, numRuns: full ? 150 : 60 },
  );
});
test("damaged programs are refused, or formatted as programs are", () => {
  let refused = 0;
  const short = sources.filter(({ text }) => text.length < 10_000); // the others take longer, and say no more
  const all = [...mutants(short, 200), ...mutants(short, 100, semanticMutations)];
  for (const text of all) {
    if (parse({ name: "model.moe", text }).diagnostics.length === 0) assertFormatted(text);
    else {
      refused++;
      assert.throws(
        () => format(text),
        (error: unknown) => error instanceof ProgramError,
      );
    }
  }
  assert.ok(refused > 100 && refused < 250, `${refused} of ${all.length}`);
});

for (const [what, text, formatted] of [
  [
    "spaces",
    "fn f(x:f32[ N ],y = -1)->f32[N]{return x*- -y/x [ 0 : 2*N ,... ,:N,new]}",
    "fn f(x: f32[N], y = -1) -> f32[N] { return x * --y / x[0:2 * N, ..., :N, new] }",
  ],
  [
    "words that are names",
    "layer A (D) { loss :loss(D) in1: x . new (if :! in1) }",
    "layer A(D) { loss: loss(D) in1: x.new(if: !in1) }",
  ],
  [
    "parentheses",
    "fn f()->( f32,f32 ){let( a,b )=(g)( - (1) ) for i in 0 :(N) { } return( a ),[ ...S , (b) ]}",
    "fn f() -> (f32, f32) { let (a, b) = (g)(-(1)) for i in 0:(N) {} return (a), [...S, (b)] }",
  ],
  [
    "a block of several lines has its statements on lines",
    "fn f() -> f32 { let a = 1 if a { a = 2 } else { a = 3\n} return a } fn g() -> f32 {\n}",
    "fn f() -> f32 {\n  let a = 1\n  if a { a = 2 } else {\n    a = 3\n  }\n  return a\n}\nfn g() -> f32 {}",
  ],
  [
    "braces and else do not begin lines",
    "layer A(D)\n{\nif D\n{\n}\nelse\nif D {\n} else // why\n{ }\n}",
    "layer A(D) {\n  if D {} else if D {} else // why\n  {}\n}",
  ],
  ["bodies of an alias", "model A() =\nB(1,\n2) {\nc: C\n}", "model A() =\n  B(1,\n    2) {\n  c: C\n}"],
  [
    "continued statements",
    "fn f(\nx: f32,\n)\n-> f32 {\nlet a =\n1\n+ 2\nif a &&\nb { a = 1 }\nreturn (a\n+ b)\n}",
    "fn f(\n  x: f32,\n)\n    -> f32 {\n  let a =\n    1\n    + 2\n  if a &&\n      b { a = 1 }\n  return (a\n          + b)\n}",
  ],
  [
    "lists in lists",
    "layer A(D) = B(D, [\nC(D,\nD), E(\n1,\n2 +\n3\n)\n], x: y,\nz: 1)",
    "layer A(D) = B(D, [\n  C(D,\n    D), E(\n      1,\n      2 +\n        3\n    )\n], x: y,\n               z: 1)",
  ],
  [
    "imports",
    'import {a,b} from "std/nn"\nimport\n{ a,\nb } from "std/nn"',
    'import { a, b } from "std/nn"\nimport {\n  a,\n  b\n} from "std/nn"',
  ],
  [
    "blank lines",
    "\n\n// a\n\n\n\nlayer A(D) {\n\n\nb: B(\n\nD,\n\n\nD)\n\n\n}\n\n\n",
    "// a\n\nlayer A(D) {\n  b: B(\n    D,\n\n    D)\n}",
  ],
  [
    "comments in every place",
    "//a\nlayer A(D, //b\n//c\nD) //d\n{ //e\n//f\nb: B( //g\n//h\nD //i\n//j\n)//k\n\n//l\nif D { }//m\n//n\nelse {\n//o\n}\nf()//p\n->f32 {//q\nlet a =//r\n//s\n1//t\n}//u\n//v\n}//w\n//x",
    "//a\nlayer A(D, //b\n        //c\n        D) //d\n{ //e\n  //f\n  b: B( //g\n    //h\n    D //i\n    //j\n  ) //k\n\n  //l\n  if D {} //m\n  //n\n  else {\n    //o\n  }\n  f() //p\n      -> f32 { //q\n    let a = //r\n      //s\n      1 //t\n  } //u\n  //v\n} //w\n//x",
  ],
  ["nothing", " \n\n", ""],
  ["a comment alone", "  // a \t\r\n", "// a"],
] as const)
  test(`form: ${what}: ${text}`, () => {
    assert.is(format(text), formatted === "" ? "" : `${formatted}\n`);
    assert.is(format(format(text)), format(text));
  });
test("a tab before `// 2` is what a space is: a division, not a comment", () => {
  for (const gap of ["", " ", "\t", " \u00a0"])
    assert.throws(
      () => format(`layer A(D) = B(D${gap}//\t2\t\n)`),
      (error: unknown) => error instanceof ProgramError && error.message.includes("does not divide"),
    );
});
test("100 kB of one kind of piece take less than 5 s", () => {
  for (const text of [
    "// x\n".repeat(20_000),
    `layer A(D) = B(${"[\n".repeat(150)}D${"]".repeat(150)})`,
    "fn f() -> f32 { return 1 }\n".repeat(4000),
    `layer A(D) = B(${"D,\n".repeat(30_000)})`,
  ]) {
    const { seconds } = withCpuTime(() => format(text));
    assert.ok(seconds < 5, `${text.slice(0, 20)}: ${seconds} s`);
  }
});

const [bad, good] = ["layer A( D ) {\r\nb:B(D)}", "layer A(D) {\n  b: B(D)\n}\n"];
/** A folder with files. */
function folderOf(given: Readonly<Record<string, string | Uint8Array>>): string {
  const folder = temporaryFolder();
  for (const [name, text] of Object.entries(given)) {
    mkdirSync(dirname(join(folder, name)), { recursive: true });
    writeFileSync(join(folder, name), text);
  }
  return folder;
}
function fmt(...args: readonly string[]): [status: number | null, stdout: string, stderr: string] {
  const { status, stdout, stderr } = command(["fmt", ...args]);
  return [status, stdout, stderr];
}
const onStdin = (input: string | Uint8Array, ...args: readonly string[]): [number | null, string, string] => {
  const { status, stdout, stderr } = spawnSync(execPath, [main, "fmt", ...args], { input, encoding: "utf8" });
  return [status, stdout, stderr];
};

test("moec fmt rewrites what is not in style, of files and folders, and --check names it", () => {
  const folder = folderOf({
    "a.moe": bad,
    "b.moe": good,
    "c.txt": bad,
    "deep/er/d.moe": bad,
    ".git/e.moe": bad,
    "node_modules/f.moe": bad,
  });
  const [a, b, d] = ["a.moe", "b.moe", "deep/er/d.moe"].map((name) => join(folder, name)) as [string, string, string];
  const inode = statSync(b).ino;
  assert.equal(fmt("--check", folder), [1, `${a}\n${d}\n`, "3 files, 2 would change\n"]);
  assert.is(readFileSync(a, "utf8"), bad);
  assert.equal(fmt(a, join(folder, "c.txt")), [0, `${a}\n${join(folder, "c.txt")}\n`, "2 files, 2 changed\n"]);
  assert.equal(fmt("--json", folder), [
    0,
    [a, b, d].map((file) => `${JSON.stringify({ file, changed: file === d })}\n`).join(""),
    "",
  ]);
  assert.equal(fmt("--check", folder), [0, "", "3 files, 0 would change\n"]);
  assert.equal(
    [a, b, d].map((file) => readFileSync(file, "utf8")),
    [good, good, good],
  );
  assert.is(statSync(b).ino, inode, "a file in style is not written");
  assert.is(
    readFileSync(join(folder, ".git/e.moe"), "utf8") + readFileSync(join(folder, "node_modules/f.moe"), "utf8"),
    bad + bad,
  );
});
test("what cannot be formatted stays as it is, and the others are formatted", () => {
  const wrong = "layer A( D ) {\n";
  const latin = Buffer.from(`// caf\xe9\n${bad}`, "latin1");
  const folder = folderOf({ "a.moe": wrong, "b.moe": bad, "c.moe": latin, "none/x.txt": "" });
  const [status, stdout, stderr] = fmt(folder, join(folder, "missing.moe"), join(folder, "none"), "/dev/null");
  assert.equal([status, stdout], [1, `${join(folder, "b.moe")}\n`]);
  for (const words of [
    "error[E0103]",
    "a.moe:1:14",
    "c.moe is not UTF-8",
    "missing.moe: there is no such file",
    "no .moe file is in",
    "/dev/null is no file",
    "3 files, 1 changed, 5 errors",
  ])
    assert.match(stderr, words);
  assert.is(readFileSync(join(folder, "a.moe"), "utf8"), wrong);
  assert.equal(readFileSync(join(folder, "c.moe")), latin);
  const [, lines, none] = fmt("--json", "--check", folder);
  const records = lines
    .trimEnd()
    .split("\n")
    .map((line) => JSON.parse(line) as { code?: string; file?: string; message?: string });
  assert.equal(
    [none, records.map(({ code, message }) => code ?? message)],
    ["", ["E0103", undefined, `${join(folder, "c.moe")} is not UTF-8`]],
  );
});
test("a link is followed, and the mode of a file stays", () => {
  const folder = folderOf({ "a.moe": bad });
  const [file, link] = [join(folder, "a.moe"), join(folder, "link.moe")];
  chmodSync(file, 0o626);
  symlinkSync("a.moe", link);
  assert.equal(fmt(link), [0, `${link}\n`, "1 file, 1 changed\n"]);
  assert.is(readFileSync(file, "utf8"), good);
  assert.ok(lstatSync(link).isSymbolicLink());
  assert.is(statSync(file).mode & 0o777, 0o626);
  assert.equal(readdirSync(folder).toSorted(), ["a.moe", "link.moe"]);
});
test("moec fmt - formats stdin to stdout", () => {
  assert.equal(onStdin(`\uFEFF${bad}`, "-"), [0, good, ""]);
  assert.equal(onStdin("", "-"), [0, "", ""]);
  assert.equal(onStdin(bad, "-", "--check"), [1, "-\n", ""]);
  assert.equal(onStdin(good, "-", "--check"), [0, "", ""]);
  assert.equal(onStdin(bad, "-", "--json"), [0, `${JSON.stringify({ file: "-", changed: true, text: good })}\n`, ""]);
  const [status, stdout, stderr] = onStdin("layer A( D ) {\n", "-");
  assert.equal([status, stdout], [1, ""]);
  assert.match(stderr, "stdin:1:14");
  assert.match(onStdin(Buffer.from([0xff]), "-")[2], "is not UTF-8");
  assert.equal(onStdin(bad, "-", "a.moe"), [
    2,
    "",
    "error: `-`, which formats stdin to stdout, is given alone\n(add --help for what it takes)\n",
  ]);
});

test.run();
