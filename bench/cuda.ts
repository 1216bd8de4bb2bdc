// `npm run bench -- cuda`: measures cases on a GPU, compared with the best dense product of the same run, and with PyTorch if it is installed.
import { note, print, printJson, table } from "../cli/output.ts";
import { Problem } from "../compiler/diagnostic.ts";
import { cudaDriver, type Device } from "../runtime/cuda/driver.ts";
import { kernelTable, kernelTimes, unknownLimits } from "../runtime/measure/kernel-times.ts";
import { type Case, cudaCases, type Pass } from "./cases.ts";
import { type Peer, rateOf, ratesOf } from "./measure.ts";
import { findPython, peerTimes } from "./peers.ts";
import { type Arithmetic, Subject } from "./subject.ts";

/** A result, one line of `--json`. Rates and ceiling are in TFLOP/s. */
export interface CudaFigure {
  readonly name: string;
  readonly shape: readonly number[];
  readonly pass: Pass;
  readonly seconds: number;
  readonly rate: number;
  /** The best rate that moec or PyTorch reached on the dense product. */
  readonly ceiling: number;
  readonly share: number;
  readonly peers: readonly Peer[];
}
export interface CudaOptions extends Arithmetic {
  /** Take the best of at least so many runs, and go on until `seconds` have passed. */
  readonly times: number;
  readonly seconds: number;
  /** A Python interpreter with PyTorch to compare with; null: none. */
  readonly python: string | null;
  /** Called with a table of each case's kernels. */
  readonly kernels?: (table: string) => void;
  /** Called with each result when it is measured. */
  readonly figure?: (figure: CudaFigure) => void;
}

/** Measures the cases in order; the first must be the dense product that the others are compared with. */
export async function measureCuda(cases: readonly Case[], options: CudaOptions): Promise<CudaFigure[]> {
  const all: CudaFigure[] = [];
  let ceiling = 0;
  for (const c of cases) {
    const own = await secondsOf(c, options);
    const times =
      options.python === null || c.program ? {} : await peerTimes(options.python, c, "cuda", arithmetic(options));
    for (const [pass, seconds] of own) {
      const [rate, peers] = [tera(rateOf(c.work[pass], seconds)), ratesOf(times, c, pass).map(inTera)];
      if (c.name === "dense") ceiling = Math.max(ceiling, rate, ...peers.map((p) => p.rate));
      const { name, shape } = c;
      all.push({ name, shape, pass, seconds, rate, ceiling, share: rate / ceiling, peers });
      options.figure?.(all.at(-1) as CudaFigure);
    }
  }
  return all;
}
/** The precision as peers.py takes it. */
const arithmetic = ({ precision, tf32 }: Arithmetic): "f32" | "tf32" | "bf16" =>
  tf32 && precision === "f32" ? "tf32" : precision;
const tera = (giga: number): number => giga / 1000;
const inTera = ({ name, rate }: Peer): Peer => ({ name, rate: tera(rate) });

async function secondsOf(c: Case, { times, seconds, kernels, ...numbers }: CudaOptions): Promise<[Pass, number][]> {
  const subject = await Subject.open(c, { target: "cuda", ...numbers });
  try {
    const start = performance.now();
    for (let i = 0; i < times || performance.now() - start < seconds * 1000; i++) await subject.sample();
    kernels?.(
      `${c.name} ${c.shape.join(" x ")}: ${kernelTable(kernelTimes(subject.plan, subject.entry, subject, unknownLimits), unknownLimits, "operands")}`,
    );
    return (["forward", "step"] as const).flatMap((pass): [Pass, number][] =>
      c.work[pass] === undefined ? [] : [[pass, subject.best[pass]]],
    );
  } finally {
    subject.close();
  }
}

/** Without a GPU it prints one line that says so. */
export async function benchCuda(
  numbers: Arithmetic,
  flags: { json: boolean; kernels: boolean; only?: string | undefined },
): Promise<void> {
  const device = gpu();
  if (device === null) return;
  const wanted = cudaCases.filter((_, i) => i === 0 || flags.only === undefined || i === Number(flags.only));
  const figures = await measureCuda(wanted, {
    ...numbers,
    times: 5,
    seconds: 2,
    python: findPython(),
    ...(flags.kernels ? { kernels: note } : {}),
    ...(flags.json ? { figure: (f) => printJson({ device: device.name, ...numbers, ...f }) } : {}),
  });
  if (!flags.json)
    print(
      `${device.name}, sm_${device.major}${device.minor}, ${arithmetic(numbers)}\n${table([head, ...figures.map(row)])}`,
    );
}
function gpu(): Device | null {
  try {
    return cudaDriver().devices[0];
  } catch (error) {
    if (!(error instanceof Problem)) throw error;
    note(`bench cuda is skipped, for it needs a GPU: ${error.message.split("\n")[0]}`);
    return null;
  }
}
const head = ["name", "shape", "pass", "ms", "TFLOP/s", "of the dense ceiling", "peers"];
const row = ({ name, shape, pass, seconds, rate, share, peers }: CudaFigure): string[] => [
  name,
  shape.join(" x "),
  pass,
  (seconds * 1000).toFixed(3),
  rate.toFixed(1),
  `${(100 * share).toFixed(1)} %`,
  peers.map((p) => `${p.name} ${p.rate.toFixed(1)}`).join(", "),
];
