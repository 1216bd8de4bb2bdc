// Prompts of a file: the lines of a text, or JSON lines in the form of training data, of which the last reply is left out.
//
//   {"prompt": "..", "completion": ".."}                the prompt
//   {"messages": [{"role": "..", "content": ".."}, ..]} all messages, without a reply that ends them
import * as v from "valibot";
import { Problem } from "../../compiler/diagnostic.ts";
import { readBytes } from "../storage/files.ts";
import { isJsonObject, parseJson, showIssue } from "../storage/json.ts";
import type { Message, Prompt } from "../tokens.ts";
import { isJsonLines, utf8 } from "./documents.ts";

const remedy = 'a line is {"prompt": ".."} or {"messages": [{"role": "user", "content": ".."}, ..]}';
const conversation = v.object({ messages: v.array(v.looseObject({ role: v.string(), content: v.string() })) });
const plain = v.object({ prompt: v.string() });

/** Empty lines are none. */
export function readPrompts(path: string): Prompt[] {
  const lines = utf8(readBytes(path), path).split(/\r?\n/);
  const found = lines.flatMap((text, i): Prompt[] => {
    if (text.trim() === "") return [];
    return [isJsonLines(path) ? promptOf(text, `${path}, line ${i + 1}`) : text];
  });
  if (found.length > 0) return found;
  throw new Problem(`${path} has no prompt`, isJsonLines(path) ? remedy : "each line of it is one");
}
function promptOf(text: string, where: string): Prompt {
  const json = parseJson(text);
  if (!isJsonObject(json)) throw new Problem(`${where} is not a JSON object`, remedy);
  const found = v.safeParse("messages" in json ? conversation : plain, json);
  if (!found.success) throw new Problem(`${where}: ${showIssue(found.issues[0])}`, remedy);
  if ("prompt" in found.output) return found.output.prompt;
  const { messages } = found.output;
  const asked = messages.at(-1)?.role === "assistant" ? messages.slice(0, -1) : messages;
  if (asked.length === 0) throw new Problem(`${where} has no message to answer`, remedy);
  return asked;
}
/** What the user asks, or goes on with, as a conversation; `system` comes before, unless it has such a message. */
export function conversationOf(prompt: Prompt, system?: string): Message[] {
  const asked = typeof prompt === "string" ? [{ role: "user", content: prompt }] : prompt;
  const before = system === undefined || asked[0]?.role === "system" ? [] : [{ role: "system", content: system }];
  return [...before, ...asked];
}
