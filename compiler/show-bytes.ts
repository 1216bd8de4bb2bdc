/** For example `1.5 KiB` for 1536: the unit of all memory, files and traffic that is printed. */
export function showBytes(bytes: number): string {
  const unit = bytes < 1024 ? 0 : Math.min(4, Math.floor(Math.log2(bytes) / 10));
  return `${Number((bytes / 1024 ** unit).toPrecision(3))} ${["B", "KiB", "MiB", "GiB", "TiB"][unit] ?? ""}`;
}
