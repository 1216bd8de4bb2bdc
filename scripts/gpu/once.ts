// node --import tsx scripts/gpu/once.ts I: runs case I of the cuda benchmarks twice in bf16, to be run under a profiler. The first run tries variants
// beside their kernels, the second uses those that were chosen. Prints the kernels' times and operands.
import { argv } from "node:process";
import { cudaCases } from "../../bench/cases.ts";
import { Subject } from "../../bench/subject.ts";
import { print, runMain } from "../../cli/output.ts";
import { kernelTable, kernelTimes, unknownLimits } from "../../runtime/measure/kernel-times.ts";

async function main(): Promise<void> {
  const chosen = cudaCases[Number(argv[2])];
  if (!chosen) throw new Error(`name a case by its number, 0 to ${cudaCases.length - 1}`);
  const subject = await Subject.open(chosen, { target: "cuda", precision: "bf16" });
  try {
    await subject.sample();
    const times = kernelTimes(subject.plan, subject.entry, subject, unknownLimits);
    print(`${chosen.name} ${chosen.shape.join(" x ")}\n${kernelTable(times, unknownLimits, "operands")}`);
  } finally {
    subject.close();
  }
}
await runMain(main);
