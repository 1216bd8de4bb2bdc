// A trained model behind HTTP: `curl -N 'localhost:8080/?prompt=Call+me'`. Answers are sent as they are written, and share one batch.
// In a project of your own: from "moec".
import { createServer, type Server } from "node:http";
import { Readable } from "node:stream";
import { pipeline } from "node:stream/promises";
import { openModel, type TextModel } from "../runtime/index.ts";

export function serve(model: TextModel): Server {
  return createServer((request, response) => {
    const prompt = new URL(request.url ?? "", "http://localhost").searchParams.get("prompt") ?? "";
    response.setHeader("content-type", "text/plain; charset=utf-8");
    // who hangs up ends the text
    pipeline(Readable.from(model.generate(prompt)), response).catch((error: Error) => console.error(error.message));
  });
}
if (import.meta.filename === process.argv[1])
  serve(await openModel(process.argv[2] ?? "runs/gpt-moe")).listen(8080, "localhost");
