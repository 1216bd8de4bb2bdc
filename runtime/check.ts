// The errors of a program, without what compiles it.
import { checkAll, load, loadFile } from "../compiler/check/index.ts";
import { type Diagnostic, Problem } from "../compiler/diagnostic.ts";
import { requireString } from "../compiler/require-string.ts";

/** All errors of a file and of what it imports that do not depend on sizes which only a caller gives. */
export function checkFile(path: string): readonly Diagnostic[] {
  requireString("the file", path, 'its path: checkFile("model.moe")');
  return withoutStackOverflow(() => checkAll(loadFile(path)));
}
/** The same for a text; errors call it `name`. */
export function checkText(name: string, text: string): readonly Diagnostic[] {
  requireString("the text", text, "a name for errors and the text: checkText(name, text)");
  return withoutStackOverflow(() => checkAll(load({ name, text })));
}

/** Runs the passes. A chain of operations too long for their recursion becomes a Problem instead of a stack overflow. */
export function withoutStackOverflow<T>(make: () => T): T {
  try {
    return make();
  } catch (cause) {
    if (!(cause instanceof RangeError && /call stack/.test(cause.message))) throw cause;
    throw new Problem(
      "the program is too deep: thousands of its operations wait for one another, one by one",
      "give its loops fewer turns, and its lists of layers fewer layers",
      { cause },
    );
  }
}
