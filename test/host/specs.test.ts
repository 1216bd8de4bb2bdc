// The addon reads each property of a plan by its name. It refuses a plan that lacks one, so neither side can rename one alone.
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { type CudaStep, type NativeBuffer, type NativeStep, native } from "../../runtime/native.ts";

const test = suite("specs");
type Addon = ReturnType<typeof native>;
type Spec = object;

/** For each property anywhere in the value: its name, and the value without it. */
function* lacking(value: unknown): Generator<readonly [name: string, rest: unknown]> {
  if (typeof value !== "object" || value === null || ArrayBuffer.isView(value)) return;
  for (const [name, inner] of Object.entries(value)) {
    const replaced = (part: unknown): unknown =>
      Array.isArray(value) ? value.with(Number(name), part) : { ...value, [name]: part };
    if (!Array.isArray(value)) yield [name, Object.fromEntries(Object.entries(value).filter(([n]) => n !== name))];
    for (const [deeper, rest] of lacking(inner)) yield [deeper, replaced(rest)];
  }
}
const buffer: NativeBuffer = { offset: 0, bytes: 4, width: 4, outer: 1, rows: 1, cols: 1, pitch: 1, panels: false };
const group = { workers: 1, groups: 1, stride: 1 };
const collective: NativeStep = {
  kernel: -2,
  args: [0, 0],
  tasks: 1,
  first: 0,
  small: true,
  grain: 1,
  beside: false,
  collective: {
    name: "all_reduce",
    dtype: "f32",
    fn: "sum",
    back: false,
    rows: 0,
    length: 0,
    piece: 0,
    pieces: 1,
    ...group,
  },
};
const host: ConstructorParameters<Addon["Executor"]>[0] = {
  bytes: 64,
  threads: 1,
  scratch: 0,
  buffers: [buffer],
  libraries: ["/nowhere.so"],
  kernels: [{ name: "twice", library: 0 }],
  entries: [{ steps: [collective] }],
};
const code = { name: "twice", image: Buffer.from("code"), threads: 32, shared: 0, each: false };
const withVariant: CudaStep = {
  kernel: 0,
  args: [0],
  tasks: 1,
  first: 0,
  small: false,
  grain: 1,
  beside: false,
  maps: [{ arg: 0, dims: [1], strides: [], box: [1] }],
  writes: [{ arg: 0, width: 4 }],
};
const cuda: ConstructorParameters<Addon["CudaExecutor"]>[0] = {
  driver: "/nowhere.so",
  device: 0,
  bytes: 64,
  graphs: false,
  nccl: "",
  buffers: [buffer],
  kernels: [{ ...code, variant: [code] }],
  entries: [{ steps: [withVariant, { ...collective, maps: [], writes: [] }] }],
};

const refusal = (make: () => unknown): string => {
  try {
    make();
  } catch (error) {
    return (error as Error).message;
  }
  return "nothing is wrong";
};
for (const [target, spec, make] of [
  ["the host", host, (given: Spec) => new (native().Executor)(given as typeof host)],
  ["CUDA", cuda, (given: Spec) => new (native().CudaExecutor)(given as typeof cuda)],
] as const) {
  test(`a plan for ${target} is read as a whole, and none is that lacks a property`, () => {
    assert.match(
      refusal(() => make(spec)),
      "/nowhere.so",
    );
    for (const [name, rest] of lacking(spec))
      assert.match(
        refusal(() => make(rest as Spec)),
        new RegExp(`^${name} is not an? `),
      );
  });
}
test.run();
