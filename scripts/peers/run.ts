// npm run peers: makes PyTorch compute the numbers in test/peers again, compares them with the stored ones, and holds moec to both. With `demo`
// and its flags (`npm run peers -- demo --data FILE`): PyTorch trains the demo's model. PYTHON names the interpreter that has torch and safetensors.
import { spawnSync } from "node:child_process";
import { join } from "node:path";
import { argv, env, execPath, exit } from "node:process";

const root = join(import.meta.dirname, "..", "..");
const python = env["PYTHON"] ?? "python3";

function run(program: string, args: readonly string[]): number {
  return spawnSync(program, args, { cwd: root, stdio: "inherit" }).status ?? 1;
}
if (spawnSync(python, ["-c", "import torch, safetensors"], { stdio: "ignore" }).status !== 0) {
  console.error(
    `\`${python}\` does not have PyTorch: \`pip install torch safetensors\`, or name another interpreter in PYTHON`,
  );
  exit(1);
}
const [what, ...flags] = argv.slice(2);
if (what === "demo") exit(run(python, ["scripts/peers/demo.py", ...flags]));
for (const script of ["peers", "gates", "mixtures", "optim"]) {
  const failed = run(python, [`scripts/peers/${script}.py`]);
  if (failed) exit(failed);
}
exit(run(execPath, ["--import", "tsx", "test/run.ts", "peers.", "stdlib-"]));
