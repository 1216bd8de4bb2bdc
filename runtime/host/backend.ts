// The host as its C++ compiler and CPU make it.
import { crowd, hostChoicesOf, type Products } from "../../compiler/kernel/schedule.ts";
import { type Backend, backends } from "../../compiler/targets.ts";
import { cores } from "./machine.ts";
import { type Toolchain, toolchain } from "./toolchain.ts";

/** Columns of a register tile: TILE_VECTORS * LANES of runtime/device. */
export const panelOf = ({ features }: Pick<Toolchain, "features">): number => (features.includes("AVX512F") ? 64 : 16);
/** How products are made: by tiles of bf16 (runtime/device/split.hpp, which makes the terms by vectors of AVX-512), by words of two of it, or one by one. */
export function productsOf({ features }: Pick<Toolchain, "features">): Products | null {
  if (!features.includes("AVX512F")) return null;
  if (features.some((feature) => /^AMX_?BF16$/.test(feature))) return "tiles";
  return features.includes("AVX512BF16") ? "words" : null;
}
/** What `MOEC_ISA` would have to be for kernels that make the same numbers as those of this toolchain. */
export function instructionsOf(tools: Pick<Toolchain, "features">): string {
  const products = productsOf(tools);
  if (products) return products === "tiles" ? "amx" : "avx512bf16";
  if (tools.features.includes("AVX512F")) return "avx512";
  return tools.features.includes("AVX2") ? "avx2" : "portable";
}

/** Plans of it fit the instruction sets that kernels will be compiled for, and the number of threads. Without a compiler nothing will run: weights lie in rows. */
export async function hostBackend(threads: number = cores()): Promise<Backend> {
  const tools = await toolchain().catch(() => null);
  const { host } = backends;
  return tools ? { ...host, choices: hostChoicesOf(panelOf(tools), productsOf(tools), crowd(threads)) } : host;
}
