// How training is going: a line that is drawn over itself on a terminal, a line every ten seconds elsewhere.
import { createLogUpdate } from "log-update";
import type { Tensor } from "../runtime/executable.ts";
import type { Step } from "../runtime/loop.ts";
import { numbers } from "../runtime/tensor.ts";
import { colorsOf, note, showCount, showTime } from "./output.ts";

export interface Progress {
  step(step: Step): void;
  /** Leaves the last line as it is. */
  done(): void;
}
const every = 10;

/** Some terminals say that they have no size: nothing can be drawn over on them. */
export const progress = (stream: NodeJS.WriteStream): Progress =>
  stream.isTTY && stream.rows > 1 && stream.columns > 40 ? live(stream) : plain();

function live(stream: NodeJS.WriteStream): Progress {
  const update = createLogUpdate(stream);
  const colors = colorsOf(stream);
  let drawn = Number.NEGATIVE_INFINITY;
  return {
    step(step) {
      if (step.seconds - drawn < 0.1 && step.step < step.steps) return;
      drawn = step.seconds;
      const head = line(step);
      const load = loadPicture(step.metrics, stream.columns - head.length - 3);
      update(`${head}  ${colors.cyan(load)}`);
    },
    done: () => update.done(),
  };
}
function plain(): Progress {
  let shown = Number.NEGATIVE_INFINITY;
  return {
    step(step) {
      if (step.seconds - shown < every && step.step < step.steps && step.heldOut === null) return;
      shown = step.seconds;
      note(`${line(step)}  ${loadPicture(step.metrics, 60)}`.trimEnd());
    },
    done: () => {},
  };
}
function line({ step, steps, loss, tokensPerSecond, secondsLeft, heldOut }: Step): string {
  const width = String(steps).length;
  return [
    `step ${String(step).padStart(width)}/${steps}`,
    `loss ${loss.toFixed(3)}`,
    ...(heldOut === null ? [] : [`held out ${heldOut.toFixed(3)}`]),
    `${showCount(tokensPerSecond)} tokens/s`,
    `${showTime(secondsLeft)} left`,
  ].join("  ");
}

const blocks = "▁▂▃▄▅▆▇█";
/** Each layer's expert load as a few blocks: the middle is an even share, the top is twice that or more. Layers that do not fit are left out. */
export function loadPicture(metrics: Readonly<Record<string, Tensor>>, width: number): string {
  const loads = Object.entries(metrics).filter(
    ([name, t]) => name.split(".").at(-1) === "load" && t.shape.length === 1,
  );
  let text = "";
  for (const [, t] of loads) {
    const next = layerPicture(numbers(t));
    if (text.length + next.length + 1 > width) break;
    text += text === "" ? next : ` ${next}`;
  }
  return text;
}
function layerPicture(load: Float64Array): string {
  const mean = load.reduce((a, b) => a + b, 0) / load.length;
  const group = Math.ceil(load.length / 16);
  return Array.from({ length: Math.ceil(load.length / group) }, (_, i) => {
    const part = load.subarray(i * group, (i + 1) * group);
    const share = part.reduce((a, b) => a + b, 0) / part.length / Math.max(mean, 1e-9);
    return blocks[Math.min(7, Math.floor(share * 4))] ?? " ";
  }).join("");
}
