// Measures the same cases in PyTorch, in the same run (peers.py).
import { execFile, spawnSync } from "node:child_process";
import { fileURLToPath } from "node:url";
import { promisify } from "node:util";
import { note } from "../cli/output.ts";
import type { Case, Pass } from "./cases.ts";

/** Seconds by pass. */
export type PeerTimes = Readonly<Partial<Record<Pass, number>>>;

const script = fileURLToPath(new URL("peers.py", import.meta.url));
const execute = promisify(execFile);

/** The interpreter that `MOEC_PYTHON` names, else python3. If it has no PyTorch, null, and a line on stderr. */
export function findPython(environment: NodeJS.ProcessEnv = process.env): string | null {
  const python = environment["MOEC_PYTHON"] || "python3";
  if (spawnSync(python, ["-c", "import torch"], { stdio: "ignore" }).status === 0) return python;
  note(`no peers: \`${python}\` does not have PyTorch (MOEC_PYTHON names another interpreter)`);
  return null;
}
/** PyTorch's seconds for a case, by the name of the implementation. */
export async function peerTimes(
  python: string,
  c: Case,
  place: number | "cuda",
  numbers: "f32" | "tf32" | "bf16",
): Promise<Readonly<Record<string, PeerTimes>>> {
  const { name, declaration, shape } = c;
  const asked = JSON.stringify({ name, declaration, shape, passes: Object.keys(c.work) });
  const { stdout, stderr } = await execute(python, [script, String(place), numbers, asked]);
  if (stderr.trim() !== "") note(stderr.trim());
  return JSON.parse(stdout) as Record<string, PeerTimes>;
}
