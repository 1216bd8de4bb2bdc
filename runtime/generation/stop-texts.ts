// Where a text that is being written ends because of what it says.
import type { Codec } from "../tokens.ts";

/** Cuts a text that comes in pieces before the first of some texts in it. What may be the beginning of one is held back until that is known. */
export class StopTexts {
  readonly #stops: readonly string[];
  readonly #endsWhole: boolean;
  #held = "";

  /** None is empty. `endsWhole`: only where no digit follows, for token numbers. */
  constructor(stops: readonly string[], endsWhole = false) {
    [this.#stops, this.#endsWhole] = [stops, endsWhole];
  }
  /** What may be given out once `piece` has come. `ends`: the text ends there, and nothing more is to be pushed. */
  push(piece: string): { readonly text: string; readonly ends: boolean } {
    const all = this.#held + piece;
    const places = this.#stops.map((stop) => this.#placeOf(stop, all)).filter((at) => at >= 0);
    const ends = places.length > 0;
    const cut = ends ? Math.min(...places) : all.length - this.#begun(all);
    this.#held = ends ? "" : all.slice(cut);
    return { text: all.slice(0, cut), ends };
  }
  /** What was held back, once nothing more comes. */
  rest(): string {
    return this.#held;
  }
  /** Where a text first says this; -1: nowhere. */
  #placeOf(stop: string, text: string): number {
    const follows = (at: number): string => text.charAt(at + stop.length);
    let at = text.indexOf(stop);
    while (this.#endsWhole && at >= 0 && /\d/.test(follows(at))) at = text.indexOf(stop, at + 1);
    return at;
  }
  /** How many characters at the end of a text may begin a stop text. */
  #begun(text: string): number {
    const longest = Math.max(0, ...this.#stops.map((stop) => stop.length - 1));
    for (let n = Math.min(longest, text.length); n > 0; n--)
      if (this.#stops.some((stop) => text.endsWith(stop.slice(0, n)))) return n;
    return 0;
  }
}
/** Of a model whose texts are token numbers, what stops them is such numbers too: `5` is not said by `57`. */
export const stopTextsOf = (codec: Codec, stops: readonly string[] = []): StopTexts =>
  codec.name === "ids"
    ? new StopTexts(
        stops.map((stop) => ` ${codec.encode(stop).join(" ")}`),
        true,
      )
    : new StopTexts(stops);
