/** CPU seconds of a synchronous run: what else the machine does is not in it. */
export function timed<T>(run: () => T): { readonly result: T; readonly seconds: number } {
  const start = process.cpuUsage();
  const result = run();
  const { user, system } = process.cpuUsage(start);
  return { result, seconds: (user + system) / 1e6 };
}
