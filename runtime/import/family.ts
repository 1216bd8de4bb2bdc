// What is said of a family: where config.json has the header's values, and what weights are called.

export type Json = Readonly<Record<string, unknown>>;
/** `a.b` is b in a; null is as if it were not there. */
export const lookup = (config: Json, key: string): unknown =>
  key.split(".").reduce<unknown>((x, part) => (x as Json | null | undefined)?.[part], config) ?? undefined;
/** Keys of config.json, the first that is there; `a.b` is b in a. What it is without any (null: as the model's header has it), else one is needed. */
export interface Said {
  readonly keys: readonly string[];
  readonly otherwise?: number | boolean | null;
}
export interface Family {
  /** The `model_type` of config.json. */
  readonly type: string;
  /** The model's name, and its file in std/models: decoder if not given. */
  readonly model: string;
  readonly file?: string;
  readonly header: Readonly<Record<string, Said>>;
  /** What else a key must say, if it is there and not null: the model knows nothing else. A function has it from the rest of config.json. */
  readonly only: Readonly<Record<string, unknown>>;
  /**
   * Their name and ours; each `*` is a number, and null is not read. Their matrices are [out, in], ours [in, out]. What is not turned has its name in
   * a list; of several names each takes the last axis's elements in turn. A convolution of each feature alone is [features, 1, width], ours
   * [width, features].
   */
  readonly names: Readonly<Record<string, string | readonly string[] | Runs | Row | null>>;
  /** What begins so is not read. */
  readonly unread?: string;
  /** Vectors of ours, of all blocks, that config.json has as lists of numbers, under the first of these keys that is there; of none they are not. */
  readonly lists?: Readonly<Record<string, readonly string[]>>;
  /** Whether the head is the embedding's table where config.json does not say. */
  readonly tied?: boolean;
}
/** Each name takes a run of the last axis, all of one length. `turned`: the last two axes are exchanged first. */
export interface Runs {
  readonly runs: readonly string[];
  readonly turned: boolean;
}
/** A matrix of one row, which is a vector here. */
export interface Row {
  readonly row: string;
}
