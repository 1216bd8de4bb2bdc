// Tokens/s of the model in a folder, for llama_cpp.py: FOLDER OPTIONS PROMPT TOKENS, where OPTIONS are openModel's, as JSON. Its `batch` texts have
// prompts of PROMPT tokens. `read`: all of these, until the last text has its first token; `write`: the TOKENS after that. The best of three.
import { argv } from "node:process";
import { type OpenFolderOptions, openModel } from "../../runtime/index.ts";

const [folder = "", given = "{}", prompt = "512", tokens = "64"] = argv.slice(2);
const options = { ids: true, batch: 1, ...(JSON.parse(given) as OpenFolderOptions) };
const model = await openModel(folder, options);
const best = { read: 0, write: 0 };
for (let run = 0; run < 4; run++) {
  const start = performance.now();
  const rows = Array.from({ length: options.batch }, (_, row) => row);
  const first = Math.max(...(await Promise.all(rows.map((row) => firstOf(4 * row + run)))));
  const seconds = { read: (first - start) / 1000, write: (performance.now() - first) / 1000 };
  if (run === 0) continue; // kernels' first calls
  best.read = Math.max(best.read, (options.batch * Number(prompt)) / seconds.read);
  best.write = Math.max(best.write, (options.batch * Number(tokens)) / seconds.write);
}
await model.close();
console.log(JSON.stringify(best));

/** Writes a text after a prompt of its own: when its first token came. */
async function firstOf(seed: number): Promise<number> {
  const ids = Array.from({ length: Number(prompt) }, (_, i) => (7919 * i + 104729 * seed + 13) % 50000);
  let first = 0;
  for await (const _ of model.generate(ids.join(" "), { tokens: Number(tokens) + 1, temperature: 0, pastEnd: true }))
    first ||= performance.now();
  return first;
}
