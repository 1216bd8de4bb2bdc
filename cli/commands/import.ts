import { Command } from "commander";
import { integerIn, weights } from "../../compiler/options.ts";
import { sanitize } from "../../compiler/render.ts";
import { type ImportOptions, importModel } from "../../runtime/import/import-model.ts";
import { examples, flag, json, out } from "../flags.ts";
import { note, printJson, showCount, warn } from "../output.ts";

export const importCommand = (): Command =>
  new Command("import")
    .description(
      "Import a checkpoint of Hugging Face transformers: Mixtral, OLMoE, Qwen3-MoE, GPT-OSS, DeepSeek-V3 and others (docs/from-pytorch.md). Quantised weights (FP8, INT8, GPTQ, AWQ, NVFP4) become bf16; MXFP4 weights stay in 4 bits.",
    )
    .argument("<folder>", "what save_pretrained wrote: config.json, safetensors, and tokenizer.json if it is there")
    .addOption(out("folder", "the folder to write; default: runs/NAME"))
    .addOption(flag("--context <n>", "maximum sequence length; default: that of config.json, up to 4096", integerIn(1)))
    .addOption(
      flag(
        "--weights <format>",
        "int8 or fp4: write matrices and embeddings in 8 or 4 bits, which are then kept so (`moec generate --help`); what is MXFP4 stays so. float: nothing in codes. Default: only MXFP4",
        weights.parse,
      ),
    )
    .addOption(json())
    .addHelpText("after", examples("moec import OLMoE-1B-7B", "moec generate runs/OLMoE-1B-7B --prompt 'Call me'"))
    .action(run);

interface Options extends Omit<ImportOptions, "folder"> {
  json?: boolean;
}
async function run(folder: string, { json, ...options }: Options): Promise<void> {
  const { out: made, leftOut, ...about } = await importModel({ folder, ...options, warn });
  if (json) return printJson({ folder: made, ...about, left_out: leftOut });
  const { model, parameters, precision, context, tokenizer } = about;
  const text = tokenizer ? "with its tokenizer" : "without a tokenizer: texts are token numbers";
  note(
    `${model}, ${showCount(parameters)} parameters, ${precision}, ${context} positions, ${text}: written to ${made}`,
  );
  if (leftOut.length > 0) note(`Only the text model is read; left out: ${sanitize(leftOut.join(", "))}`);
}
