// The page of `moec report`: what it says, that nothing of a run becomes markup, and how it looks in a real browser.
import { existsSync, mkdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { pathToFileURL } from "node:url";
import { inflateSync } from "node:zlib";
import { type Browser, chromium, type Page } from "playwright-core";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { reportCommand } from "../../cli/commands/report.ts";
import { fromTo } from "../../compiler/types/numbers.ts";
import { chart, heatMap, ticks } from "../../runtime/report/chart.ts";
import { formatNumber } from "../../runtime/report/html.ts";
import { readRunLog } from "../../runtime/report/log.ts";
import { reportPage } from "../../runtime/report/page.ts";
import { png } from "../../runtime/report/png.ts";
import { imbalanceLines, loadGrids, smoothed, thinned } from "../../runtime/report/series.ts";
import { RunLog, writeConfig } from "../../runtime/storage/run-folder.ts";
import { problem } from "../assert-problem.ts";
import { temporaryFolder } from "../temporary-folder.ts";

const test = suite("report");
const experts = 5;
const layers = 3;
const inNats = { losses: ["language"], unit: "nats a byte" };
const evil = `</script><img src=x onerror=alert(1)>"'&`;

/** A run of made-up numbers: the load of expert e of layer l is uneven at first, expert 4 of layer 0 has none. */
function made(steps: number, name = "Gpt", measure: object = inNats): string {
  const run = temporaryFolder();
  mkdirSync(run, { recursive: true });
  const data = { files: ["book.txt"], bytes: 90_000, hash: "0" };
  writeConfig(run, { model: name, sizes: { B: 4, T: 32, D: 8 }, steps: 40, seed: 3, precision: "f32", data });
  const log = new RunLog(run);
  log.begin({
    bigram: 2.5,
    bytes: 90_000,
    measure,
    parameters: 1234,
    trained: 234,
    plan: { parameters: 4936, activations: 2e6, arena: 3e6 },
  });
  for (let step = 1; step <= steps; step++) {
    const metrics: Record<string, number | number[] | string> = { [`${name}.accuracy`]: step / 50 };
    for (let l = 0; l < layers; l++) {
      metrics[`blocks.${l}.gate.load`] = Array.from({ length: experts }, (_, e) =>
        l === 0 && e === 4 ? 0 : 10 + ((e * 7) % 5) * (40 - step),
      );
      metrics[`blocks.${l}.gate.entropy`] = 1.2 + l / 10;
      metrics[`blocks.${l}.gate.dropped`] = l * (40 - step);
    }
    if (step === 2) metrics["blocks.0.gate.entropy"] = "NaN";
    const held = step % 10 === 0 ? { held_out: 2 + 1 / step } : {};
    log.append({
      step,
      loss: 2 + 2 / step,
      losses: { language: 2 + 1 / step, balance: 1 / step },
      metrics,
      ...held,
      tokens_per_second: 1000 + step,
      seconds: step,
    });
  }
  return run;
}
/** Of a PNG: each row after a byte, its filter. */
function pixelsOf(file: Buffer): Buffer {
  const at = file.indexOf("IDAT");
  return inflateSync(file.subarray(at + 4, at + 4 + file.readUInt32BE(at - 4)));
}
const pageOf = (run: string): string => reportPage(readRunLog(run));

test("the page names what it shows, and loads nothing", () => {
  const page = pageOf(made(40));
  for (const text of [
    "Gpt",
    "book.txt",
    "<span>40 steps</span>",
    "held-out loss",
    "nats a byte; bigram 2.5",
    "In nats a byte.",
    "234 are trained, ",
    "blocks.2.gate",
    "Largest expert",
    "Entropy",
    "Dropped tokens",
    "Tokens a second",
    "accuracy",
  ])
    assert.match(page, text);
  assert.is(page.match(/<figure class="heat">/g)?.length, layers);
  assert.not.match(page, /(src|href)="(?!data:)|url\(|@import|https?:/);
});
const titlesOf = (page: string): (string | undefined)[] =>
  [...page.matchAll(/<h3>([^<]*)<\/h3>/g)].map(([, title]) => title);
test("each figure stands once; a loss alone has no parts, and what is 0, or as large as the whole, is not told", () => {
  const run = readRunLog(made(40));
  const gates = fromTo(0, layers).map((l) => `blocks.${l}.gate`);
  const after = ["Largest expert", "Entropy", "Dropped tokens", "accuracy", "Tokens a second", "Memory"];
  assert.equal(titlesOf(reportPage(run)), ["Training and held-out loss", "language", "balance", ...gates, ...after]);
  const steps = run.steps.map(({ step, loss, losses: { language = 0 } }) => ({
    step,
    loss,
    losses: { language },
    metrics: { "gate.dropped": 500 + step, load: [1, 2] },
  }));
  const about = { ...run.about, trained: 1234, plan: { parameters: 4936, states: 0, arena: 1e4 } };
  const page = reportPage({ ...run, about, steps });
  assert.equal(titlesOf(page), ["Training and held-out loss", "load", "Largest expert", "Dropped tokens", "Memory"]);
  assert.not.match(page, /are trained|>states<|class="legend"|color-mix\(in oklab, var\(--deep\)/);
  const dropped = page.slice(page.indexOf("Dropped tokens"));
  assert.match(dropped.slice(0, dropped.indexOf("</svg>")), ">0</text>");
});
const loadsOf = (layers: number): Record<string, number[]> =>
  Object.fromEntries(fromTo(0, layers).map((l) => [`${l}.load`, [1, 2]]));
test("the heat maps of many layers are small", () => {
  const { steps, ...run } = readRunLog(made(1));
  const pageWith = (n: number): string =>
    reportPage({ ...run, steps: steps.map((s) => ({ ...s, metrics: loadsOf(n) })) });
  assert.match(pageWith(8), '<div class="heats">');
  assert.match(pageWith(9), '<div class="heats many">');
});
test("a loss that is no cross entropy of tokens is named, has no unit, and stands beside no bigram model", () => {
  const page = pageOf(made(40, "Gpt", { losses: ["focal", "balance"] }));
  assert.match(page, "focal + balance");
  assert.not.match(page, /nats a|bigram/);
});
test("names and texts of a run never become markup", () => {
  const page = pageOf(made(12, evil));
  assert.not.match(page, "<img src=x");
  assert.match(page, "&lt;/script&gt;&lt;img src=x");
  assert.is(page.match(/<script\b/g)?.length, page.match(/<\/script>/g)?.length);
});
test("a run that has begun, and one whose last line was cut off, are shown; others say what is wrong", () => {
  const one = made(1);
  for (const text of ["step 1 of 40", "mean of the last 1 step<"]) assert.match(pageOf(one), text);
  writeFileSync(join(one, "log.jsonl"), '\n{"step":2,"loss":1,"losses":{}}\n', { flag: "a" });
  assert.is(readRunLog(one).steps.length, 2, "an empty line is none");
  writeFileSync(join(one, "log.jsonl"), '{"step":3,"lo', { flag: "a" });
  assert.is(readRunLog(one).steps.length, 2);
  writeFileSync(join(one, "log.jsonl"), '\n{"step":3,"loss":1,"losses":{}}\n', { flag: "a" });
  assert.match(problem(() => readRunLog(one)).message, "log.jsonl, line 5");
  const wrong = made(2);
  writeFileSync(join(wrong, "log.jsonl"), '{"step":3,"loss":"many","losses":{}}\n', { flag: "a" });
  assert.match(problem(() => readRunLog(wrong)).message, "line 4: loss");
  writeFileSync(join(wrong, "log.jsonl"), "\u0000\u0001\n5\n");
  assert.match(problem(() => readRunLog(wrong)).message, "line 1 is not a JSON object");
  assert.match(problem(() => readRunLog(made(0))).message, "no step yet");
  const imported = made(0);
  rmSync(join(imported, "log.jsonl"));
  const { message, help } = problem(() => readRunLog(imported));
  assert.match(message, "holds no steps");
  assert.match(help, "`moec train FOLDER/model.moe --params FOLDER`");
  assert.match(problem(() => readRunLog(temporaryFolder())).message, "no training run");
});
test("a cell of the load is the mean share over its steps; what has no tokens is 0", () => {
  const { steps } = readRunLog(made(40));
  const [grid] = loadGrids(steps, 10);
  assert.ok(grid);
  assert.equal([grid.experts, grid.columns, grid.from, grid.to], [experts, 10, 1, 40]);
  for (let c = 0; c < 10; c++) {
    const column = Array.from({ length: experts }, (_, e) => grid.shares[e * 10 + c] ?? Number.NaN);
    assert.ok(Math.abs(column.reduce((a, b) => a + b, 0) - experts) < 1e-9);
    assert.is(column[4], 0);
  }
});
test("each step counts in one cell; the grid says which steps it covers; without tokens nothing is known", () => {
  const loads = [
    [4, 0],
    [0, 4],
    [3, 1],
    [3, 1],
    [3, 1],
    [0, 0],
  ];
  const steps = loads.map((load, i) => ({ step: i + 5, loss: 1, losses: {}, metrics: { "moe.gate.load": load } }));
  const [two] = loadGrids(steps.slice(0, 5), 2);
  assert.equal([...(two?.shares ?? [])], [1, 1.5, 1, 0.5]);
  const without = [1, 2, 3, 4].map((step) => ({ step, loss: 1, losses: {}, metrics: {} })); // metrics are kept of some steps
  assert.equal(loadGrids([...without, ...steps.slice(0, 5)], 2), [two]);
  const [six] = loadGrids(steps, 9);
  assert.equal([six?.from, six?.to, six?.columns], [5, 10, 6]);
  assert.equal([...(six?.shares ?? [])], [2, 0, 1.5, 1.5, 1.5, Number.NaN, 0, 2, 0.5, 0.5, 0.5, Number.NaN]);
});
test("the tiles: the mean of the last 50 losses, the tokens of all steps, the median speed", () => {
  const { steps, ...run } = readRunLog(made(60));
  const page = reportPage({ ...run, steps: steps.slice(5) }); // the log of those before was lost
  const losses = steps.slice(-50).map((s) => s.loss);
  assert.match(page, `<b>${(losses.reduce((a, b) => a + b, 0) / 50).toFixed(3)}</b><small>mean of the last 50 steps`);
  assert.match(page, `<b>${formatNumber(4 * 32 * 60)}</b><small>${formatNumber(1033)} a second`);
  assert.match(page, `<b>${(2 + 1 / 60).toFixed(3)}</b><small>nats a byte`);
});
test("a line is drawn where its axes say, a cell in the colour of its share", () => {
  const points = [2, 3, 4].map((value, i) => ({ step: 10 + 5 * i, value }));
  const drawn = chart({ title: "", note: "", lines: [{ line: { name: "x", points }, color: "red" }] });
  assert.match(drawn, 'points="46.0,196.0 252.0,103.0 458.0,10.0"');
  const shares = Float64Array.of(3, 1.5, 1, 0, Number.NaN);
  const map = heatMap({ layer: "moe", experts: 1, columns: 5, shares, from: 1, to: 5 });
  const file = Buffer.from(/base64,([^"]*)/.exec(map)?.[1] ?? "", "base64");
  const pixels = pixelsOf(file).subarray(1);
  const [high = 0, , low = 0] = pixels;
  assert.ok(high > low && (pixels[12] ?? 0) < (pixels[14] ?? 0), "red above, blue below");
  assert.equal(
    [3, 7, 11, 15, 19].map((i) => pixels[i]),
    [255, 128, 0, 255, 0],
  );
});
const textsOf = (drawn: string): (string | undefined)[] =>
  [...drawn.matchAll(/>([^<>]*)<\/text>/g)].map(([, text]) => text);
test("axes: ticks that stand apart between the first step and the last; 0 and the mark where they are asked for", () => {
  const [low, high] = [60, 80];
  const axesOf = (steps: readonly number[], more: object): unknown => {
    const points = steps.map((step, i) => ({ step, value: i === 0 ? low : high }));
    return textsOf(chart({ title: "", note: "", lines: [{ line: { name: "x", points }, color: "red" }], ...more }));
  };
  assert.equal(axesOf([500, 2500], {}), ["60", "65", "70", "75", "80", "500", "1000", "1500", "2000", "2500"]);
  assert.equal(axesOf([1, 1100], { zero: true }), ["0", "20", "40", "60", "80", "1", "500", "1100"]);
  const mark = { name: "bigram", value: 100 };
  assert.equal(axesOf([7], { mark }), ["60", "70", "80", "90", "100", "7", "8", "bigram 100"]);
});
test("a line is smoothed over a sixtieth of its points on either side; one alone has no legend", () => {
  const points = fromTo(0, 120).map((step) => ({ step, value: step === 60 ? 5 : 0 }));
  const lines = ["x", "y"].map((name) => ({ line: { name, points }, color: "red" }));
  const drawn = chart({ title: "", note: "", lines, smooth: true });
  assert.match(drawn, "[57,0],[58,1],[59,1],[60,1],[61,1],[62,1],[63,0]");
  assert.match(drawn, 'class="legend"');
  assert.not.match(chart({ title: "", note: "", lines: lines.slice(1) }), 'class="legend"');
});
test("of many files their number is shown", () => {
  const run = readRunLog(made(1));
  const files = Array.from({ length: 9 }, (_, i) => `${i}.txt`);
  const page = reportPage({ ...run, config: { ...run.config, data: { ...run.config.data, files } } });
  assert.match(page, "<span>9 files</span>");
  assert.not.match(page, "8.txt");
});
test("a long run has its grid", () => {
  const one = { step: 1, loss: 1, losses: {}, metrics: { "moe.gate.load": [1, 3] } };
  const [grid] = loadGrids(
    Array.from({ length: 200_000 }, () => one),
    2,
  );
  assert.equal([...(grid?.shares ?? [])], [0.5, 0.5, 1.5, 1.5]);
});
test("the imbalance is the largest load over the mean; a step without tokens has none", () => {
  const loads = [
    [6, 2, 1, 3],
    [4, 4, 4, 4],
    [0, 0, 0, 0],
  ];
  const steps = loads.map((load, i) => ({ step: i + 1, loss: 1, losses: {}, metrics: { "moe.gate.load": load } }));
  assert.equal(imbalanceLines(steps), [
    {
      name: "moe.gate",
      points: [
        { step: 1, value: 2 },
        { step: 2, value: 1 },
      ],
    },
  ]);
});
test("lines are thinned and smoothed to means, ticks are round and cover their range", () => {
  const points = Array.from({ length: 1000 }, (_, i) => ({ step: i + 1, value: i % 2 }));
  const thin = thinned({ name: "x", points }, 100).points;
  assert.is(thin.length, 100);
  assert.ok(thin.every((p, i) => p.value === 0.5 && p.step === 10 * i + 6)); // the mean of its steps, rounded
  const smooth = smoothed({ name: "x", points }, 2).points;
  assert.is(smooth.length, 1000);
  assert.ok(Math.abs((smooth[500]?.value ?? 0) - 0.4) < 1e-12 && smooth[0]?.value === 1 / 3);
  assert.equal(ticks(0.3, 9.7, 5), [0, 2, 4, 6, 8, 10]);
  assert.equal(ticks(1, 19, 5), [0, 5, 10, 15, 20]);
  assert.equal(ticks(1e9, 1e9, 5), [1e9, 1.2e9]);
  for (const [low, high] of [
    [3, 3],
    [0, 0],
    [-1e-9, 1e-9],
    [1e6, 1e6 + 1],
  ] as const) {
    const all = ticks(low, high, 5);
    assert.ok(all.length > 1 && (all[0] ?? 1) <= low && (all.at(-1) ?? 0) >= high, `${low} to ${high}: ${all.join()}`);
  }
});
test("a PNG holds its pixels", () => {
  const pixels = Uint8Array.from({ length: 4 * 6 }, (_, i) => i * 10);
  const file = png(3, 2, pixels);
  assert.equal([...pixelsOf(file)], [0, ...pixels.subarray(0, 12), 0, ...pixels.subarray(12)]);
  assert.equal([file.readUInt32BE(16), file.readUInt32BE(20)], [3, 2]);
});
test("the command writes the page into the run's folder, or where -o says", async () => {
  const run = made(3);
  const lines: string[] = [];
  const write = process.stdout.write.bind(process.stdout);
  process.stdout.write = (text: string) => lines.push(text) > 0;
  try {
    await reportCommand().parseAsync([run, "--json"], { from: "user" });
    await reportCommand().parseAsync([run, "-o", join(run, "other.html")], { from: "user" });
  } finally {
    process.stdout.write = write;
  }
  assert.equal(JSON.parse(lines[0] ?? ""), { page: join(run, "report.html"), model: "Gpt", step: 3, loss: 2 + 2 / 3 });
  assert.is(readFileSync(join(run, "other.html"), "utf8"), readFileSync(join(run, "report.html"), "utf8"));
});

const path = ["/usr/bin/chromium", "/usr/bin/chromium-browser", "/usr/bin/google-chrome"].find((p) => existsSync(p));
if (path === undefined) console.log("report: no browser (Debian: `apt install chromium`): the page is not looked at");
const look = (name: string, run: () => Promise<void>): void =>
  path === undefined ? test.skip(name, run) : test(name, run);
async function open(
  browser: Browser,
  run: string,
  how: Parameters<Browser["newContext"]>[0],
): Promise<[Page, string[]]> {
  const page = await (await browser.newContext(how)).newPage();
  const wrong: string[] = [];
  page.on("console", (m) => m.type() === "error" && wrong.push(m.text()));
  page.on("pageerror", (e) => wrong.push(e.message));
  page.on("dialog", (d) => wrong.push(`dialog ${d.message()}`));
  page.on("request", (r) => /^(file|data):/.test(r.url()) || wrong.push(`asks for ${r.url()}`));
  const file = join(run, "page.html");
  writeFileSync(file, pageOf(run));
  await page.goto(pathToFileURL(file).href);
  return [page, wrong];
}
look("in a browser: every chart is drawn, fits, and says its numbers under the pointer; light and dark", async () => {
  const browser = await chromium.launch({ executablePath: path ?? "", args: ["--no-sandbox"] });
  try {
    for (const colorScheme of ["light", "dark"] as const)
      for (const width of [400, 1200]) {
        const [page, wrong] = await open(browser, made(40, evil), { colorScheme, viewport: { width, height: 900 } });
        assert.is(
          await page.evaluate("document.documentElement.scrollWidth <= innerWidth"),
          true,
          `${width} overflows`,
        );
        for (const box of await page.locator("svg, img, .tiles div").all()) {
          const { width: w = 0, height: h = 0, x = -1 } = (await box.boundingBox()) ?? {};
          assert.ok(w > 100 && h > 50 && x >= 0 && x + w <= width, `${w} x ${h} at ${x} of ${width}`);
        }
        const paper = String(await page.evaluate("getComputedStyle(document.body).backgroundColor"));
        const bright = Number(/\d+/.exec(paper)?.[0]) > 128;
        assert.is(bright, colorScheme === "light", paper);
        assert.equal(wrong, []);
      }
    const [page] = await open(browser, made(40), { viewport: { width: 1200, height: 900 } });
    await page.locator("figure.chart svg").first().hover();
    assert.match(await page.locator("figure.chart output").first().innerText(), /^step \d+\n[\d.]+ {2}training/);
    const heat = page.locator("figure.heat img").first();
    const { width, height } = (await heat.boundingBox()) ?? { width: 0, height: 0 };
    await heat.hover({ position: { x: width / 2, y: height - 3 } });
    assert.match(
      await page.locator("figure.heat output").first().innerText(),
      /^expert 4, step 2\d\n0\.00 of an even share$/,
    );
    // The cell without tokens is blue in the picture, and the one with most is red.
    const colors = await page.evaluate(`(() => {
      const image = document.querySelector("figure.heat img");
      const canvas = new OffscreenCanvas(image.naturalWidth, image.naturalHeight).getContext("2d");
      canvas.drawImage(image, 0, 0);
      return [4, 2].map((row) => [...canvas.getImageData(0, row, 1, 1).data]);
    })()`);
    const [[r = 0, , b = 0, a = 0] = [], [r2 = 0, , b2 = 0] = []] = colors as number[][];
    assert.ok(b > r + 100 && a === 255 && r2 > b2 + 100, JSON.stringify(colors));
  } finally {
    await browser.close();
  }
});
test.run();
