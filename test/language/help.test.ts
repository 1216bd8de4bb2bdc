// What errors say to do: programs as they are written by those who come from other languages, and the help each gets.
import { readdirSync } from "node:fs";
import { join } from "node:path";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { builtins } from "../../compiler/check/builtins/list.ts";
import { nameHelp } from "../../compiler/syntax/help.ts";
import { project } from "../project.ts";
import { errorsIn } from "./checked.ts";

const test = suite("help");
const empty = "brackets stand behind the name, also with nothing in them: `model Name() { ... }`";
const division =
  "sizes and numbers are divided by `/`, tensors of `i32` by `div(a, b)`; a comment has a line of its own";
const sizesHelp = "the sizes are one list: `[N, D]`";
const helps: Record<string, [text: string, help: string]> = {
  "what the library has": [
    "fn f(x: float[N]) -> float[N] { return relu(x) }",
    'it is in the library: `import { relu } from "std/nn"`',
  ],
  "another module of the library": ['import { AdamW } from "std/nn"', '"std/optim" does'],
  "one letter is like no other": [
    "fn f(x: float[N]) -> float[N] { return a }",
    "declare it, import it, or give it as an argument",
  ],
  "the other case": ["fn f(x: float[N]) -> float[N] { return X }", "did you mean `x`?"],
  "a size in lower case": [
    "layer A(d) { forward(x: float[N, d]) -> float[N] { return sum(x, axis: -1) } }",
    "sizes begin with a capital: `D`",
  ],
  "a size in lower case that nothing declares": [
    "fn f(x: float[n]) -> float { return sum(x) }",
    "sizes begin with a capital: `N`",
  ],
  "a number with a capital": [
    "fn f(x: float[N], Rate = 0.5) -> float[N] { return x * Rate }",
    "a size is a whole number; in a header, other numbers have names in lower case",
  ],
  "a method of a tensor": ["fn f(x: float[N]) -> float { return x.sum() }", "write `sum(x)`"],
  "a method with arguments": ["fn f(x: float[N, M]) -> float[N] { return x.mean(-1) }", "write `mean(x, -1)`"],
  "a sort in descending order": [
    "fn f(x: float[N]) -> float[N] { let (y, _) = sort(x, descending: true) return y }",
    "in descending order it is `top_k(x, N)`, all N of the axis",
  ],
  "the least, by `top_k`": [
    "fn f(x: float[N]) -> float[2] { let (y, _) = top_k(x, 2, largest: false) return y }",
    "the least ones are the first of `sort(x)`",
  ],
  "a sort along another axis": [
    "fn f(x: float[N, M]) -> float[N, M] { let (y, _) = sort(x, axis: 0) return y }",
    "it is along the last axis: `transpose` another to there first",
  ],
  "PyTorch's `view`": [
    "fn f(x: float[N, D], H) -> float[N, H, D / H] { return x.view(N, H, D / H) }",
    "write `reshape(x, [N, H, D / H])`",
  ],
  "PyTorch's `view` of a list, and of a size that is found": [
    "fn f(x: float[N, D]) -> float[N * D] { return x.view([-1]) }",
    "write `reshape(x, [-1])`; in place of -1 write its size, as in `B * T`",
  ],
  "a method along an axis that is named": [
    "fn f(x: float[N, M]) -> float[N] { return x.max(-1) }",
    "write `max(x, axis: -1)`",
  ],
  "a loop over rows of a sum": [
    "fn f(x: float[N, D]) -> float[D] { for row in x + 1 { } return x[0] }",
    "write `for i in 0:N` and `(x + 1)[i]`, which is unrolled; operators work on all rows at once",
  ],
  "an import of what is built in": ['import { softmax } from "std/nn"', "`softmax` is built in: leave the import out"],
  "an import of a loss of PyTorch": ['import { mse_loss } from "std/loss"', "write `mean((x - y) ** 2)`"],
  "a model of the library": ['import { Mixtral } from "std/models"', '`Mixtral` is in "std/models/decoder"'],
  "binary cross entropy": [
    "fn f(z: float[N], y: float[N]) -> float { return binary_cross_entropy(z, y) }",
    'of logits it is `mean(softplus(z) - z * y)`, with `softplus` of "std/nn"',
  ],
  "a dtype that is not here": ["fn f(x: f16[N]) -> float[N] { return float(x) }", "write `bf16`"],
  "a loop over rows": [
    "fn f(x: float[N, D]) -> float[D] { for row in x { } return x[0] }",
    "write `for i in 0:N` and `x[i]`, which is unrolled; operators work on all rows at once",
  ],
  "a loop over `range`": ["fn f(x: float[N]) -> float { for i in range(N) { } return x[0] }", "write `for i in 0:N`"],
  "a loop over a size": ["fn f(x: float[N]) -> float { for i in N { } return x[0] }", "write `for i in 0:N`"],
  "a sum over choices that is missing": [
    "fn f(x: float[N, K, D]) -> float[N, D] { return 2 * x }",
    "reduce the axis K: `sum(2 * x, axis: 1)`",
  ],
  "one index of `take` for all rows": [
    "fn f(x: float[...S, T], i: i32[T]) -> float[...S, T] { return take(x, i, axis: -1) }",
    "its first axes are those before the axis, or 1; one index for all of them: `let at: i32[...S, T] = i`",
  ],
  "a matrix turned": ["fn f(x: float[N, M]) -> float[M, N] { return x.T }", "write `transpose(x, -2, -1)`"],
  "a matrix turned by a method": [
    "fn f(x: float[N, M]) -> float[M, N] { return x.t() }",
    "write `transpose(x, -2, -1)`",
  ],
  "a name that elsewhere is such a method": [
    "fn f(x: float[N], T = 2) -> float[N] { return x * t }",
    "did you mean `T`?",
  ],
  "a vector on the right of `@`": [
    "fn f(x: float[N, M], y: float[M]) -> float[N] { return x @ y }",
    "the right side is a matrix; of a vector take `sum(x * y, axis: -1)`",
  ],
  "a slice from the end": [
    "fn f(x: float[N, M]) -> float[N, M - 1] { return x[:, :-1] }",
    "from the end, subtract: `M - 1`",
  ],
  "an index from the end": ["fn f(x: float[N, M]) -> float[N] { return x[:, -1] }", "from the end, subtract: `M - 1`"],
  "a mask as index": [
    "fn f(x: float[N]) -> float[N] { return x[x > 0] }",
    "no size depends on data, so a mask picks no rows: choose with `where(x > 0, a, b)`",
  ],
  "a list of tensors": [
    "fn f(x: float[N]) -> float { let l = [x, x] return sum(l[0]) }",
    "name each of them, or join them along an axis: `concat([x[new], y[new]], axis: 0)`",
  ],
  "a function of another language": [
    "fn f(x: float[N]) -> float[N] { return x + ones(N) }",
    "a number stretches to a declared type: `let y: float[N, D] = 1`",
  ],
  "a method of another language": [
    "fn f(x: float[N]) -> float[N] { return x.clamp(0, 1) }",
    "write `minimum(maximum(x, low), high)`",
  ],
  "a text as argument": ['fn f(x: float[N]) -> float[N] { return x * lookup("n") }', "a text stands only after `from`"],
  "an einsum": [
    'fn f(x: float[N]) -> float[N] { return einsum("n->n", x) }',
    'write `x @ y`, or `sum(x[..., new] * y, axis: a)`; "ij,kj->ik" is `x @ transpose(y, -2, -1)`',
  ],
  "results without brackets": [
    "fn f(x: float[N]) -> float[1] { let v, i = top_k(x, 1) return v }",
    "several results stand in brackets: `let (a, b) = ...`",
  ],
  "a loop while": [
    "fn f(x: float[N]) -> float[N] { while N > 2 { x = x } return x }",
    "the only loops are `for x in array` and `for i in 0:n`, which are unrolled",
  ],
  "nothing that is returned": [
    "fn f(x: float[N]) -> float[N] { return {x} }",
    "a value stands here: a name, a number, a call, `(...)` or `[...]`",
  ],
  "a size that a layer's body makes": [
    "layer A(D) { let H = 4 * D forward(x: float[D]) -> float[D] { return x } }",
    "`let` is for methods; a size made of others stands in the header: `layer Name(D, H = 4 * D)`",
  ],
  "a size that nothing says": [
    "fn f(x: float[2 * D]) -> float { return sum(x) }",
    "a size stands alone in an argument's type, as in `float[D]`, or in the header; that of a result is named by a type: `let y: float[D] = ...`",
  ],
  "a size to be found": [
    "fn f(x: float[N, M]) -> float[N * M] { return reshape(x, [-1]) }",
    "sizes are 0 or more, and none is found by itself: write it, as in `B * T`",
  ],
  "comparisons that are compared": [
    "fn f(x: float[N], y: float[N]) -> bool[N] { return x > 0 == y > 0 }",
    "put one of them in brackets: `(a < b) == c`",
  ],
  "rows that a loop collects": [
    "fn f(x: float[N], K) -> float[N] { let y: float[0, N] = 0 for i in 0:K { y = concat([y, x[new]], axis: 0) } return x }",
    "give `y` its last size before this block, and set rows of it: `y = put(y, index, rows, axis: a)`",
  ],
  "a function in a header": [
    "layer A(D, act = tanh) { forward(x: float[D]) -> float[D] { return x } }",
    "give it an arrow type to take layers and functions: `act: float[...S] -> float[...S]`",
  ],
  "a layer where a number comes before it": [
    'import { SwiGlu } from "std/nn" import { Depth } from "std/moe" layer A(D) { b: Depth(D, SwiGlu(D, 8), 0.5) }',
    "`body` takes a layer or function: `body: SwiGlu(D, 8)`",
  ],
  "the word of a variable after its name": [
    "layer A(D) { w: param f32[D] = 0 }",
    "the word stands first: `param w: float[N] = ...`",
  ],
  "a variable without its word": [
    "layer A(D) { w: float[D] = 0 }",
    "a variable is `param w: float[N] = ...`, or `state` if it is not trained",
  ],
  "a value after a layer that has arguments with names": [
    'import { Linear } from "std/nn" layer A(D) { w: Linear(D, D, std: 0.5) = 0 }',
    "a variable is `param w: float[N] = ...`, or `state` if it is not trained",
  ],
  "a second value of a variable": [
    "layer A(D) { param w: float[D] = 0 = 1 }",
    "a member is `name: Layer(...)`, `param`, `state`, `if` or a method",
  ],
  "a value after a method": [
    "layer A(D) { f(x: float[D]) -> float[D] { return x } = 1 }",
    "a member is `name: Layer(...)`, `param`, `state`, `if` or a method",
  ],
  "a parameter of an array of layers": [
    'import { Linear } from "std/nn" layer A(D) { l: Linear(D, D)[4] forward(x: float[D]) -> float[D] { return x @ l.weight } }',
    "of one it is `l[0].weight`, of all `l[:].weight`",
  ],
  "a method of an array of layers": [
    "layer B(D) { twice(x: float[D]) -> float[D] { return 2 * x } } layer A(D) { l: B(D)[4] forward(x: float[D]) -> float[D] { return l.twice(x) } }",
    "of one it is `l[0].twice`",
  ],
  "`forward` of an array of layers": [
    'import { Linear } from "std/nn" layer A(D) { l: Linear(D, D)[4] forward(x: float[D]) -> float[D] { return l.forward(x) } }',
    "pick one: `l[0](x)`, all: `l[:](x)`, by index: `l[index](x)`, or one after the other: `for layer in l { x = layer(x) }`",
  ],
  "a function called as a member": [
    'import { dropout } from "std/nn" layer A(D) { drop: dropout(0.1) forward(x: float[D]) -> float[D] { return x } }',
    "call it in a method: `dropout(x, ...)`",
  ],
  "the larger of two numbers": [
    "fn f(x: float[N], M = 2) -> float[N] { return x * max(M, 3) }",
    "of two values, write `maximum(M, 3)`; along an axis, `max(M, axis: -1)`",
  ],
  "several axes to exchange": [
    "fn f(x: float[N, M, K]) -> float[K, N, M] { return transpose(x, [2, 0, 1]) }",
    "give one number: axes are exchanged, and worked along, one at a time",
  ],
  "tensors to join that are no list": [
    "fn f(x: float[N], y: float[N]) -> float[2 * N] { return concat(x, y, axis: 0) }",
    "leave one out: `concat(list, axis)` takes them in this order",
  ],
  "a last axis of 1": [
    "fn f(x: float[N, 1]) -> float[N] { return x * 2 }",
    "take the axis of 1 away: `(x * 2)[..., 0]`",
  ],
  "a first axis of 1": ["fn f(x: float[N, D]) -> float[D] { return x[0:1] }", "take the axis of 1 away: `x[0:1][0]`"],
  "a sum that lacks its axis": [
    "fn f(x: float[N, K]) -> float[N, K] { return x / sum(x, axis: -1) }",
    "keep the axis with size 1: `sum(x, axis: -1, keep: true)`",
  ],
  "a side that lacks an axis": [
    "fn f(x: float[N, K], y: float[N]) -> float[N, K] { return x * (y + 1) }",
    "give it an axis of 1 where it should stretch: `(y + 1)[..., new]`",
  ],
  "an axis of `max` by place": [
    "fn f(x: float[N, K]) -> float[N] { return max(x, 1) }",
    "of two values, write `maximum(x, 1)`; along an axis, `max(x, axis: 1)`",
  ],
  "a layer without its header": [
    "layer I(D, eps = 1) { forward(x: float[D]) -> float[D] { return x } } layer A(D) { i: I forward(x: float[D]) -> float[D] { return x } }",
    "write `I(D)`",
  ],
  "a word for `!`": ["fn f(m: bool[N]) -> bool[N] { return not m }", "write `!`"],
  "brackets without axes": [
    "fn f(x: f32[]) -> f32 { return x }",
    "nothing stands in the brackets: leave them out (`f32` has no axes), or say what belongs there",
  ],
  "a slice with a step": [
    "fn f(x: float[N]) -> float[N] { return x[::2] }",
    "a slice is `a:b` and has no step: every second row is `x[2 * range(N / 2)]`",
  ],
  "a size that is divided by 0": [
    "fn f(x: float[N, D]) -> float[N, D] { return x[:, D / 0:] }",
    "nothing is divided by 0, and of less than 0 there is no root and no logarithm",
  ],
  "a divisor that is no number": [
    "fn f(x: float[N]) -> float[N] { return x[:N / 2D] }",
    "numbers are written `1`, `0.5`, `2e-3`; a name cannot begin with a digit",
  ],
  "an argument that would stretch": [
    "fn g(at: i32[B, T]) -> i32[B] { return at[:, 0] } fn f(B, T) -> i32[B] { let one: i32[B] = 1 return g(range(T)) * one }",
    "stretch it first: `let y: i32[B, T] = range(T)`",
  ],
  "PyTorch's `dim`": ["fn f(x: float[N, D]) -> float[N] { return sum(x, dim: -1) }", "write `axis`"],
  "PyTorch's weight_decay": [
    'import { AdamW } from "std/optim" model M(D) { param w: float[D] = 0 train(x: float[D]) { loss l = sum(x * w) optimize with AdamW(weight_decay: 0) } }',
    "write `decay`",
  ],
  "an argument named with `=`": [
    "fn f(x: float[N, D]) -> float[N] { return sum(x, axis=-1) }",
    "an argument is named with `:`, as in `axis: 1`; to compare, write `==`",
  ],
  "a module before a function": [
    "fn f(x: float[N]) -> float[N] { return F.relu(x) }",
    'it is in the library: `import { relu } from "std/nn"`',
  ],
  "a module before a built-in function": [
    "fn f(x: float[N]) -> float[N] { return torch.exp(x) }",
    "functions have no module before them: `exp(...)`",
  ],
  "an element that is set": [
    "fn f(x: float[N]) -> float[N] { x[0] = 0 return x }",
    "elements are not set one by one: choose with `where(condition, a, b)`, or set rows, `x = put(x, index, rows, axis: a)`",
  ],
  "a list made by a loop": [
    "layer I(D) { forward(x: float[D]) -> float[D] { return x } } layer A(D, L) { all: List([I(D) for i in L]) forward(x: float[D]) -> float[D] { return x } }",
    "a list is not made by a loop: an array of layers is `Block(D)[L]`, and a `for` of a method sets a variable turn by turn",
  ],
  "a layer of PyTorch": [
    "layer A(D) { net: Sequential(D) forward(x: float[D]) -> float[D] { return x } }",
    "an array holds layers, `blocks: Block(D)[L]`, and a method calls them: `for block in blocks { x = block(x) }`",
  ],
  "nearly an optimizer of the library": [
    "model M(D) { param w: float[D] = 0 train(x: float[D]) { loss l = sum(x * w) optimize with Adam(lr: 1) } }",
    'did you mean `AdamW`, of "std/optim"?',
  ],
  "an import without braces": [
    "import std/nn",
    'names are imported as they are called: `import { Linear, silu } from "std/nn"`',
  ],
  "an import with another name": [
    'import { Linear as L } from "std/nn"',
    'names are imported as they are called: `import { Linear, silu } from "std/nn"`',
  ],
  "Python's import": [
    "from std import nn",
    'names are imported as they are called: `import { Linear, silu } from "std/nn"`',
  ],
  "a module that is another": ['import { Linear } from "std/layers"', '`Linear` is in "std/nn"'],
  "a dtype of PyTorch": ["fn f(x: float32[N]) -> float32[N] { return x }", "write `f32`"],
  "an axis made by None": [
    "fn f(x: float[N]) -> float[N, 1] { return x[:, None] }",
    "in an index, `new` makes an axis: `x[..., new]`",
  ],
  "a sum that begins with a number": [
    "fn f(x: float[N, D], K) -> float[N, D] { let y = 0 for i in 0:K { y = y + x } return y }",
    "make it a tensor from the first: `let y: float[N, D] = ...`",
  ],
  "a member by `self`": [
    "layer A(D) { param w: float[D] = 0 forward(self, x: float[D]) -> float[D] { return x * self.w } }",
    "members are named without `self`",
  ],
  "a method with a keyword": [
    "layer A(D) {\n  fn forward(x: float[D]) -> float[D] { return x }\n}",
    "functions stand outside of layers; a method has no keyword: `forward(x: float[N]) -> float[N] { ... }`",
  ],
  "a whole division": ["fn f(x: float[N, D]) -> float[N, 2, D / 2] {\n return reshape(x, [N, 2, D // 2])\n}", division],
  "a whole division at the end of its line": [
    "fn f(x: float[N], k = 6) -> float[N] {\n let h = k // 2\n return x * h }",
    division,
  ],
  "the larger of two tensors": [
    "fn f(x: float[N], y: float[N]) -> float[N] { return max(x, y) }",
    "of two values, write `maximum(x, y)`; along an axis, `max(x, axis: -1)`",
  ],
  "the smaller of a tensor and a number": [
    "fn f(x: float[N]) -> float[N] { return min(x, 3) }",
    "of two values, write `minimum(x, 3)`; along an axis, `min(x, axis: -1)`",
  ],
  "a relu that would be the largest along axis 0": [
    "fn f(x: float[N, D], w: float[N, D]) -> float[N, D] { return max(x, 0) * w }",
    "of two values, write `maximum(x, 0)`; along an axis, `max(x, axis: 0)`",
  ],
  "a function of the library as a method": [
    "fn f(x: float[N]) -> float[N] { return x.relu() }",
    'write `relu(x)`, with `relu` of "std/nn"',
  ],
  "a range from a to b": [
    "fn f(N) -> i32[N] { return range(0, N) }",
    "it begins at 0: from a until before b is `a + range(b - a)`",
  ],
  "sizes that are no list": ["fn f(x: float[N, D]) -> float[N * D] { return reshape(x, N, D) }", sizesHelp],
  "a deviation where axes stand": [
    'import { normal } from "std/init" layer A(D) { param w: float[D] = normal(0.02) forward(x: float[D]) -> float[D] { return x * w } }',
    "write `[2, 3]`, or leave it to the declared type: `std: 0.02`",
  ],
  "a loop over pairs": [
    "layer I(D) { forward(x: float[D]) -> float[D] { return x } } layer A(D) { l: I(D)[3] forward(x: float[D]) -> float[D] { for (i, b) in l { x = b(x) } return x } }",
    "a loop names the layer, then its number, without brackets: `for block, i in blocks`",
  ],
  "Python's choice": [
    "fn f(x: float[N]) -> float[N] { return x if training else 0 }",
    "write `where(condition, a, b)` for tensors, or `if condition { return a } else { return b }` where it is known when compiling",
  ],
  "a tuple": [
    "fn f(x: float[N]) -> (float[N], float[N]) { return (x, x) }",
    "brackets hold one value: several results are `return a, b`, and a list is `[a, b]`",
  ],
  "a number without its first digit": [
    "fn f(x: float[N]) -> float[N] { return x * .5 }",
    "a number begins with a digit: `0.5`",
  ],
  "a number without its last digit": [
    "fn f(x: float[N]) -> float[N] { return x * 1. }",
    "a number ends with a digit: `1.0`",
  ],
  "an argument that hides a layer": [
    "layer I(D) { forward(x: float[D]) -> float[D] { return x } } layer A(D) { user: I(D) forward(user: float[D]) -> float[D] { return user(user) } }",
    "`user` is an argument or a variable here, and hides the member `user`: give it another name",
  ],
  "a state that hides a function": [
    "layer A(D) { state mean: f32[D] = 0 forward(x: f32[N, D]) -> f32[D] { return mean(x, axis: 0) } }",
    "`mean` is a member here, and hides the function `mean`: give it another name",
  ],
  "a variable that hides a function": [
    "fn f(x: f32[N]) -> f32[N] { let max = max(x, axis: 0) return x - max(x, axis: 0) }",
    "`max` is an argument or a variable here, and hides the function `max`: give it another name",
  ],
  "a variable that hides a function of the file": [
    "fn g(x: f32[N]) -> f32[N] { return x } fn f(g: f32[N]) -> f32[N] { return g(g) }",
    "`g` is an argument or a variable here, and hides the function `g`: give it another name",
  ],
  "a tensor that is called": ["fn f(x: f32[N]) -> f32[N] { return x(0) }", "call a function, a layer or a method"],
  "the sizes of a parameter's random numbers": [
    "layer A(D) { param w: f32[D, D] = gaussian() }",
    'give it the sizes: `gaussian([N, D])`; those of a parameter are found by `normal(std: 1)` of "std/init"',
  ],
  "PyTorch's `argmin`": [
    "fn f(x: f32[N, D]) -> i32[N] { return argmin(x) }",
    'write `argmax(-x)`, with `argmax` of "std/nn"',
  ],
  "PyTorch's batch norm": [
    "layer A(D) { norm: BatchNorm2d(D) }",
    "write it as a layer: its running means are states, `state center: f32[C] = 0`, which it updates `if training`",
  ],
  "a declaration without a header": ["layer A { forward(x: float[N]) -> float[N] { return x } }", empty],
  "an alias without a header": ['import { Linear } from "std/nn" layer A = Linear(3, 4)', empty],
  "axes without a name": [
    "fn f(x: float[..., D]) -> float[D] { return x }",
    "the axes in front have a name: `float[...S, D]`",
  ],
  "results declared without brackets": [
    "fn f(x: float[N]) -> float[N], i32[N] { return x, range(N) }",
    "several results stand in brackets: `-> (float[N, D], i32[N])`",
  ],
  "a parameter without a beginning": [
    "layer A(D) {\n  param w: float[D]\n  forward(x: float[D]) -> float[D] { return x * w }\n}",
    "say what it begins with: `= normal()`, `= 0`",
  ],
  "a function without a name": [
    "fn f(x: float[N]) -> float[N] { let g = lambda y: 2 return x }",
    "give the function a name: `fn name(x: float[N]) -> float[N] { ... }`",
  ],
  "a loss without a name": [
    "layer A(D) { forward(x: float[D]) -> float[D] { loss sum(x) return x } }",
    "it has a name: `loss name = sum(...)`",
  ],
  "infinity as a text": [
    'fn f(x: float[N]) -> float[N] { return where(x > 0, x, float("-inf")) }',
    "infinity is `inf`, or `-inf`",
  ],
  "one result that is taken apart": [
    "fn g(x: float[N]) -> float[N] { return x } fn f(x: float[N]) -> float[N] { let (q, k) = g(x) return q }",
    "write `let q = ...`; parts of one result are slices: `q[..., :D]`",
  ],
  "an array of layers that is called": [
    "layer I(D) { forward(x: float[D]) -> float[D] { return x } } layer A(D) { l: I(D)[3] forward(x: float[D]) -> float[D] { return l(x) } }",
    "pick one: `l[0](x)`, all: `l[:](x)`, by index: `l[index](x)`, or one after the other: `for layer in l { x = layer(x) }`",
  ],
  "the largest of nothing": [
    "fn f() -> float[1] { let x: float[0] = 1 let (v, _) = top_k(x, 1) return v }",
    "the axis is empty: check the size that it has",
  ],
  "a layer that a method makes": [
    "layer I(D) { forward(x: float[D]) -> float[D] { return x } } layer A(D) { forward(x: float[D]) -> float[D] { let i = I(D) return i(x) } }",
    "make it a member of this layer, `i: I(...)`, and call that",
  ],
  "a sign, and only that": ["fn f(m: bool[N], n: bool[N]) -> bool[N] { return m & n }", "write `&&`"],
  "a sign of bits": ["fn f(m: bool[N]) -> bool[N] { return ~m }", "write `!`"],
  "a type among several names": [
    "fn f(x: f32[N, E]) -> f32[N, 1] { let (v: f32[N, 1], i) = top_k(x, 1) return v }",
    "a type follows: `let (v, index) = ...`, then `let v: float[N, K] = v`",
  ],
  "rows that a mask chooses": [
    "fn f(x: f32[N]) -> i32[N] { return nonzero(x > 0) }",
    "no size depends on data: `where(mask, x, 0)`, an index that is -1 for none, or the K best by `top_k`",
  ],
  "results of a call, of which one converts": [
    "fn f(x: float[N]) -> (float[1], float[1]) { return top_k(x, 1) }",
    "name the results first, `let (a, b) = top_k(x, 1)`, and convert that one",
  ],
  "results of a call, but not as many": [
    "fn g(x: float[N]) -> (float[1], i32[1]) { return top_k(x, 1) } fn f(x: float[N]) -> (float[1], i32[1], i32[1]) { return g(x) }",
    "return as many as are declared",
  ],
};
test("the modules that a wrong path is told are all there are", () => {
  const folder = join(project, "stdlib");
  const modules = readdirSync(folder, { recursive: true, encoding: "utf8" }).filter((f) => f.endsWith(".moe"));
  const [error] = errorsIn('import { x } from "std/everything"');
  for (const module of modules) assert.match(error?.help ?? "", `std/${module.slice(0, -4)}`);
});
test("no name that is built in is told another way to write it", () => {
  for (const name of builtins.keys()) assert.is(nameHelp(name), null, name);
});
for (const [name, [text, help]] of Object.entries(helps))
  test(`help: ${name}`, () => assert.equal([...new Set(errorsIn(text).map((d) => d.help))], [help]));
test("comments that divide nothing stay comments", () => {
  const text = `fn f(x: float[N, D]) -> float[N, D] { // 2
    let y = x // [N, D]
    let z = reshape(y, [N, D]) // N, D
    // 2
    return z // twice (or more)
  } // f // 3`;
  assert.equal(errorsIn(text), []);
});
test.run();
