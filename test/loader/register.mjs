// Loads TypeScript in the processes of run.ts, as tsx does elsewhere.
import { register } from "node:module";

process.setSourceMapsEnabled(true);
const { noDeprecation = false } = process;
process.noDeprecation = true; // Node 26 asks for `registerHooks`, whose functions cannot wait for esbuild
register("./hooks.mjs", import.meta.url);
process.noDeprecation = noDeprecation;
