// Shows the progress of training: on a terminal a line that is redrawn, elsewhere a new line every ten seconds.
import { createLogUpdate } from "log-update";
import { sum } from "../compiler/types/numbers.ts";
import type { Tensor } from "../runtime/executable/executable.ts";
import { numbers } from "../runtime/tensor.ts";
import type { TrainStep } from "../runtime/training/loop.ts";
import { colorsOf, note, showCount, showTime } from "./output.ts";

interface Progress {
  step(step: TrainStep): void;
  /** Ends redrawing, and leaves the last line. */
  done(): void;
}
const every = 10;

/** Redraws only on terminals that support it: some report no size, or TERM=dumb. */
export const progress = (stream: NodeJS.WriteStream): Progress =>
  stream.isTTY && stream.rows > 1 && stream.columns > 20 && process.env["TERM"] !== "dumb"
    ? live(stream)
    : printedProgress(stream.isTTY && stream.columns > 20 ? stream.columns - 1 : 120);

function live(stream: NodeJS.WriteStream): Progress {
  const update = createLogUpdate(stream);
  const colors = colorsOf(stream);
  let drawn = Number.NEGATIVE_INFINITY;
  return {
    step(step) {
      if (step.seconds - drawn < 0.1 && step.step < step.steps && step.heldOut === null) return;
      drawn = step.seconds;
      update(progressText(step, stream.columns - 1, Math.max(1, stream.rows - 2), colors.cyan));
    },
    done: () => update.done(),
  };
}
/** The progress line, with the picture of expert load beside it if it fits, else below it in at most four lines. */
export function progressText(step: TrainStep, width: number, height: number, color: (text: string) => string): string {
  const head = line(step, width);
  const room = width - head.length - 2;
  const [beside = "", ...more] = loadLines(step.metrics, room);
  if (more.length === 0 && beside.length <= room) return beside === "" ? head : `${head}  ${color(beside)}`;
  const below = loadLines(step.metrics, width).filter((text) => text.length <= width);
  return [head, ...below.slice(0, Math.min(4, height - 1)).map(color)].join("\n");
}
/** Prints lines; each shows as many layers of the picture as fit beside the text. */
function printedProgress(width: number): Progress {
  let shown = Number.NEGATIVE_INFINITY;
  return {
    step(step) {
      if (step.seconds - shown < every && step.step < step.steps && step.heldOut === null) return;
      shown = step.seconds;
      const head = line(step, width);
      const room = width - head.length - 2;
      const [load = ""] = loadLines(step.metrics, room);
      note(load !== "" && load.length <= room ? `${head}  ${load}` : head);
    },
    done: () => {},
  };
}
/** The parts that fit the width; those with the highest rank are left out first. */
function line(shown: TrainStep, width: number): string {
  const { step, steps, loss, tokensPerSecond, secondsLeft, heldOut } = shown;
  const parts = [
    { text: `step ${String(step).padStart(String(steps).length)}/${steps}`, rank: 0 },
    { text: `loss ${loss.toFixed(3)}`, rank: 1 },
    ...(heldOut === null ? [] : [{ text: `held out ${heldOut.toFixed(3)}${besideBest(shown)}`, rank: 2 }]),
    { text: `${showCount(tokensPerSecond)} tokens/s`, rank: 4 },
    { text: `${showTime(secondsLeft)} left`, rank: 3 },
  ];
  const upTo = (rank: number): string =>
    parts
      .filter((p) => p.rank <= rank)
      .map((p) => p.text)
      .join("  ");
  return [4, 3, 2, 1].map(upTo).find((text) => text.length <= width) ?? upTo(0);
}
/** Whether an evaluation was kept as the best, or which was better. */
function besideBest({ step, best, kept }: TrainStep): string {
  if (kept !== null) return " (best)";
  return best === null || best.step === step ? "" : ` (best ${best.heldOut.toFixed(3)})`;
}

const blocks = "▁▂▃▄▅▆▇█";
/** Each layer's expert load as block characters, in lines of at most `width`: half height is an even share, full height twice that or more. */
export function loadLines(metrics: Readonly<Record<string, Tensor>>, width: number): string[] {
  const loads = Object.entries(metrics).filter(
    ([name, t]) => name.split(".").at(-1) === "load" && t.shape.length === 1,
  );
  const lines: string[] = [];
  for (const [, t] of loads) {
    const next = layerPicture(numbers(t));
    const last = lines.at(-1);
    if (last !== undefined && last.length + next.length < width) lines[lines.length - 1] = `${last} ${next}`;
    else lines.push(next);
  }
  return lines;
}
function layerPicture(load: Float64Array): string {
  const mean = sum(load) / load.length;
  const group = Math.ceil(load.length / 16);
  return Array.from({ length: Math.ceil(load.length / group) }, (_, i) => {
    const part = load.subarray(i * group, (i + 1) * group);
    const share = sum(part) / part.length / Math.max(mean, 1e-9);
    return blocks[Math.min(7, Math.floor(share * 4))] ?? " ";
  }).join("");
}
