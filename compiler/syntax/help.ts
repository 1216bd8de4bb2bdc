// Remedies for keywords, names and symbols of other languages.

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
  extends: "a layer holds others as members, `up: Linear(D, H)`, or is one: `layer Name(D) = Linear(D, D) { ... }`",
  override: "a method in the body of `layer A() = B() { ... }` replaces that of its name, without a word",
  super: "a method that is replaced cannot be called: write out what it does, or give the new one another name",
  buffer: "what is saved and not trained is a state: `state name: f32[E] = 0`",
};
export const foreignHelp = (word: string): string | null => (Object.hasOwn(words, word) ? (words[word] ?? null) : null);

/** For each line of names, apart by blanks, what is said. */
export type Remedies = readonly (readonly [names: string, help: string])[];
/** Functions and values of PyTorch and NumPy that are named or written differently here. */
export const foreignNames: Remedies = [
  ["ones zeros full ones_like zeros_like", "a number stretches to a declared type: `let y: float[N, D] = 1`"],
  ["expand repeat broadcast_to", "a value stretches to a declared type: `let y: float[N, D] = x`"],
  ["None null newaxis unsqueeze", "in an index, `new` makes an axis: `x[..., new]`"],
  ["permute swapaxes movedim", "two axes are exchanged at a time: `transpose(x, 0, 1)`"],
  ["view flatten squeeze", "write `reshape(x, [N, D])`"],
  ["cat", "write `concat([x, y], axis: 0)`"],
  ["stack", "give each an axis and join them: `concat([x[new], y[new]], axis: 0)`"],
  ["hstack vstack", "write `concat([x, y], axis: 0)`"],
  ["chunk tensor_split", "take slices: `x[:, :D / 2]` and `x[:, D / 2:]`"],
  ["unbind select", "an index takes one place: `x[0]`"],
  ["index_select", "write `take(x, index, axis: a)`"],
  ["flip", "write `take(x, N - 1 - range(N), axis: a)`"],
  ["roll", "write `concat([x[N - 1:], x[:N - 1]], axis: 0)`"],
  [
    "gather take_along_axis take_along_dim",
    "along the last axis write `take(x, index, axis: -1)`; transpose another to there first",
  ],
  ["diag diagonal", "write `take(x, range(N)[:, new], axis: 1)[:, 0]`"],
  ["trace", "write `sum(x * (range(N)[:, new] == range(N)))`"],
  ["index_add", "write `scatter(rows, index, N, axis: a)`"],
  ["scatter_add", "along the last axis write `scatter(x, index, N, axis: -1)`; transpose another to there first"],
  ["matmul mm bmm", "write `x @ y`"],
  ["einsum", 'write `x @ y`, or `sum(x[..., new] * y, axis: a)`; "ij,kj->ik" is `x @ transpose(y, -2, -1)`'],
  ["outer", "write `x[:, new] * y`"],
  ["dot inner", "write `sum(x * y)`"],
  ["scaled_dot_product_attention", "write `softmax(scale * q @ transpose(k, -2, -1), where: mask) @ v`"],
  ["log2 log10", "write `log(x) / log(2)`, or `/ log(10)`"],
  ["pow square", "a power is `x ** 2`"],
  ["exp2", "write `2 ** x`"],
  ["prod", "write `exp(sum(log(x)))`, where all are positive"],
  ["elu", "write `where(x > 0, x, expm1(minimum(x, 0)))`"],
  ["leaky_relu", "write `maximum(0.01 * x, x)`"],
  ["normalize", "write `x * rsqrt(sum(x * x, axis: -1, keep: true))`"],
  ["pad", "join zeros: `let none: float[B, 1, D] = 0`, then `concat([none, x], axis: 1)`"],
  ["interpolate", "nearest: `let y: float[N, 2, D] = x[:, new]`, then `reshape(y, [2 * N, D])`"],
  ["Conv1d Conv2d conv1d conv2d", "a convolution is a loop over its taps, as grammar/GRAMMAR.md shows at `for`"],
  ["cumprod", "write `exp(cumsum(log(x)))`, where all are positive"],
  ["tensor array constant", "a number stands for itself: `0.5 * x`; a table is a parameter or an argument"],
  ["clamp clip", "write `minimum(maximum(x, low), high)`"],
  ["masked_fill", "write `where(mask, value, x)`"],
  ["log_softmax", "write `x - logsumexp(x)[..., new]`; along the first axis `x - logsumexp(x, axis: 0)`"],
  ["argmin", 'write `argmax(-x)`, with `argmax` of "std/nn"'],
  ["max_pool1d max_pool2d MaxPool1d MaxPool2d", "write `max(reshape(x, [B, T / 2, 2, D]), axis: 2)`"],
  ["avg_pool1d avg_pool2d AvgPool1d AvgPool2d", "write `mean(reshape(x, [B, T / 2, 2, D]), axis: 2)`"],
  [
    "BatchNorm1d BatchNorm2d batch_norm",
    "write it as a layer: its running means are states, `state center: f32[C] = 0`, which it updates `if training`",
  ],
  ["argsort", "write `let (_, index) = sort(x)`"],
  ["eye", "write `f32(range(N)[:, new] == range(N))`"],
  ["repeat_interleave", "write `x[div(range(K * N), K)]`: each row K times"],
  ["bincount histc", 'write `count(index, E)`, of "std/nn"'],
  [
    "nonzero masked_select",
    "no size depends on data: `where(mask, x, 0)`, an index that is -1 for none, or the K best by `top_k`",
  ],
  ["tril triu", "a mask is made of places: `range(T)[:, new] >= range(T)`"],
  ["any", "write `sum(mask) > 0`"],
  ["all", "write `sum(!mask) == 0`"],
  ["isnan", "write `x != x`"],
  ["norm", "write `sqrt(sum(x * x, axis: -1))`"],
  ["std", "write `sqrt(mean((x - mean(x, axis: -1, keep: true)) ** 2, axis: -1))`"],
  ["var", "write `mean((x - mean(x, axis: -1, keep: true)) ** 2, axis: -1)`"],
  ["rand random rand_like", "write `uniform([N, D])`"],
  ["randint", "write `i32(n * uniform([N, D]))`"],
  ["randn randn_like", "write `gaussian([N, D])`"],
  ["exponential", "write `-log(1 - uniform([N, D]))`"],
  ["bernoulli", "write `uniform([N, D]) < p`"],
  ["multinomial", 'write `top_k(logits + gumbel(uniform([N, E])), K)`, with `gumbel` of "std/gates"'],
  ["len", "sizes have names: those of a type"],
  ["int", "a tensor is converted by `i32(x)`, a number is rounded by `floor(x)`"],
  ["print", "`metric name = x` is reported each step"],
  ["size", "sizes have names: those of a type"],
  ["to type", "a tensor is converted by the dtype's name: `f32(x)`, `i32(x)`, `float(x)`"],
  ["long", "a tensor is converted by `i32(x)`"],
  ["no_grad stop_gradient", "write `detach(x)`"],
  [
    "Sequential ModuleList",
    "an array holds layers, `blocks: Block(D)[L]`, and a method calls them: `for block in blocks { x = block(x) }`",
  ],
  ["Parameter", "a parameter is a member: `param weight: float[In, Out] = normal()`"],
  [
    "ReLU GELU SiLU Softplus Dropout",
    'it is a function, called in a method: `relu`, `gelu`, `silu`, `softplus` and `dropout` of "std/nn"',
  ],
  ["Sigmoid Tanh Softmax", "it is a function, called in a method: `sigmoid(x)`, `tanh(x)`, `softmax(x)`"],
  ["MultiheadAttention", 'write `Attention(D, Heads)`, of "std/attention"'],
  ["CrossEntropyLoss", 'write `cross_entropy(logits, target)`, of "std/loss"'],
  [
    "layer_norm rms_norm",
    'it is a layer, a member that a method calls: `norm: RmsNorm(D)` of "std/nn", then `norm(x)`',
  ],
  ["MSELoss mse_loss", "write `mean((x - y) ** 2)`"],
  ["L1Loss l1_loss", "write `mean(abs(x - y))`"],
  [
    "BCEWithLogitsLoss BCELoss binary_cross_entropy binary_cross_entropy_with_logits",
    'of logits it is `mean(softplus(z) - z * y)`, with `softplus` of "std/nn"',
  ],
];
const alongLast = "it is along the last axis: `transpose` another to there first";
/** Builtins that take fewer arguments here than in other libraries. */
const shorter: Remedies = [
  ["range", "it begins at 0: from a until before b is `a + range(b - a)`"],
  ["reshape uniform gaussian", "the sizes are one list: `[N, D]`"],
  ["top_k sort", alongLast],
];
/** The remedy for an argument that is missing; null if there is none beside giving it. */
export const missingArgumentHelp = (builtin: string, name: string): string | null =>
  name === "shape" && /^(gaussian|uniform)$/.test(builtin)
    ? `give it the sizes: \`${builtin}([N, D])\`; those of a parameter are found by \`normal(std: 1)\` of "std/init"`
    : null;
/** Arguments that builtins take in other libraries and lack here. */
const absent: readonly (readonly [functions: string, names: string, help: string])[] = [
  ["top_k sort", "axis dim", alongLast],
  ["sort", "descending", "in descending order it is `top_k(x, N)`, all N of the axis"],
  ["top_k", "largest", "the least ones are the first of `sort(x)`"],
];
/** The remedy for an argument that this builtin lacks; null if there is none. */
export const absentArgumentHelp = (builtin: string, name: string): string | null =>
  absent.find(([all, names]) => all.split(" ").includes(builtin) && names.split(" ").includes(name))?.[2] ?? null;
export const tooManyHelp = (name: string): string | null =>
  shorter.find(([all]) => all.split(" ").includes(name))?.[1] ?? null;
/** Arguments of PyTorch and NumPy that are named differently here. */
export const foreignArguments: readonly (readonly [names: string, here: string])[] = [
  ["dim dims axes", "axis"],
  ["keepdim keepdims", "keep"],
  ["weight_decay", "decay"],
  ["betas", "beta1"],
  ["label_smoothing", "smooth"],
];
/** The name, among `names`, of what another library calls `name`. */
export const localArgumentName = (name: string, names: readonly string[]): string | undefined =>
  foreignArguments.find(([all, here]) => all.split(" ").includes(name) && names.includes(here))?.[1];
/** Module prefixes of other languages; functions have none here. */
export const isForeignModule = (name: string): boolean => /^(torch|nn|F|np|numpy|jnp|jax|math)$/.test(name);

export const foreignDtypes: Remedies = [
  ["float32 Float32", "write `f32`"],
  ["float64 double", "write `f64`"],
  ["bfloat16 float16 half f16", "write `bf16`"],
  ["int int32 int64 long", "write `i32`; a size or value of a header has no type: `layer Name(D, rate = 0.1)`"],
  ["boolean", "write `bool`"],
  ["Tensor tensor", "a tensor's type is its dtype and its sizes: `float[N, D]`"],
];
export const dtypeHelp = (name: string): string =>
  foreignDtypes.find(([all]) => all.split(" ").includes(name))?.[1] ??
  "the dtypes are `f32 f64 bf16 i32 bool` and `float`, the program's working type";

/** The remedy for a name that is declared nowhere; null if there is none. */
export const nameHelp = (name: string): string | null =>
  foreignNames.find(([all]) => all.split(" ").includes(name))?.[1] ?? foreignHelp(name);

const signs: Readonly<Record<string, string>> = {
  ";": "leave it out: line ends mean nothing, and statements need no separator",
  "'": 'texts stand in double quotes: "std/nn"',
  '"': "close the text with a second quote on the same line",
  "`": "leave it out",
  "#": "comments begin with `//`",
  "&": "write `&&`",
  "|": "write `||`",
  "^": "a power is `x ** 2`",
  "~": "write `!`",
  "?": "write `where(condition, a, b)` for tensors, `if` for what is known when compiling",
  $: "holes `${...}` are for templates in TypeScript",
};
export const signHelp = (sign: string): string =>
  (Object.hasOwn(signs, sign) ? signs[sign] : undefined) ??
  "names are made of the letters a to z, digits and `_`; comments begin with `//`";
