import { createInterface } from "node:readline";
import { Command } from "commander";
import { Problem } from "../../compiler/diagnostic.ts";
import { integerIn, requireTarget } from "../../compiler/options.ts";
import {
  type Conversation,
  type ConversationOptions,
  openConversation,
} from "../../runtime/generation/conversation.ts";
import { addSampling, addShared, addWeights, average, examples, flag, json, samplingSeed, stop } from "../flags.ts";
import { compileProgress, formatError, note, noteRate, printJson, warn, write } from "../output.ts";
import { interruptible } from "../signals.ts";

const keys = "/new begins another conversation, Ctrl-C stops a reply, Ctrl-D ends.";
export const chatCommand = (): Command =>
  addSampling(
    addWeights(addShared(new Command("chat")))
      .description(`Talk with a trained model: a line is what you say. ${keys}`)
      .argument(
        "<folder>",
        "the folder of a training run, or of an imported model, whose tokenizer has a chat template",
      )
      .addOption(flag("--system <text>", "what the model is told first", String))
      .addOption(flag("--tokens <n>", "the most tokens of a reply; default: as many as fit", integerIn(1))),
  )
    .addOption(samplingSeed())
    .addOption(stop("reply"))
    .addOption(average())
    .addOption(json())
    .addHelpText(
      "after",
      examples(
        "moec chat runs/OLMoE-1B-7B-Instruct --system 'Be brief.'",
        "moec chat runs/OLMoE-1B-7B-Instruct --temperature 0 < questions.txt",
      ),
    )
    .action(run);

interface Options extends ConversationOptions {
  readonly json?: boolean;
}
async function run(folder: string, { json = false, ...options }: Options): Promise<void> {
  requireTarget(options);
  const told = { warn, tell: note, onCompile: compileProgress() };
  const conversation = await openConversation(folder, { ...options, ...told });
  if (process.stdin.isTTY) note(keys);
  try {
    for await (const line of linesOf(process.stdin)) {
      if (line === "/new") conversation.restart();
      else if (line === "/help") note(keys);
      else if (line !== "") await answer(conversation, line, json);
    }
  } finally {
    conversation.close();
  }
}
/** Prints the reply to a line. On a terminal, what the model cannot answer is said, and the conversation goes on. */
async function answer(conversation: Conversation, line: string, json: boolean): Promise<void> {
  if (!process.stdin.isTTY) return await printReply(conversation, line, json);
  try {
    await interruptible((signal) => printReply(conversation, line, json, signal));
  } catch (error) {
    if (!(error instanceof Problem)) throw error;
    note(formatError(error));
  }
}
async function printReply(
  conversation: Conversation,
  line: string,
  json: boolean,
  signal?: AbortSignal,
): Promise<void> {
  const start = performance.now();
  for await (const piece of conversation.say(line, signal)) if (!json) write(piece);
  const { tokens, messages } = conversation;
  const seconds = (performance.now() - start) / 1000;
  if (json) return printJson({ prompt: messages.slice(0, -1), text: messages.at(-1)?.content, tokens, seconds });
  write("\n");
  noteRate(tokens, seconds);
}
/** The lines of standard input. On a terminal each is asked for; Ctrl-C takes back what was typed, twice it ends the process, and Ctrl-D ends the lines. */
async function* linesOf(input: NodeJS.ReadStream): AsyncGenerator<string, void> {
  if (!input.isTTY) return yield* createInterface({ input });
  let history: string[] = [];
  for (;;) {
    const line = await ask(input, history, (all) => (history = all));
    if (line === null) return;
    yield line;
  }
}
/** Between two lines the terminal is as other programs have it, so that Ctrl-C is a signal. */
function ask(
  input: NodeJS.ReadStream,
  history: string[],
  remember: (history: string[]) => void,
): Promise<string | null> {
  const lines = createInterface({ input, output: process.stderr, history, prompt: "> " });
  lines.on("history", remember);
  return new Promise((resolve) => {
    let [said, again]: [string | null, boolean] = [null, false];
    lines.once("line", (line) => {
      said = line;
      lines.close(); // with its own listeners: what they leave on the terminal would echo each key once more
    });
    lines.on("SIGINT", () => {
      if (again && lines.line === "") {
        process.exitCode = 130;
        return lines.close();
      }
      again = lines.line === "";
      note(again ? "\nCtrl-C again ends, as Ctrl-D does" : "");
      for (const name of ["e", "u"]) lines.write(null, { ctrl: true, name }); // to its end, and all of it
      lines.prompt();
    });
    lines.once("close", () => {
      if (said === null) note("");
      resolve(said);
    });
    lines.prompt();
  });
}
