// Chat templates, as Hugging Face's tokenizers have them: how a conversation becomes the text that the model reads. By the package @huggingface/jinja.
import type { Template } from "@huggingface/jinja";
import { Problem } from "../../compiler/diagnostic.ts";
import { tokenizerFlagText } from "../../compiler/flag-text.ts";
import { type ChatTemplate, type Codec, type DocumentCodec, type Prompt, tokenNamed } from "../tokens.ts";
import type { TokenizerFile } from "./file.ts";

/** The template of a tokenizer's files, which is parsed when it is first used; null if they have none. */
export async function chatTemplate(file: TokenizerFile): Promise<ChatTemplate | null> {
  const { template: text, config, path } = file;
  if (text === null) return null;
  const library = await import("@huggingface/jinja");
  const names = Object.entries(config).flatMap(([name, value]) => namedToken(name, value));
  let template: Template | undefined;
  return (messages, opensReply) => {
    const given = { ...Object.fromEntries(names), tools: null, documents: null };
    try {
      template ??= new library.Template(text);
      return template.render({ ...given, messages, add_generation_prompt: opensReply });
    } catch (cause) {
      const said = cause instanceof Error ? cause.message : String(cause);
      throw new Problem(
        `the chat template of ${path} fails: ${said}`,
        "give it the messages that it is for; or write the text as the model reads it, as a plain prompt or document",
      );
    }
  };
}
/** `bos_token` and the like, which templates read. */
function namedToken(name: string, value: unknown): [string, string][] {
  if (!name.endsWith("_token")) return [];
  if (typeof value === "string") return [[name, value]];
  const { content } = Object(value) as { content?: unknown };
  return typeof content === "string" ? [[name, content]] : [];
}

/** The template for conversations. Throws Problem if there is none. */
export function requireTemplate({ template }: Pick<DocumentCodec, "template">, what: string): ChatTemplate {
  if (template) return template;
  throw new Problem(
    `${what} is a conversation, and the tokenizer has no chat template`,
    `train with the tokenizer of a chat model, ${tokenizerFlagText}, which has one in tokenizer_config.json or chat_template.jinja; or write out the text as the model reads it`,
  );
}
/** The tokens of what a text is to follow: of a conversation, with what begins the assistant's reply. */
export function encodePrompt(codec: Codec, prompt: Prompt): readonly number[] {
  if (typeof prompt === "string") return codec.encode(prompt);
  const { documents } = codec;
  if (!documents)
    throw new Problem(
      "the prompt is a conversation, and the model's tokens are numbers",
      "give token numbers, '5 12 7'",
    );
  const template = requireTemplate(documents, "the prompt");
  return documents.limited(prompt.map(({ content }) => content).join(""), () =>
    documents.encode(template(prompt, true), "the prompt"),
  );
}
/**
 * The tokens of a prompt that an encoder reads: the whole of a text, with what begins and ends it. A `language` is a token that begins it instead, and that
 * comes before token numbers.
 */
export function encodeSource(codec: Codec, prompt: Prompt, language?: string): readonly number[] {
  const { documents } = codec;
  if (language !== undefined && typeof prompt !== "string")
    throw new Problem(
      "the prompt is a conversation, which begins as the chat template says",
      "leave the language of the prompt out, or give a text",
    );
  if (typeof prompt !== "string" || !documents)
    return [...(language === undefined ? [] : [tokenNamed(codec, language)]), ...encodePrompt(codec, prompt)];
  const begin = language === undefined ? documents.begin : [tokenNamed(codec, language)];
  const { end } = documents;
  const tokens = documents.limited(prompt, () => [...begin, ...documents.encode(prompt, "the prompt"), ...end]);
  return tokens.length > 0 ? tokens : codec.encode(prompt);
}
