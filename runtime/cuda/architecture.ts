// The limits of a multiprocessor, by compute capability (CUDA Programming Guide, "Technical Specifications per Compute Capability").
import { Problem } from "../../compiler/diagnostic.ts";
import type { Nvrtc } from "../nvrtc.ts";

interface Multiprocessor {
  readonly warps: number;
  readonly blocks: number;
  /** Shared memory in KiB, of which the driver reserves 1 KiB for each block. */
  readonly shared: number;
}
const table: Readonly<Record<number, Multiprocessor>> = {
  75: { warps: 32, blocks: 16, shared: 64 },
  80: { warps: 64, blocks: 32, shared: 164 },
  86: { warps: 48, blocks: 16, shared: 100 },
  87: { warps: 48, blocks: 16, shared: 164 },
  88: { warps: 48, blocks: 16, shared: 100 },
  89: { warps: 48, blocks: 24, shared: 100 },
  90: { warps: 64, blocks: 32, shared: 228 },
  100: { warps: 64, blocks: 32, shared: 228 },
  103: { warps: 64, blocks: 32, shared: 228 },
  110: { warps: 48, blocks: 24, shared: 228 },
  120: { warps: 48, blocks: 24, shared: 100 },
  121: { warps: 48, blocks: 24, shared: 100 },
};
/** The number in an architecture's name: 90 for `sm_90a`; NaN if it is no such name. */
export const capability = (architecture: string): number =>
  Number(/^sm_(\d+)[af]?$/.exec(architecture)?.[1] ?? Number.NaN);

/** The oldest capability that has cp.async and mma.sync of bf16, which the kernels use. */
export const minCapability = 80;
type KnownTo = Pick<Nvrtc, "version" | "architectures">;
/** Throws Problem if the kernels, or this NVRTC, do not support the architecture. */
export function requireArchitecture(architecture: string, nvrtc: KnownTo): void {
  const usable = nvrtc.architectures.filter((n) => n >= minCapability).flatMap((n) => namesOf(n, nvrtc));
  if (usable.includes(architecture)) return;
  throw new Problem(
    capability(architecture) < minCapability
      ? `${architecture} is older than sm_${minCapability}, the least that moec makes code for`
      : `this NVRTC makes no code for ${architecture}`,
    `name one of ${usable.join(", ")}`,
  );
}
/** The names of a capability: code with `a` runs on that one only, code with `f` (CUDA 12.9 and later) on its family. */
function namesOf(n: number, { version }: KnownTo): string[] {
  const [major = 0, minor = 0] = version.split(".").map(Number);
  const families = n >= 100 && (major > 12 || (major === 12 && minor >= 9));
  return [`sm_${n}`, ...(n >= 90 ? [`sm_${n}a`] : []), ...(families ? [`sm_${n}f`] : [])];
}
interface Use {
  readonly threads: number;
  readonly registers: number;
  /** Bytes of shared memory of a block, static and dynamic. */
  readonly shared: number;
}
/** Throws Problem if a kernel's blocks want more shared memory than the architecture allows a block. */
export function requireSharedMemory(
  { name, origins, shared }: { readonly name: string; readonly origins: readonly string[]; readonly shared: number },
  architecture: string,
): void {
  const m = table[capability(architecture)];
  const most = m ? (m.shared - 1) * 1024 : Infinity;
  if (shared <= most) return;
  throw new Problem(
    `kernel ${name} of ${origins.join(", ") || "no line"} wants ${shared} bytes of shared memory; ${architecture} gives a block ${most}`,
    "make the sizes at that line smaller (an attention's heads, a routing's groups), or name an architecture with more, such as sm_90a",
  );
}
/**
 * Theoretical occupancy: the share of a multiprocessor's warps that can be resident, from 0 to 1; null for an architecture that is not in the table.
 */
export function occupancy({ threads, registers, shared }: Use, architecture: string): number | null {
  const m = table[capability(architecture)];
  if (!m) return null;
  const warps = Math.ceil(threads / 32);
  const perWarp = Math.ceil((registers * 32) / 256) * 256;
  const byRegisters = Math.floor((Math.floor(65536 / 4 / perWarp) * 4) / warps);
  const byShared = Math.floor((m.shared * 1024) / (Math.ceil(shared / 128) * 128 + 1024));
  return (Math.min(byRegisters, byShared, m.blocks, Math.floor(m.warps / warps)) * warps) / m.warps;
}
