// Texts in TypeScript by each of the workers that test/workers/workers-generate.test.ts starts; worker 0 prints them. `asked FOLDER` or `asked FOLDER seed`.
import { argv } from "node:process";
import { setTimeout } from "node:timers/promises";
import { fileURLToPath } from "node:url";
import { openModel, type TextModel, workers } from "../../runtime/index.ts";

async function all(pieces: AsyncIterable<string>): Promise<string> {
  let text = "";
  for await (const piece of pieces) text += piece;
  return text;
}
/** Three texts for two rows, one that its reader leaves, and one that is asked for later on one worker than on the others. */
async function texts(model: TextModel): Promise<string[]> {
  const how = { tokens: 12, temperature: 0 };
  const together = await Promise.all(["It", "was the", "of"].map((prompt) => all(model.generate(prompt, how))));
  let left = "";
  for await (const piece of model.generate("worst", { ...how, tokens: 30 })) {
    left += piece;
    if (left.length > 3) break;
  }
  if (workers().rank === 1) await setTimeout(50);
  return [...together, left.slice(0, 4), await all(model.generate("times", how))];
}
/** What is said of a text that is longer on worker 1. */
const longer = (model: TextModel): Promise<string> =>
  all(model.generate("It", { tokens: 9 + workers().rank })).catch((error: Error) => error.message);

export async function asked(folder: string): Promise<string[]> {
  const { size } = workers();
  const model = await openModel(folder, { batch: 2, threads: 1, ...(size > 1 ? { expertParallel: size } : {}) });
  const written = await texts(model);
  if (size > 1) written.push(await longer(model));
  await model.close();
  return written;
}
/** What is wrong if one worker has another seed, or closes the model, or leaves a text, while the others read. */
const apart: Readonly<Record<string, (folder: string) => Promise<string>>> = {
  seed: async (folder) => {
    try {
      await openModel(folder, { seed: workers().rank });
      return "nothing is wrong";
    } catch (error) {
      return (error as Error).message;
    }
  },
  closed: async (folder) => {
    const model = await openModel(folder, { threads: 1, batch: 2 });
    const text = all(model.generate("It", { tokens: 30 }));
    if (workers().rank === 1) await model.close();
    const { length } = await text;
    await model.close();
    return length < 30 ? "all end" : "one goes on";
  },
  // worker 1 alone leaves a text, then aborts one; the next is whole
  stopped: async (folder) => {
    const model = await openModel(folder, { threads: 1, batch: 2 });
    const how = { tokens: 40, temperature: 0 };
    const isSecond = workers().rank === 1;
    const written = async (leaves: boolean, controller = new AbortController()): Promise<number> => {
      let length = 0;
      for await (const piece of model.generate("It", { ...how, signal: controller.signal })) {
        length += piece.length;
        if (isSecond && leaves) break;
        if (isSecond) controller.abort();
      }
      return length;
    };
    const lengths = [await written(true), await written(false)];
    const { length } = await all(model.generate("It", how));
    await model.close();
    return lengths.every((n) => n < 40) && length === 40 ? "all end" : `${[...lengths, length].join()} of 40`;
  },
};
if (argv[1] === fileURLToPath(import.meta.url)) {
  const [, , folder = "", by] = argv;
  const said = by === undefined ? await asked(folder) : await apart[by]?.(folder);
  if (workers().rank === 0) console.log(JSON.stringify(said));
}
