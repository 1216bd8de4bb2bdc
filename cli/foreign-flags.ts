// Help for unknown flags: those of other tools, and names that resemble a flag of the command; and for an argument without its flag.
import type { Command } from "commander";

/** Flags of other training tools, and the flag that is for it here; also what to write, if it is more than that. */
const foreign: readonly (readonly [theirs: RegExp, flag: string, written?: string])[] = [
  [/^epochs$/, "steps", "--steps: training is counted in steps, each of a batch"],
  [/^(iters|max-iters)$/, "steps"],
  [/^(seq-len|sequence-length|block-size|max-length)$/, "length"],
  [/^(cuda|gpu)$/, "target", "--target cuda"],
  [/^(device|cpu|backend)$/, "target"],
  [/^(bf16|fp16|amp)$/, "precision", "--precision bf16"],
  [/^(dtype|mixed-precision)$/, "precision"],
  [/^eval(uate|uation)?-(every|steps|interval)$/, "evaluate-every"],
  [/^(save-best|save-best-only|load-best-model-at-end)$/, "keep-best"],
  [/^(early-stopping|early-stopping-patience)$/, "patience"],
  [/^(use-)?ema$/, "average", "--average ema, which AdamW(average: 0.999) keeps"],
  [/^(save|checkpoint)-(every|steps|interval)$/, "save-every"],
  [/^resume-(from|from-checkpoint)$/, "resume"],
  [/^(checkpoint|ckpt|init-from)$/, "params"],
  [/^(quanti[sz]e|quanti[sz]ation|load-in-8bit|int8)$/, "weights", "--weights int8"],
];
const optimizer = /^(lr|learning-rate|weight-decay|warmup(-steps)?|optim(izer)?|(grad-)?clip|betas?)$/;

function flagHelp(name: string, command: Command): string | null {
  const flags = command.options.flatMap(({ long }) => long?.slice(2) ?? []);
  if (flags.includes("set") && /^[A-Z]\w*$/.test(name)) return `write \`--set ${name}=VALUE\``;
  if (command.name() === "train" && optimizer.test(name))
    return "the model says it: `optimize with AdamW(lr: lr)`; a value of its header, `model M(lr = 3e-4)`, is set by `--set lr=1e-3`";
  const words = name.split("-");
  const [, known, written] = foreign.find(([theirs, flag]) => theirs.test(name) && flags.includes(flag)) ?? [];
  if (written !== undefined) return `write ${written}`;
  const near =
    known ??
    flags.find((flag) => name.length > 2 && flag.startsWith(name)) ??
    flags.find((flag) => words.includes(flag));
  return near === undefined ? null : `write --${near}`;
}
/** For one argument too many: the flag that it is for. */
function excessHelp(command: Command): string | null {
  if (command.opts()["resume"] === true) return "--resume takes no folder: it continues the run in --out";
  const has = (name: string): boolean => command.options.some(({ long }) => long === `--${name}`);
  const sized = command.args.find((a) => /^[A-Za-z]\w*=\S+$/.test(a));
  if (sized !== undefined && has("set")) return `write --set before each size: --set ${sized}`;
  const flag = ["prompt", "data", "entry"].find(has);
  return flag === undefined ? null : `write --${flag} before it`;
}
/** Adds help to commander's messages about an unknown flag, in place of the name that it finds most alike, and about an argument too many. */
export const addFlagHelp = (command: Command): Command =>
  command.configureOutput({
    outputError: (text, write) => {
      const [message, name = ""] = /^error: unknown option '--([^'=]+).*'/.exec(text) ?? [text];
      const help = text.startsWith("error: too many arguments") ? excessHelp(command) : flagHelp(name, command);
      write(help === null ? text : `${message.trimEnd()}\n  help: ${help}\n`);
    },
  });
