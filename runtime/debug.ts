// MOEC_DEBUG is a ladder: 1 passes and their times, 5 every form after every pass. Each rung includes those below; all of it goes to stderr.
import type { Observer } from "../compiler/pass.ts";

export const debugLevel = (environment: NodeJS.ProcessEnv = process.env): number =>
  Number(environment["MOEC_DEBUG"] ?? 0) || 0;

const toStderr = (text: string): void => void process.stderr.write(text);

export function debugging(level = debugLevel(), write = toStderr): Observer {
  return {
    timings: new Map(),
    after({ pass, seconds, text }) {
      if (level >= 1) write(`${pass.padEnd(12)} ${(seconds * 1000).toFixed(1)} ms\n`);
      if (level >= 5) write(`${text()}\n`);
    },
  };
}
