// The transformers architectures that the standard library has: for each, which keys of config.json give the header's values, and how weights are
// named.
import type { Family } from "../family.ts";
import { axk1, axk2 } from "./axk.ts";
import { bamba } from "./bamba.ts";
import { beam } from "./beam.ts";
import { cohere, cohere2, cohere2Moe } from "./cohere2.ts";
import { dbrx } from "./dbrx.ts";
import {
  deepseekMoe,
  deepseekV2,
  deepseekV3,
  deepseekV32,
  glm4MoeLite,
  glmMoeDsa,
  glmMoeDsaShared,
  kimiK2,
  mistral4,
  sarvamMla,
} from "./deepseek.ts";
import { deepseekV4 } from "./deepseek-v4.ts";
import { llama, mistral, qwen2, qwen3, starcoder2 } from "./dense.ts";
import { dots3Note } from "./dots3.ts";
import { flint } from "./flint.ts";
import { gemma3Text } from "./gemma3.ts";
import { gemma4Edge, gemma4Text, gemma4UnifiedText } from "./gemma4.ts";
import { glm5Next } from "./glm5-next.ts";
import { granite, granitemoe, granitemoehybrid, granitemoeshared } from "./granite.ts";
import { hunyuan4, hunyuan4Text } from "./hunyuan4.ts";
import { inkling } from "./inkling.ts";
import { jamba } from "./jamba.ts";
import { jetmoe } from "./jetmoe.ts";
import { kimiLinear, ling3 } from "./kimi-linear.ts";
import { laguna } from "./laguna.ts";
import { lfm2, lfm2Moe } from "./lfm2.ts";
import { lfm3 } from "./lfm3.ts";
import { hyV3, minicpm5Moe, param2Moe, sarvamMoe } from "./like-glm.ts";
import { exaone4, glm4, ministral3, nanochat, seedOss, smollm3 } from "./like-llama.ts";
import { longcatFlash } from "./longcat.ts";
import { falconMamba, mamba } from "./mamba.ts";
import { mimoV2Flash } from "./mimo.ts";
import { minimax } from "./minimax.ts";
import { minimaxM3Text } from "./minimax-m3.ts";
import { mistralLarge4 } from "./mistral-large4.ts";
import { flexOlmo, minimaxM2, mixtral, olmoe } from "./mixtral.ts";
import { museGlimmer, museSpark } from "./muse.ts";
import { nemotronH } from "./nemotron.ts";
import { nllbMoe } from "./nllb.ts";
import { olmo2, olmo3, olmoHybrid } from "./olmo.ts";
import { phi3, phimoe } from "./phi.ts";
import { laraMini, qwen2Moe, qwen3Moe, qwen3Next, qwen35, qwen35Moe } from "./qwen.ts";
import { qwen4 } from "./qwen4.ts";
import { dots1, ernie45Moe, glm4Moe, hunyuanV1Moe, solarOpen } from "./shared-experts.ts";
import { gemma2, gptOss, llama4Text } from "./sliding-window.ts";
import { granitemoeSwa, kolibri1, mellum } from "./spaced.ts";
import { step35 } from "./step.ts";
import { mt5, switchTransformers, t5, umt5 } from "./t5.ts";
import { afmoe, exaoneMoe } from "./windowed.ts";
import {
  ariaText,
  ernie45VlMoeText,
  glm4vMoeText,
  qwen3OmniMoeText,
  qwen3VlMoeText,
  qwen3VlText,
  qwen25VlText,
} from "./with-images.ts";
import { zaya } from "./zaya.ts";

export const families: readonly Family[] = [
  llama,
  mistral,
  starcoder2,
  qwen2,
  qwen3,
  seedOss,
  smollm3,
  glm4,
  phi3,
  exaone4,
  olmo2,
  olmo3,
  olmoHybrid,
  ministral3,
  nanochat,
  cohere,
  cohere2,
  mixtral,
  olmoe,
  qwen3Moe,
  qwen2Moe,
  qwen3Next,
  qwen35Moe,
  qwen35,
  laraMini,
  lfm2,
  lfm2Moe,
  lfm3,
  glm4Moe,
  dots1,
  ernie45Moe,
  minimaxM2,
  hunyuanV1Moe,
  granite,
  granitemoe,
  granitemoeshared,
  granitemoehybrid,
  nemotronH,
  jamba,
  bamba,
  falconMamba,
  mamba,
  flexOlmo,
  solarOpen,
  phimoe,
  gptOss,
  gemma2,
  gemma3Text,
  llama4Text,
  deepseekMoe,
  deepseekV2,
  deepseekV3,
  kimiK2,
  sarvamMla,
  axk1,
  axk2,
  deepseekV32,
  glmMoeDsa,
  glmMoeDsaShared,
  dots3Note,
  glm5Next,
  inkling,
  glm4MoeLite,
  exaoneMoe,
  afmoe,
  hyV3,
  sarvamMoe,
  param2Moe,
  minicpm5Moe,
  qwen25VlText,
  qwen3VlText,
  glm4vMoeText,
  ernie45VlMoeText,
  qwen3VlMoeText,
  qwen3OmniMoeText,
  ariaText,
  gemma4Edge,
  gemma4Text,
  gemma4UnifiedText,
  cohere2Moe,
  mistral4,
  mistralLarge4,
  museSpark,
  museGlimmer,
  dbrx,
  longcatFlash,
  mimoV2Flash,
  granitemoeSwa,
  mellum,
  laguna,
  step35,
  flint,
  beam,
  kolibri1,
  t5,
  mt5,
  umt5,
  switchTransformers,
  nllbMoe,
  kimiLinear,
  ling3,
  minimax,
  deepseekV4,
  hunyuan4,
  hunyuan4Text,
  qwen4,
  minimaxM3Text,
  jetmoe,
  zaya,
];
