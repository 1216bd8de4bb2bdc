// Models that also read images: config.json has that of the text model within, and the text model's weights have names of their own.
import type { Family } from "./family.ts";

/** What comes before the names of other parts: they are not read. */
const otherParts = [
  "vision_model.",
  "vision_tower.",
  "vision_embedder.",
  "visual.",
  "vit.",
  "vision_final_layernorm.",
  "multi_modal_projector.",
  "vision_projector.",
  "mlp1.",
  "mm_projector.",
  "patch_merge_mlp.",
  "resampler_model.",
  "audio_tower.",
  "sound_encoder.",
  "sound_projection.",
  "embed_vision.",
  "embed_audio.",
  "talker.",
  "code2wav.",
].flatMap((part) => [part, `model.${part}`, `thinker.${part}`]);
/** The names that a larger model may give to a weight, or to weights, of its text model. */
const placesOf = (theirs: string): string[] =>
  theirs.startsWith("model.")
    ? [
        theirs.replace("model.", "model.language_model."),
        theirs.replace("model.", "language_model.model."),
        `thinker.${theirs}`, // Qwen3-Omni
        theirs, // its thinker alone; last, for its head is named as the first one's
      ]
    : [theirs, `language_model.${theirs}`, `thinker.${theirs}`];

/** The family of a text model that is a part of a larger one. */
export const within = (family: Family): Family => ({
  ...family,
  names: Object.fromEntries(
    Object.entries(family.names).flatMap(([theirs, ours]) => placesOf(theirs).map((name) => [name, ours])),
  ),
  ignoredPrefixes: (count) => [...(family.ignoredPrefixes?.(count) ?? []).flatMap(placesOf), ...otherParts],
});
