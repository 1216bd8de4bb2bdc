import { Command } from "commander";
import { real, requireTarget, whole } from "../../compiler/options.ts";
import { generate } from "../../runtime/generate.ts";
import { addShared, examples, flag, json, type Shared, text } from "../flags.ts";
import { printJson, warn, write } from "../output.ts";

export const generateCommand = (): Command =>
  addShared(new Command("generate"))
    .description("Write text with a trained model.")
    .argument("<folder>", "the folder of a training run")
    .addOption(flag("--prompt <text>", "what the text begins with", text))
    .addOption(flag("--tokens <n>", "how many bytes to write; default: 200, or what fits", whole(1)))
    .addOption(flag("--temperature <x>", "0 takes the likeliest byte each time; default: 0.8", real(0)))
    .addOption(flag("--seed <n>", "what chance comes from; default: 0", whole(-(2 ** 31))))
    .addOption(json())
    .addHelpText(
      "after",
      examples(
        "moec generate runs/gpt-moe --prompt 'Call me'",
        "moec generate runs/gpt-moe --tokens 500 --temperature 0",
      ),
    )
    .action(run);

interface Options extends Shared {
  prompt?: string;
  tokens?: number;
  temperature?: number;
  seed?: number;
  json?: boolean;
}
async function run(folder: string, { json, ...options }: Options): Promise<void> {
  requireTarget(options);
  const prompt = options.prompt ?? "";
  let made = "";
  const start = performance.now();
  for await (const piece of generate({ folder, ...options, warn })) {
    if (!json) write(made === "" ? prompt + piece : piece);
    made += piece;
  }
  const seconds = (performance.now() - start) / 1000;
  if (json) printJson({ prompt, text: made, seconds });
  else write("\n");
}
