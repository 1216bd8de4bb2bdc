// Every diagnostic code: a number that never changes its meaning, a title, and what a user should know about it.
// E01xx syntax · E02xx types and sizes · E03xx names and calls · E04xx layers, states, losses, entries · E05xx optimizers

interface Row {
  readonly title: string;
  /** Shown by documentation: when the error occurs and the usual remedy. */
  readonly explain: string;
}

export const codes = {
  E0101: {
    title: "something else was expected here",
    explain: "The grammar allows other tokens at this place; the message names them. GRAMMAR.md holds the whole grammar.",
  },
  E0102: {
    title: "a character or comment that the language does not have",
    explain: "Names are ASCII letters, digits and `_`; comments begin with `//`; there are no semicolons.",
  },
  E0103: {
    title: "a bracket is not closed",
    explain: "Every `(`, `[` and `{` needs its own closing bracket, in the right order.",
  },
  E0104: {
    title: "a closing bracket closes nothing",
    explain: "There is a `)`, `]` or `}` without an opening bracket before it.",
  },
  E0105: {
    title: "comparisons do not chain",
    explain: "`a < b < c` is not allowed: write `a < b && b < c`.",
  },
  E0106: {
    title: "not a dtype",
    explain: "A tensor type begins with one of `f32 f64 bf16 i32 bool float`.",
  },
  E0107: {
    title: "nested too deeply",
    explain: "Brackets, blocks and chains of operators may be nested 200 levels deep. Name parts with `let`.",
  },
  E0108: {
    title: "`...S` is not the first axis",
    explain: "A spread stands for any leading axes, so a type has at most one, and it comes first.",
  },
  E0109: {
    title: "an arrow type cannot stand here",
    explain: "Arrow types occur in headers: `float[N] -> float[N]`, `(A, B) -> C`, `((A, B) -> C)[L]`.",
  },
  E0110: {
    title: "an expression that does nothing",
    explain: "Only a call can be a statement. `x = ...` sets a variable, `let x = ...` makes one.",
  },
  E0111: {
    title: "a bad number",
    explain: "Numbers are `1`, `0.5`, `2e-3`. They fit in 64-bit floats. A name cannot begin with a digit.",
  },
  E0112: {
    title: "an argument given in order after one given by name",
    explain: "Arguments in order come first: `f(x, axis: 1)`.",
  },
  E0113: {
    title: "a hole that cannot hold this",
    explain: "`${...}` in a template holds a number, a boolean, a dtype or a declaration made by another `moe` template.",
  },
} as const satisfies Readonly<Record<string, Row>>;

export type Code = keyof typeof codes;
