import { createInterface, type ReadLineOptions } from "node:readline";
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
export async function* linesOf(
  input: NodeJS.ReadStream,
  output: NodeJS.WritableStream = process.stderr,
): AsyncGenerator<string, void> {
  if (!input.isTTY) return yield* createInterface({ input });
  let typed: Typed = { lines: [], begun: "", history: [] };
  while ((typed = await ask({ input, output }, typed)).lines.length > 0) yield* typed.lines;
}
interface Typed {
  /** None: the conversation ends. Several: they were pasted. */
  readonly lines: readonly string[];
  /** What the next line begins with. */
  readonly begun: string;
  readonly history: string[];
}
/** Between two lines the terminal is as other programs have it, so that Ctrl-C is a signal. */
function ask(terminal: Pick<ReadLineOptions, "input" | "output">, { begun, ...before }: Typed): Promise<Typed> {
  const said: string[] = [];
  let { history } = before;
  const lines = createInterface({ ...terminal, history, prompt: "> " });
  lines.on("history", (all) => (history = all));
  return new Promise((resolve) => {
    let again = false;
    lines.on("line", (line) => {
      // closed with its own listeners, which would echo each key once more, and after all that came with this line
      if (said.push(line) === 1) setImmediate(() => lines.close());
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
      if (said.length === 0 || lines.line !== "") note("");
      resolve({ lines: said, begun: lines.line, history });
    });
    lines.prompt();
    if (begun !== "") lines.write(begun);
  });
}
