// What users of other languages write, and what to write here.

const words: Readonly<Record<string, string>> = {
  const: "`let x = ...` makes a variable",
  var: "`let x = ...` makes a variable",
  def: "a function is `fn name(x: float[N]) -> float[N] { ... }`; a method has no keyword",
  function: "a function is `fn name(x: float[N]) -> float[N] { ... }`; a method has no keyword",
  fn: "functions stand outside of layers; a method has no keyword: `forward(x: float[N]) -> float[N] { ... }`",
  class: "a layer is `layer Name(D) { ... }`",
  export: "every declaration can be imported; leave the word out",
  while: "the only loops are `for x in array` and `for i in 0:n`, which are unrolled",
  elif: "write `else if`",
  self: "members are named without `self`",
  this: "members are named without `this`",
  and: "write `&&`",
  or: "write `||`",
  not: "write `!`",
  True: "write `true`",
  False: "write `false`",
  None: "`none` stands only after `with`",
  lambda: "give the function a name: `fn name(x: float[N]) -> float[N] { ... }`",
};
export const foreignHelp = (word: string): string | null => (Object.hasOwn(words, word) ? (words[word] ?? null) : null);

const signs: Readonly<Record<string, string>> = {
  ";": "leave it out: line ends mean nothing, and statements need no separator",
  "'": 'texts stand in double quotes: "std/nn"',
  '"': "close the text with a second quote on the same line",
  "`": "leave it out",
  "#": "comments begin with `//`",
  "&": "write `&&`",
  "|": "write `||`",
  "^": "a power is `x ** 2`",
  "?": "write `where(condition, a, b)` for tensors, `if` for what is known when compiling",
  $: "holes `${...}` are for templates in TypeScript",
};
export const signHelp = (sign: string): string =>
  (Object.hasOwn(signs, sign) ? signs[sign] : undefined) ??
  "names are made of the letters a to z, digits and `_`; comments begin with `//`";
