// Every diagnostic code: a number that never changes its meaning, a title, and what a user should know about it.
// E01xx syntax · E02xx types and sizes · E03xx names and calls · E04xx layers, states, losses, entries · E05xx optimizers
import { sizeFlagText } from "./flag-text.ts";

interface Row {
  readonly title: string;
  /** For the documentation: when the error occurs, and the usual remedy. */
  readonly explain: string;
}

export const codes = {
  E0101: {
    title: "something else was expected here",
    explain:
      "The grammar allows other tokens at this place; the message names them. GRAMMAR.md holds the whole grammar.",
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
    explain:
      "`${...}` in a template holds a number, a boolean, a dtype or a declaration made by another `moe` template.",
  },
  E0201: {
    title: "this operation needs other dtypes",
    explain:
      "Arithmetic needs numbers, `&&`, `||` and `!` need booleans, `div` needs whole numbers. Convert with `f32(x)`, `i32(x)`, or compare.",
  },
  E0202: {
    title: "shapes do not stretch to one",
    explain:
      "Axes are aligned at the right; an axis that is missing or literally 1 stretches; two different sizes never fit. Add axes with `x[..., new]`.",
  },
  E0203: {
    title: "`@` does not fit",
    explain: "`@` multiplies the last axis of the left side with the last axis but one of the right, and needs floats.",
  },
  E0204: {
    title: "an argument does not have the shape that is declared",
    explain:
      "Arguments match the declared type exactly: names alone in it are found from the arguments, everything else is compared.",
  },
  E0205: {
    title: "a dtype does not convert",
    explain:
      "Floats convert by themselves to a declared type; nothing else does. Convert with `f32(x)`, `i32(x)`, or compare.",
  },
  E0206: {
    title: "a result does not have the type that is declared",
    explain: "What a body returns, or `update` sets, has exactly the declared shape; floats convert.",
  },
  E0207: {
    title: "there is no such axis",
    explain:
      "Axes count from 0, or from the end: -1 is the last. Where a type has `...S` they count from the end. `axis: S` are the axes of `...S`.",
  },
  E0208: {
    title: "`reshape` changes the number of elements",
    explain: "The products of both shapes must be the same expression of sizes.",
  },
  E0209: {
    title: "tensors do not concatenate",
    explain: "All axes but the one along which they are joined must be the same.",
  },
  E0210: {
    title: "an index does not fit",
    explain: "There are too many indices, or an index that is not i32, or rows that do not match it.",
  },
  E0211: {
    title: "not a size",
    explain: "Sizes are whole numbers from 0 up. `/` on sizes must come out even.",
  },
  E0212: {
    title: "a value does not stretch to its declared type",
    explain:
      "A value is repeated to the type it is declared with, where its axes, aligned at the right, are equal to the type's, missing, or 1.",
  },
  E0213: {
    title: "`if` asks something that is not known when compiling",
    explain:
      "`if` takes header values, comparisons of sizes, `training` and `generating`. For tensors there is `where`.",
  },
  E0215: {
    title: "a variable keeps its type",
    explain: "`x = ...` keeps the type of `x`; `let x = ...` makes a new variable.",
  },
  E0216: {
    title: "an index that passes the end of what it indexes",
    explain:
      "A table of 128 positions does not serve rows of 256. If zeros are to be read past its end, say so: `where(at < Context, at, -1)`.",
  },
  E0301: {
    title: "a name that means nothing here",
    explain: "The name is not declared, imported, or given by a header or a type.",
  },
  E0302: {
    title: "declared twice",
    explain:
      "Each name is declared once in a file, in a header, in one `let`, and in a layer, unless under opposite conditions.",
  },
  E0303: {
    title: "a file or module that is not there",
    explain:
      "`std/...` are modules of the standard library; paths beginning with `./` or `../` are relative to the file.",
  },
  E0304: {
    title: "the module does not declare this name",
    explain: "Every declaration of a module can be imported, by its name.",
  },
  E0305: {
    title: "arguments that the callee does not take",
    explain: "There are too many, or one is unknown, or given twice.",
  },
  E0306: {
    title: "an argument is missing",
    explain:
      "Arguments without a default must be given. A function's header size is found by itself only where its result has a declared type.",
  },
  E0307: {
    title: "this cannot be called, or made",
    explain:
      "Functions, layers and methods are called. A layer yet to be made, `Linear(D, H)`, becomes a member first.",
  },
  E0308: {
    title: "a function or layer contains itself",
    explain: "Functions and layers never call themselves, directly or through others. Loops are `for`.",
  },
  E0309: {
    title: "a body ends without its result",
    explain: "Each way through the body must end with `return`.",
  },
  E0310: {
    title: "another number of results",
    explain: "`let (a, b) = ...` takes as many names as there are results; `_` drops one.",
  },
  E0311: {
    title: "not a value that can stand here",
    explain: "A tensor or number is needed, and this is a layer, a function, a list or nothing.",
  },
  E0313: {
    title: "no such member",
    explain:
      "Members are a layer's parameters, states, layers and methods; what an arrow type promises has only `forward`.",
  },
  E0314: {
    title: "a header value of another kind",
    explain: "A header's name takes a size, a number, a boolean, a layer or a function, as its declaration says.",
  },
  E0316: {
    title: "a variable that nothing reads before its block ends",
    explain:
      "In the block of an `if` or a `for`, `let x = ...` makes another `x`, which ends with the block. `x = ...` changes the one around it.",
  },
  E0317: {
    title: "a result that nothing takes",
    explain:
      "A function, and a layer that states no loss, metric or state, change nothing, so a call that stands alone, `relu(x)`, does nothing: `x = relu(x)`.",
  },
  E0401: {
    title: "the layer or function is not what the arrow type says",
    explain: "What is passed for an arrow type must take its arguments and give its results.",
  },
  E0402: {
    title: "not allowed in this body",
    explain:
      "`loss`, `metric`, `state` and `update` stand in methods of layers; `state` and `update` in optimizers too. In `merged()` stands `update` alone.",
  },
  E0403: {
    title: "not allowed in a routed layer",
    explain: "A layer called by `experts[index](x)` sees one row: no `loss`, `metric`, `update`, `state`, and no `S`.",
  },
  E0404: {
    title: "this cannot be set",
    explain:
      "`update` sets states, `x = ...` sets variables. Parameters change in the optimizer, and in a layer's `merged()`.",
  },
  E0405: {
    title: "a loss is a single number",
    explain: "Take the mean or the sum.",
  },
  E0406: {
    title: "no such declaration or method to compile",
    explain: "The entry names a declaration of the file, and a method of it.",
  },
  E0407: {
    title: "the program needs a value",
    explain: `A header's name without a default is given when compiling: ${sizeFlagText("NAME")}.`,
  },
  E0408: {
    title: "an entry needs a size",
    explain: "The sizes in the types of an entry's arguments are given by name, or found from the inputs.",
  },
  E0409: {
    title: "an array of layers does not fit",
    explain: "The array has another length than the type says, or its layers have different signatures.",
  },
  E0410: {
    title: "arguments of an array of layers do not fit",
    explain:
      "For `experts[index](x)`, what stands before a row must begin the index's axes; for `experts[:](x)` the first axis is the number of layers.",
  },
  E0411: {
    title: "`optimize` stands in `train` only",
    explain: "It says how the model is trained, so it stands in the method `train`.",
  },
  E0412: {
    title: "nothing to train",
    explain: "`train` must state a loss, and end with `optimize with ...`, which says what is trained and how.",
  },
  E0413: {
    title: "an index that chooses more layers than there are",
    explain:
      "A gate over 8 does not fit an array of 4 layers. If the choices past the last are to do nothing, say so: `where(index < E, index, -1)`.",
  },
  E0414: {
    title: "a method that does not fit in place of the layer's",
    explain:
      "In the body of `layer A() = B() { ... }`, a method replaces the one of its name, for methods of `B` too. If one of those calls it, it must have the same parameters and results.",
  },
  E0415: {
    title: "a method that nothing calls, with nearly the name of one of the layer's",
    explain:
      "In the body of `layer A() = B() { ... }`, a method replaces the one of its name. One that differs by a slip of spelling, and that the file never calls, would replace nothing.",
  },
  E0501: {
    title: "a selector that selects nothing",
    explain:
      "A selector is a member's path, as in `blocks.feed.experts`, or the name of a layer, with a path or without.",
  },
  E0502: {
    title: "no `apply` fits a parameter",
    explain: "The first `apply` of the optimizer whose types fit the parameter is used; one of them must.",
  },
  E0503: {
    title: "not an optimizer",
    explain: "`optimize ... with` takes an optimizer with its header, or `none`.",
  },
  E0504: {
    title: "`total` does not fit here",
    explain: "`total(s)` sums a single number over all trained parameters, in optimizers only.",
  },
  E0505: {
    title: "an `optimize` that trains nothing",
    explain: "The first line that fits a parameter is taken. A line without selectors fits all, so it stands last.",
  },
} as const satisfies Readonly<Record<string, Row>>;

export type Code = keyof typeof codes;
