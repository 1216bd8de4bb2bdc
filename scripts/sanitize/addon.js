// Preloaded (--import) to load the addon that MOEC_SANITIZED names instead of moec's own.
import process from "node:process";

const load = process.dlopen;
const asked = process.env["MOEC_SANITIZED"];
process.dlopen = (module, file, ...flags) =>
  load.call(process, module, file.endsWith("build/Release/moec.node") && asked ? asked : file, ...flags);
