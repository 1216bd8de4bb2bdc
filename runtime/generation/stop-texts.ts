// Where a text that is being written ends because of what it says.

/** Cuts a text that comes in pieces before the first of some texts in it. What may be the beginning of one is held back until that is known. */
export class StopTexts {
  readonly #stops: readonly string[];
  #held = "";

  /** None is empty. */
  constructor(stops: readonly string[]) {
    this.#stops = stops;
  }
  /** What may be given out once `piece` has come. `ends`: the text ends there, and nothing more is to be pushed. */
  push(piece: string): { readonly text: string; readonly ends: boolean } {
    const all = this.#held + piece;
    const places = this.#stops.map((stop) => all.indexOf(stop)).filter((at) => at >= 0);
    const ends = places.length > 0;
    const cut = ends ? Math.min(...places) : all.length - this.#begun(all);
    this.#held = ends ? "" : all.slice(cut);
    return { text: all.slice(0, cut), ends };
  }
  /** What was held back, once nothing more comes. */
  rest(): string {
    return this.#held;
  }
  /** How many characters at the end of a text may begin a stop text. */
  #begun(text: string): number {
    const longest = Math.max(0, ...this.#stops.map((stop) => stop.length - 1));
    for (let n = Math.min(longest, text.length); n > 0; n--)
      if (this.#stops.some((stop) => stop.length > n && text.endsWith(stop.slice(0, n)))) return n;
    return 0;
  }
}
