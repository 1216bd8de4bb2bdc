import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";

const made: string[] = [];
process.on("exit", () => {
  for (const temporaryFolder of made) rmSync(temporaryFolder, { recursive: true, force: true });
});
/** An empty folder that is deleted when the tests end. */
export function temporaryFolder(): string {
  const path = mkdtempSync(join(tmpdir(), "moec-test-"));
  made.push(path);
  return path;
}
