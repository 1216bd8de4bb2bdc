// A thread that encodes parts of files (threads.ts): it answers each in order.
import { parentPort, workerData } from "node:worker_threads";
import { Problem } from "../../compiler/diagnostic.ts";
import type { DocumentCodec, FilePart } from "../tokens.ts";
import { codecOfFile } from "./codec.ts";
import { encodePart } from "./documents.ts";
import type { Answer, ThreadData } from "./threads.ts";

const { file, timeLimit } = workerData as ThreadData;
const { documents } = await codecOfFile(file, timeLimit);

function answerTo(part: FilePart, codec: DocumentCodec): Answer {
  try {
    return { made: encodePart(codec, part) };
  } catch (error) {
    return error instanceof Problem ? { problem: { message: error.message, help: error.help } } : { error };
  }
}
parentPort?.on("message", (part: FilePart) => {
  if (documents) parentPort?.postMessage(answerTo(part, documents));
});
