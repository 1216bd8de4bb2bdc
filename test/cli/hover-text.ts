import type { Hover } from "vscode-languageserver/node";

/** What an editor shows of a hover; "" of none. */
export const hoverText = (hover: Hover | null): string =>
  hover && typeof hover.contents === "object" && "value" in hover.contents ? hover.contents.value : "";
