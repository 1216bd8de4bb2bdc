// npm run peers: computes the numbers in test/peers again by PyTorch, compares them with the stored ones, and runs moec's tests against them. `npm
// run peers -- demo --data FILE` instead trains the demo's model in PyTorch. PYTHON names an interpreter that has torch and safetensors.
import { spawnSync } from "node:child_process";
import { join } from "node:path";
import { argv, env, execPath, exit } from "node:process";
import { parseCommandLine } from "../command-line.ts";

const usage = `npm run peers, or npm run peers -- demo FLAGS..., or llama FLAGS...
  demo   PyTorch trains the demo's model; its flags are those of scripts/peers/demo.py
  llama  llama.cpp and moec read a prompt and write; its flags are those of scripts/peers/llama_cpp.py
PYTHON names the interpreter that has torch and safetensors, for llama transformers and gguf too`;
const others = new Map([
  ["demo", { script: "demo", modules: ["torch", "safetensors"] }],
  ["llama", { script: "llama_cpp", modules: ["torch", "transformers", "gguf"] }],
]);
const other = others.get(argv[2] ?? "");
if (!other) parseCommandLine(usage, {});

const root = join(import.meta.dirname, "..", "..");
const python = env["PYTHON"] ?? "python3";

function run(program: string, args: readonly string[]): number {
  return spawnSync(program, args, { cwd: root, stdio: "inherit" }).status ?? 1;
}
const has = (modules: string): boolean =>
  spawnSync(python, ["-c", `import ${modules}`], { stdio: "ignore" }).status === 0;
const needed = other?.modules ?? ["torch", "safetensors"];
if (!has(needed.join())) {
  console.error(
    `\`${python}\` does not have all of ${needed.join(", ")}: \`pip install ${needed.join(" ")}\`, or name another interpreter in PYTHON`,
  );
  exit(1);
}
if (other) exit(run(python, [`scripts/peers/${other.script}.py`, ...argv.slice(3)]));
const optional = {
  transformers: ["hf", "quantised", "chats"],
  tokenizers: ["texts"],
  compressed_tensors: ["packed"],
};
const scripts = ["peers", "gates", "mixtures", "optim", "attention", "lora"];
for (const [module, of] of Object.entries(optional))
  if (has(module)) scripts.push(...of);
  else console.error(`\`${python}\` does not have ${module}: its numbers are not computed again`);
for (const script of scripts) {
  const failed = run(python, [`scripts/peers/${script}.py`]);
  if (failed) exit(failed);
}
exit(
  run(execPath, ["--import", "tsx", "test/run.ts", "peers.", "merge", "stdlib-", "models-", "tokenizer", "documents"]),
);
