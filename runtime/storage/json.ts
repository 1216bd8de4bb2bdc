// JSON of files. What is malformed is a Problem that names the file.
import * as v from "valibot";
import { Problem } from "../../compiler/diagnostic.ts";
import { readText } from "../../compiler/read-file.ts";

type JsonObject = Record<string, unknown>;
export const isJsonObject = (x: unknown): x is JsonObject => typeof x === "object" && x !== null && !Array.isArray(x);

/** The value of a JSON text, which may begin with a byte order mark; undefined if the text is not JSON. */
export function parseJson(text: string): unknown {
  try {
    return JSON.parse(text.replace(/^\ufeff/, ""));
  } catch {
    return undefined;
  }
}
export function requireJson(path: string, text: string, remedy: string): unknown {
  const json = parseJson(text);
  if (json === undefined) throw new Problem(`${path} is not JSON`, remedy);
  return json;
}
export const readJsonObject = (path: string, remedy: string): JsonObject =>
  requireJsonObject(path, readText(path), remedy);
export function requireJsonObject(path: string, text: string, remedy: string): JsonObject {
  const json = requireJson(path, text, remedy);
  if (!isJsonObject(json)) throw new Problem(`${path} is not a JSON object`, remedy);
  return json;
}
/** Numbers without a fraction: any, those from 0, and from 1. */
export const integer = v.pipe(v.number(), v.safeInteger());
export const whole = v.pipe(integer, v.minValue(0));
export const positive = v.pipe(integer, v.minValue(1));
/** What a schema found wrong, after where it is. */
export const showIssue = (issue: v.BaseIssue<unknown>): string => `${v.getDotPath(issue) ?? "it"}: ${issue.message}`;
