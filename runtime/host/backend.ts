// The host backend, with the choices that depend on this machine's C++ compiler and CPU.
import { hostChoicesOf, type MultiplyInstructions, scheduledThreads } from "../../compiler/kernel/schedule.ts";
import { type Backend, backends } from "../../compiler/targets.ts";
import { cores } from "../machine.ts";
import { type Toolchain, toolchain } from "./toolchain.ts";

/** The width of a panel, in columns: a register tile's TILE_VECTORS * LANES (runtime/device). */
export const panelWidth = ({ features }: Pick<Toolchain, "features">): number =>
  features.includes("AVX512F") ? 64 : 16;
/**
 * How products of bf16 are computed: "tiles" by AMX (runtime/device/split.hpp, which prepares operands by AVX-512), "words" by dot products of pairs
 * (AVX512_BF16), or null: converted to f32.
 */
export function bf16ProductsOf({ features }: Pick<Toolchain, "features">): MultiplyInstructions | null {
  if (!features.includes("AVX512F")) return null;
  if (features.some((feature) => /^AMX_?BF16$/.test(feature))) return "tiles";
  return features.includes("AVX512BF16") ? "words" : null;
}
/** The `MOEC_ISA` with which another machine's kernels would compute the same bits as those of this toolchain; `arm64` on any of those CPUs. */
export function isaOf(tools: Pick<Toolchain, "features">): string {
  const products = bf16ProductsOf(tools);
  if (products) return products === "tiles" ? "amx" : "avx512bf16";
  if (tools.features.includes("AVX512F")) return "avx512";
  if (tools.features.includes("ARM_NEON")) return "arm64";
  return tools.features.includes("AVX2") ? "avx2" : "portable";
}

/**
 * The backend to make plans for. Its choices (panel width, products, threads) fit the instruction set and the number of threads. Without a compiler
 * nothing will run, so the defaults do.
 */
export async function hostBackend(threads: number = cores()): Promise<Backend> {
  const tools = await toolchain().catch(() => null);
  const { host } = backends;
  return tools
    ? { ...host, choices: hostChoicesOf(panelWidth(tools), bf16ProductsOf(tools), scheduledThreads(threads)) }
    : host;
}
