/** Runs a function; returns its result and the process's CPU seconds, which do not include what else the machine does. */
export function withCpuTime<T>(run: () => T): { readonly result: T; readonly seconds: number } {
  const start = process.cpuUsage();
  const result = run();
  const { user, system } = process.cpuUsage(start);
  return { result, seconds: (user + system) / 1e6 };
}
