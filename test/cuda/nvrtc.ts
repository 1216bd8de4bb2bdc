// NVRTC for tests; without one, null, and a line that says so.
import { Problem } from "../../compiler/diagnostic.ts";
import { type Nvrtc, nvrtc } from "../../runtime/nvrtc.ts";

export async function foundNvrtc(): Promise<Nvrtc | null> {
  try {
    return await nvrtc();
  } catch (error) {
    if (!(error instanceof Problem)) throw error;
    console.log(`skipped: ${error.message.split("\n")[0] ?? ""}; ${error.help}`);
    return null;
  }
}
