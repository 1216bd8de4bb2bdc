// A trained model behind HTTP: `curl -N 'localhost:8080/?prompt=Call+me'`. Answers are sent as they are written, and share one batch.
// Its arguments are the model's folder and how many beginnings of prompts it keeps: 0 of a model with an encoder, which reads each prompt whole.
// In a project of your own: from "moec".
import { createServer, type Server, type ServerResponse } from "node:http";
import { openModel, Problem, type TextModel } from "../runtime/index.ts";

export const serve = (model: TextModel): Server =>
  createServer((request, response) => {
    const [, query = ""] = (request.url ?? "").split("?", 2);
    void answer(model, new URLSearchParams(query).get("prompt") ?? "", response);
  });

async function answer(model: TextModel, prompt: string, response: ServerResponse): Promise<void> {
  try {
    for await (const piece of model.generate(prompt)) {
      if (response.destroyed) return; // who hangs up ends the text
      response.write(piece);
    }
  } catch (error) {
    if (!response.headersSent) response.statusCode = error instanceof Problem ? 400 : 500;
    response.write(error instanceof Problem ? `${error.message}\n` : "");
  }
  response.end();
}
if (import.meta.filename === process.argv[1]) {
  const [, , folder = "runs/gpt-moe", prefixes = "8"] = process.argv;
  serve(await openModel(folder, { prefixes: Number(prefixes) })).listen(8080, "localhost");
}
