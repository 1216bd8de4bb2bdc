// Where the tensors of layers are stored: in stores by path, as copies of stacked stores, or joined from several stores.
import type { Store, Value } from "../graph/node.ts";
import * as b from "../ops/build.ts";
import type { Expr, Span } from "../syntax/ast.ts";
import { dims, type Type, type } from "../types/type.ts";
import { fail } from "./errors.ts";
import { type Owner, type Scope, type Slot, type SlotSpec, type Storage } from "./values.ts";
import type { World } from "./world.ts";

/** A store, with the initializer of one copy. */
export interface RegisteredStore {
  readonly store: Store;
  /** The type of one copy. */
  readonly type: Type;
  readonly init: Expr;
  readonly scope: Scope;
  readonly owner: Owner;
}
/** All stores of a program. `current`: the values written to stores so far in the entry being elaborated. */
export class Stores {
  readonly #frozen: ReadonlySet<string>;
  readonly all = new Map<string, RegisteredStore>();
  readonly current = new Map<string, Value>();
  /** Parameters that are stored in another dtype than they are read in. */
  readonly masters = new Set<string>();

  /** `frozen`: names of parameters that nothing trains, which need no master. */
  constructor(frozen: ReadonlySet<string>) {
    this.#frozen = frozen;
  }
  /** The storage that registers stores under their paths, each once for all entries. */
  root(w: World): Storage {
    return (name, spec) => {
      const one = this.#frozen.has(name) ? type(spec.read, spec.type.shape) : spec.type;
      const full = type(one.dtype, [...spec.stack, ...one.shape]);
      if (one.dtype !== spec.read) this.masters.add(name);
      const store: Store = {
        name,
        role: spec.role,
        type: full,
        stack: spec.stack.length,
        saved: true,
        span: spec.span,
      };
      if (!this.all.has(name))
        this.all.set(name, { store, type: one, init: spec.init, scope: spec.scope, owner: spec.owner });
      return this.slot(w, name, full);
    };
  }
  parameter(name: string): Store | null {
    const found = this.all.get(name)?.store;
    return found?.role === "parameter" ? found : null;
  }
  slot(w: World, name: string, full: Type): Slot {
    return {
      type: full,
      read: () => this.current.get(name) ?? b.param(w.g, name, full),
      write: (value) => void this.current.set(name, value),
    };
  }
}

/** The storage used while checking, where only types matter. */
export const abstractStorage =
  (w: World): Storage =>
  (_, spec) => ({ type: spec.type, read: () => w.placeholder(spec.type), write: () => undefined });

export const withPrefix =
  (storage: Storage, prefix: string): Storage =>
  (name, spec) =>
    storage(`${prefix}.${name}`, spec);
/** Marks the slots as belonging to a layer, which selectors of `optimize` can address by any of `names`. */
export const withOwner =
  (storage: Storage, names: readonly string[]): Storage =>
  (name, spec) =>
    storage(name, { ...spec, owner: [{ names, path: name }, ...spec.owner] });
/** Storage with one store for all copies of an array: a leading axis, and `*` in the name. */
export const stacked =
  (storage: Storage, copies: number): Storage =>
  (name, spec) =>
    storage(`*.${name}`, { ...spec, stack: [copies, ...spec.stack] });
export const mapSlots =
  (storage: Storage, through: (slot: Slot) => Slot): Storage =>
  (name, spec) =>
    through(storage(name, spec));
/** The tensors of several layers joined along a new leading axis. */
export const joinedStorage =
  (w: World, copies: readonly Storage[]): Storage =>
  (name: string, spec: SlotSpec) =>
    joinSlots(
      w,
      copies.map((s) => s(name, spec)),
    );

/** Copy `i` of a slot that holds all copies. */
export function sliceSlot(w: World, all: Slot, i: number): Slot {
  const [copies, ...rest] = dims(all.type);
  const n = copies ?? 0;
  return {
    type: type(all.type.dtype, rest),
    read: () => b.reshape(w.g, b.slice(w.g, all.read(), 0, i, 1), rest),
    write(value, span) {
      const old = all.read();
      const parts = [
        b.slice(w.g, old, 0, 0, i),
        b.reshape(w.g, value, [1, ...rest]),
        b.slice(w.g, old, 0, i + 1, n - i - 1),
      ];
      all.write(
        b.concat(
          w.g,
          parts.filter((p) => p.type.shape[0] !== 0),
          0,
        ),
        span,
      );
    },
  };
}
function joinSlots(w: World, slots: readonly Slot[]): Slot {
  const [first] = slots;
  const one: Type = first?.type ?? type("f32", []);
  return {
    type: type(one.dtype, [slots.length, ...one.shape]),
    read: () =>
      b.concat(
        w.g,
        slots.map((s) => b.reshape(w.g, s.read(), [1, ...dims(one)])),
        0,
      ),
    write: (_, span: Span) =>
      fail("E0403", "a state cannot be set for several layers at once", span, {
        help: "call the layers one by one: `for layer in layers`",
      }),
  };
}
