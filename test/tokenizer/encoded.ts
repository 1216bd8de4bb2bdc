import { encodeInMemory } from "../../runtime/cache/tokens.ts";
import { bytesInMemory } from "../../runtime/storage/token-text.ts";
import type { HowToEncode } from "../../runtime/tokenizer/encode-file.ts";
import type { Codec } from "../../runtime/tokens.ts";

/** The tokens of a file of these bytes. */
export const encoded = async (
  codec: Codec,
  bytes: Uint8Array,
  path = "a.txt",
  how: HowToEncode = {},
): Promise<Int32Array> => (await encodeInMemory(codec, bytesInMemory(bytes), path, how)).tokens;
