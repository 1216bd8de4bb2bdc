// Emits a kernel as C++ or CUDA text that calls the functions of the device headers. Elementwise code, folds, loops and stores are the same on every
// target; a `Target` says how tasks are distributed, how operands are staged and multiplied, and where tiles live.
import { item } from "../item.ts";
import { address, isNum } from "../kernel/expr.ts";
import type { Axis, Expr, Kernel, Scalar, Stmt, StmtOf, Tile } from "../kernel/ir.ts";
import { isInTerms, tilesOf } from "../kernel/passes.ts";
import type { Emitted } from "../lower/lower.ts";
import type { LaunchShape } from "../plan/plan.ts";
import { product } from "../types/numbers.ts";
import { Bodies, type BodyKind, combineNames, type Lanes, type LaneTarget, type Scope } from "./bodies.ts";
import { earlyLoadsOf } from "./early-loads.ts";
import { type Epilogue, epilogueOf, prefetchTargets, withinTile } from "./epilogue.ts";
import { endName, tasksOf } from "./grid.ts";
import { isLaneAligned } from "./lanes.ts";
import { number, stored } from "./literal.ts";
import { firstUse, loopsFrom, productsFrom, stagesFrom } from "./runs.ts";

export interface Target extends LaneTarget {
  readonly sync: string | null;
  /** The first `mma` of an accumulator overwrites it, so a zero fill before it is left out. */
  readonly elidesZeroFill: boolean;
  /** f32 operands are rounded to tf32 where they are multiplied. */
  readonly tf32?: true;
  /** The text of a store that must happen once for a task, or once for a row. */
  once(text: string, scope: Scope): string;
  /** The compiler must not know the address of a lane's own memory. */
  readonly hidesMemory?: true;
  /** The declaration of a tile. `at`: a pointer to its memory, if it lies in a local buffer. */
  tile(t: Tile, e: Emitter, at?: string): string;
  /** The lines before and after the body; called after the body has been emitted. */
  frame(k: Kernel, e: Emitter): { readonly open: readonly string[]; readonly close: readonly string[] };
  loop(s: StmtOf<"for">, e: Emitter): void;
  /** Writes consecutive loops of products into the same accumulators as one loop; false if it cannot. */
  fuseLoops?(run: readonly StmtOf<"for">[], e: Emitter): boolean;
  /** Stages consecutive operands. */
  stages(list: readonly StmtOf<"stage">[], e: Emitter): void;
  /** The device function that walks the elements of an accumulator. */
  each(s: StmtOf<"each">, lanes: Lanes, e: Emitter): string;
  /** The device function for an `each` whose loads are all done before its stores; null, or not given, if there is none. */
  eachLoadingFirst?(s: StmtOf<"each">, lanes: Lanes, e: Emitter): string | null;
  mma(s: StmtOf<"mma">, e: Emitter): void;
  /** Writes consecutive products into the same accumulators as one; not given if the target has no such function. */
  mmaSum?(run: readonly StmtOf<"mma">[], e: Emitter): void;
  /** The launch parameters, for targets that run tasks on blocks of threads. */
  launch?(k: Kernel, e: Emitter): LaunchShape;
}

/** The type of a group's values in the body `f(v, ..)` of a `par`; an index is the group's, not each lane's. */
const laneTypes: Readonly<Record<Scalar, string>> = {
  f32: "decltype(broadcast(v, f32()))",
  i32: "decltype(broadcast(v, i32()))",
  bool: "decltype(broadcast(v, bool()))",
  index: "ix",
};

/** Emits the statements of one kernel, asking the target for all that differs between targets. */
export class Emitter extends Bodies<Target> {
  /** Scratch memory for packed operands and local buffers, in floats per thread. */
  scratch = 0;
  /** Zero-filled accumulators whose first use is an `mma`: the loop that the `mma` is in, or null if it is in none. */
  readonly zeroFilled = new Map<Tile, Axis | null>();
  /** Accumulators of one product of split operands (AMX) that are read strip by strip: memory for one strip is enough. */
  readonly strips = new Set<Tile>();
  /** Right operands that are read in place for few rows and copied for many; the generated code chooses (`dispatch_few_rows`). */
  readonly copiedForManyRows = new Set<Tile>();
  /** Right operands of codes of 4 bits (host), whose products are not added to those of others in registers. */
  readonly summedByGroups = new Set<Tile>();
  /** For an `mma`: the name of the function that runs on each of its register tiles when that is done. */
  readonly epilogues = new Map<StmtOf<"mma">, string>();
  /** Declarations before the loop over tasks. */
  readonly beforeTasks: string[] = [];

  stmts(list: readonly Stmt[]): void {
    if (this.target.elidesZeroFill) this.#findZeroFilled(list);
    for (let i = 0; i < list.length; ) i += this.#emitRun(list, i);
  }
  /** Writes the statement at i, together with those after it that become one text with it; returns how many statements were written. */
  #emitRun(list: readonly Stmt[], i: number): number {
    const s = item(list, i);
    if (s.s === "stage") {
      const stages = stagesFrom(list, i);
      this.target.stages(stages, this);
      return stages.length;
    }
    const loops = loopsFrom(list, i);
    if (loops.length > 1 && this.target.fuseLoops?.(loops, this)) return loops.length;
    const products = this.target.mmaSum ? productsFrom(list, i) : [];
    const taken = Math.max(1, products.length);
    const write = (): void => (products.length > 1 ? this.target.mmaSum?.(products, this) : this.#stmt(s));
    const follower = this.target.fusesEpilogues ? epilogueOf(list, i + taken - 1) : null;
    if (follower) this.#emitWithEpilogue(write, follower);
    else write();
    return taken + (follower?.covered ?? 0);
  }
  /**
   * Writes, by f, an `mma` or a loop of them whose epilogue runs on each register tile as soon as that is done: the epilogue becomes a function,
   * `epilogue`.
   */
  #emitWithEpilogue(f: () => void, { mma, loop, lets, each: points }: Epilogue): void {
    this.stmts(lets);
    const name = `${points.over.name}_epilogue`;
    const [rows, columns] = points.valid.map((x) => this.expr(x));
    const within = (lanes: Lanes | null): string =>
      lanes ? this.extent(item(points.valid, 1), lanes) : String(columns);
    const { each, first, panel } = withinTile(points);
    const start = `const ix ${first.name} = ${panel === null ? "_tile.c" : `column_in_panel<${panel}>(_tile)`};`;
    this.block(`const auto ${name} = epilogue([&](TileCoord _tile, auto prefetch) {`, "}, [&](TileCoord _tile) {", () =>
      this.#prefetchEpilogue(each, start),
    );
    this.depth++;
    this.line(start);
    this.#elementwise(each, (lanes) => `each_in<${lanes?.text}>(_tile, ${within(lanes)}`);
    this.depth--;
    this.line("});");
    const always = loop === null || (isNum(loop.from) && isNum(loop.to));
    const last = loop && `${loop.v.name} + ${loop.step} >= ${endName(loop)}`;
    this.epilogues.set(mma, last ? `${name}.when(${last})` : name);
    f();
    if (!always) this.line(`if (${this.expr(loop.to)} <= ${this.expr(loop.from)}) ${name}.run(${rows}, ${columns});`);
  }
  #findZeroFilled(list: readonly Stmt[]): void {
    list.forEach((s, at) => {
      if (s.s !== "tile" || s.tile.role !== "acc" || s.fill !== 0 || s.at) return;
      const next = firstUse(list.slice(at + 1));
      const first = next?.s === "for" ? firstUse(next.body) : next;
      if (first?.s === "mma" && first.acc.includes(s.tile))
        this.zeroFilled.set(s.tile, next?.s === "for" ? next.axis : null);
      if (next?.s === "mma" && isInTerms(next.a) && this.#hasEpilogue(list, list.indexOf(next)))
        this.strips.add(s.tile);
    });
  }
  #hasEpilogue(list: readonly Stmt[], at: number): boolean {
    return this.target.fusesEpilogues === true && epilogueOf(list, at + productsFrom(list, at).length - 1) !== null;
  }
  #stmt(s: Exclude<Stmt, StmtOf<"stage">>): void {
    const x = (e: Expr): string => this.expr(e);
    switch (s.s) {
      case "let":
        if (this.varies(s.value)) this.varying.add(s.v);
        return this.line(`const ${s.v.type === "index" ? "ix" : "auto"} ${s.v.name} = ${x(s.value)};`);
      case "for":
        return this.#for(s);
      case "if":
        return this.block(`if (${x(s.cond)}) {`, "}", () => this.stmts(s.body));
      case "sync":
        return this.target.sync === null ? undefined : this.line(this.target.sync);
      case "tile":
        return this.#tile(s);
      case "mma":
        return this.target.mma(s, this);
      case "each":
        return this.#each(s);
      case "par":
        return this.par(s);
      case "fold":
        return this.fold(s);
      case "moments":
        return this.moments(s);
      case "both":
        return this.both(s.body as readonly StmtOf<"fold">[]);
      case "foldrows":
        return this.#foldRows(s);
      case "scan":
        return this.scan(s);
      case "tally":
        return this.tally(s);
      case "store":
        return this.#store(s);
    }
  }
  #for(s: StmtOf<"for">): void {
    const outer = this.round;
    this.round = s.axis.v.name;
    this.target.loop(s, this);
    this.round = outer;
  }
  /** Writes the prefetching of what an epilogue will read and write, where the addresses are known before. */
  #prefetchEpilogue(s: StmtOf<"each">, start: string): void {
    const [i, j] = [item(s.vs, 0), item(s.vs, 1)];
    const texts = prefetchTargets(s).map(({ buffer, at }) => `prefetch(${this.pointer(buffer, at)});`);
    if (texts.length === 0) return;
    this.line(start);
    this.block(`prefetch_tile(_tile, [&](ix ${i.name}, ix ${j.name}) {`, "});", () => {
      for (const text of new Set(texts)) this.line(text);
    });
  }
  #tile(s: StmtOf<"tile">): void {
    const { tile, at, fill } = s;
    if (tile.role === "own") return this.#own(tile);
    const pointer = at?.from.kind === "buffer" ? this.pointer(at.from, at.at) : undefined;
    this.line(this.target.tile(tile, this, pointer));
    if (at) return;
    if (tile.role !== "shared") return this.#fill(s);
    this.line(`par<1>(${item(tile.shape, 0)}, [&](auto, ix j) { ${tile.name}[j] = ${fill}; });`);
  }
  #own({ name, shape, type = "f32" }: Tile): void {
    const [numbers, hides] = [product(shape.slice(0, -1)), shape.length > 2 && this.target.hidesMemory];
    this.line(`${laneTypes[type]} ${name}${hides ? "_of_lane" : ""}[${numbers}];`);
    if (hides) this.line(`${laneTypes[type]}* const ${name} = hidden(${name}_of_lane);`);
  }
  #fill({ tile, fill }: StmtOf<"tile">): void {
    const text = `${tile.name}.fill(${number(fill, true)});`;
    const axis = this.zeroFilled.get(tile);
    if (axis === undefined) return this.line(text);
    if (axis && !(isNum(axis.from) && isNum(axis.to)))
      this.line(`if (${this.expr(axis.to)} <= ${this.expr(axis.from)}) ${text}`);
  }
  #store(s: StmtOf<"store">): void {
    const value = (wide: boolean): string => this.wide(s.value, wide);
    if (s.to.kind === "tile" && s.to.role === "own")
      return this.line(`${this.ownElement(s.to, s.at)} = ${value(true)};`);
    if (s.to.kind === "tile" && s.to.role !== "shared" && !this.passed.has(s.to))
      return this.line(`st(v, ${this.tilePointer(s.to, s.at)}, ${value(true)});`);
    if (s.to.kind === "tile") {
      const at = s.to.role === "shared" ? `${s.to.name}[${this.expr(item(s.at, 0))}]` : `${s.to.name}_`;
      const text = `${at} = ${value(s.to.role === "acc")};`;
      return this.line(s.to.role === "shared" ? this.target.once(text, this.scope) : text);
    }
    const at = address(s.to, s.at);
    if (s.run && this.lane)
      return this.line(`st_partial_sum(v, ${this.pointer(s.to, s.at)}, ${this.lane.name}, ${value(true)});`);
    if (this.varies(at)) {
      const streams = s.stream && this.lane !== null && isLaneAligned(at, this.lane, 16);
      return this.line(`${streams ? "st_nontemporal" : "st"}(v, ${this.pointer(s.to, s.at)}, ${value(true)});`);
    }
    const text = `${s.to.name}[${this.expr(at)}] = ${stored(s.to.dtype, value(false))};`;
    this.line(this.target.once(text, this.scope));
  }
  /**
   * Writes a call whose last argument is the body of an `each`. `head` gives the beginning of the call for the group of lanes that the body runs on;
   * for null, the body runs once for each row.
   */
  #elementwise(s: StmtOf<"each">, head: (lanes: Lanes | null) => string): void {
    const tiles = tilesUsedBy(s);
    const params = ["auto v", ...s.vs.map((v) => `ix ${v.name}`), ...tiles.map((t) => `auto& ${t.name}_`)].join(", ");
    const [, v] = s.vs;
    const lane = v ? { v, lanes: this.lanesFor(v, s.body, kindOf(s)) } : null;
    const end = `, ${tiles.map((t) => t.name).join(", ")});`;
    this.passing(tiles, () =>
      this.lambda(
        { before: `${head(lane?.lanes ?? null)}, `, params, after: end },
        lane,
        { body: s.body },
        lane ? "point" : "row",
      ),
    );
  }
  #each(s: StmtOf<"each">): void {
    const valid = s.valid.map((y) => this.expr(y)).join(", ");
    if (!this.#early(s, valid))
      this.#elementwise(s, (lanes) =>
        lanes === null ? `each_row(${valid}` : `${this.target.each(s, lanes, this)}(${this.#sizes(s, lanes)}`,
      );
  }
  #sizes({ valid }: StmtOf<"each">, lanes: Lanes): string {
    return valid.map((x, axis) => (axis === 0 ? this.expr(x) : this.extent(x, lanes))).join(", ");
  }
  /**
   * Tries to write an `each` in the form that loads first: a function of the row does the row's loads and returns a function of the column, which
   * does the column's loads and returns a function that computes and stores.
   */
  #early(s: StmtOf<"each">, valid: string): boolean {
    const [i, v] = s.vs;
    if (!i || !v) return false;
    const lanes = this.lanesFor(v, s.body, kindOf(s));
    const word = this.target.eachLoadingFirst?.(s, lanes, this);
    const early = word ? earlyLoadsOf(s, v, lanes.count) : null;
    if (!early) return false;
    const tiles = tilesUsedBy(s);
    const elements = tiles.map((t) => `auto& ${t.name}_`).join(", ");
    const points = (): void => {
      this.stmts(early.columnLoads);
      this.block(`return [=](${elements}) {`, "};", () => this.passing(tiles, () => this.stmts(early.body)));
    };
    const row = (): void => {
      this.stmts(early.rowLoads);
      this.block(`return [=](auto v, ix ${v.name}) {`, "};", points);
    };
    const end = `}, ${tiles.map((t) => t.name).join(", ")});`;
    this.inLanes({ v, lanes }, "point", () => this.block(`${word}(${valid}, [&](ix ${i.name}) {`, end, row));
    return true;
  }
  #foldRows(s: StmtOf<"foldrows">): void {
    const used = [...tilesOf([s], "acc", "row").reads];
    this.line(this.target.tile(s.into, this));
    const params = ["auto v", ...s.vs.map((v) => `ix ${v.name}`), ...used.map((t) => `auto& ${t.name}_`)].join(", ");
    this.passing(used, () =>
      this.lambda(
        {
          before: `fold_rows<${combineNames[s.op]}>(${s.into.name}, ${this.expr(s.extent)}, `,
          params,
          after: `, ${used.map((t) => t.name).join(", ")});`,
        },
        { v: s.vs[1], lanes: this.widest("tile") },
        s,
      ),
    );
  }
}
/** The tiles that an `each` uses, the one that it runs over first. */
function tilesUsedBy(s: StmtOf<"each">): readonly Tile[] {
  const used = tilesOf(s.body, "acc", "row");
  return [s.over, ...new Set([...used.reads, ...used.writes].filter((t) => t !== s.over))];
}
function kindOf(s: StmtOf<"each">): BodyKind {
  if (item(s.over.shape, 0) === 1) return "line";
  return tilesOf(s.body, "acc", "row").writes.size > 0 ? "tile" : "result";
}
/** Emits a finished kernel. */
export function emit(k: Kernel, target: Target): Emitted {
  const e = new Emitter(k, target);
  e.depth = 2;
  e.stmts(k.body);
  const { open, close } = target.frame(k, e);
  const doc = k.doc === "" ? [] : [`// ${k.doc}`];
  return {
    text: `${[...doc, ...open, ...e.lines, ...close].join("\n")}\n`,
    scratch: e.scratch,
    tasks: tasksOf(k),
    ...(target.launch ? { launch: target.launch(k, e) } : {}),
  };
}
