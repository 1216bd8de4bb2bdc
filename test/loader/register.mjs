// Loads TypeScript in the processes of run.ts, as tsx does elsewhere.
import { register } from "node:module";

process.setSourceMapsEnabled(true);
register("./hooks.mjs", import.meta.url);
