// What config.json says that nothing here reads. transformers keeps such keys and ignores them, as import does, but it tells of them.
import { isJsonObject } from "../storage/json.ts";
import { families } from "./families/index.ts";
import type { Json } from "./family.ts";

const words = (text: string): Set<string> => new Set(text.split(/\s+/));
/** Keys that change nothing of what a model computes for a text, or what `moec train` trains. */
const harmless = words(
  `_name_or_path _attn_implementation _attn_implementation_autoset activation_dropout add_cross_attention add_router_probs architectures
  attention_dropout attn_implementation auto_map aux_loss_alpha aux_loss_coef block_ffn_dim_multiplier block_multiple_of block_size bos_token bos_token_id
  chunk_size chunk_size_feed_forward classifier_dropout cross_attention_hidden_size decoder_layerdrop dropout dropout_rate dtype emb_pdrop
  enable_moe_fp32_combine encoder_layerdrop experts_per_token initial_context_length original_max_position_embeddings eod_token_id eos_token eos_token_id ep_size expert_dtype finetuning_task hidden_dropout id2label
  initializer_factor input_jitter_noise is_decoder is_encoder_decoder is_gated_act label2id mamba_chunk_size mamba_ssm_cache_dtype model_type
  moe_shared_expert_overlap mtp_layer_types mtp_layers_block_type mtp_loss_scaling_factor mtp_mlp_layer_types num_logits_to_keep num_nextn_predict_layers
  output_attentions output_hidden_states output_router_logits pad_token pad_token_id pretraining_tp problem_type qk_head_dim quantization_config rescale_prenorm_residual
  resid_pdrop residual_in_fp32 return_dict router_aux_loss_coef scale_decoder_outputs sep_token_id seq_aux task_specific_params text_config thinker_config
  tie_word_embeddings time_step_floor time_step_init_scheme time_step_max time_step_scale tokenizer_class torch_dtype transformers_version unsloth_version
  use_associative_scan use_cache use_mamba_kernels use_mambapy z_loss_coefficient`,
);
/** What transformers 4 wrote of generation, tasks and frameworks, above all in text models of larger ones. */
const ofGeneration = words(
  `_commit_hash bad_words_ids begin_suppress_tokens cache_implementation diversity_penalty do_sample early_stopping encoder_no_repeat_ngram_size
  exponential_decay_length_penalty forced_bos_token_id forced_eos_token_id gradient_checkpointing length_penalty max_length max_new_tokens min_length
  no_repeat_ngram_size num_beam_groups num_beams num_return_sequences output_past output_scores prefix pruned_heads remove_invalid_values
  repetition_penalty return_dict_in_generate suppress_tokens temperature tf_legacy_loss tie_encoder_decoder top_k top_p torchscript typical_p
  use_bfloat16`,
);
/** What released models say beside, and transformers does not read either: of their training, of parts for images, or what is the same in all of a family. */
const released = words(
  `add_classification_head add_full_attention_sink_bias add_swa_attention_sink_bias attention_hidden_size attention_method attention_projection_layout
  attn_output_gate attn_type_list block_dim block_mlp_init_scale block_norm_eps block_out_init_scale block_use_xavier_init calc_logits_for_entire_prompt
  cla_share_factor class_num conv_dim conv_dim_out conv_use_xavier_init d_inner dense_list embedding_dropout for_llm_compressor fused_add_norm
  hybrid_block_size hybrid_layer_pattern im_end_id im_newline_id im_start_id image_token_id init_method is_llama_config load_balance_coeff
  mamba_inner_layernorms mamba_ssm_dtype mask_init_id moe_capacity moe_drop_tokens moe_gate moe_layer_num_skipped moe_random_routing_dropped_token
  moe_use_aux_free mtp_num_hidden_layers mtp_transformer_layers mtp_use_dedicated_embeddings n_layer norm_type normalization_function num_expert_groups
  num_limited_groups num_media_embeds num_mtp_modules num_query_groups num_shared_expert org_vocab_size output_dropout pad_id pad_vocab_size_multiple
  pool_type position_embedding_xdrope rms_norm rope_interleaved skip_cls_token ssm_cfg swa_head_dim swa_num_attention_heads swa_num_key_value_heads
  swa_v_head_dim text_end_id text_start_id transformers.js_config unsloth_fixed use_grouped_mm use_grouped_topk use_mixed_mlp_moe use_mla use_mrope use_mtp
  use_pos_enc use_rotary_pos_emb video_end_id video_start_id xdrope_section`,
);
/** What RoPE's settings may say: a word that is none of these is one that a default stands for. */
const ofRope = words(
  `alpha attention_factor beta_fast beta_slow factor finetuned high_freq_factor llama_4_scaling_beta long_factor long_mscale low_freq_factor
  max_position_embeddings mrope_interleaved mrope_section mscale mscale_all_dim original_max_position_embeddings partial_rotary_factor rope_theta rope_type short_factor short_mscale
  truncate type`,
);
const first = (key: string): string => key.split(".")[0] ?? key;
/** The keys of a text model's config.json that no family reads and that are not known to be harmless. */
export function unknownKeys(config: Json): string[] {
  const read = new Set(
    families.flatMap(({ header, supported, lists = {}, startKeys = [] }) =>
      [
        ...Object.values(header).flatMap(({ keys }) => keys),
        ...Object.keys(supported),
        ...Object.values(lists).flat(),
        ...startKeys,
      ].map(first),
    ),
  );
  const known = [read, harmless, ofGeneration, released];
  const unread = given(config).filter(([key]) => !known.some((keys) => keys.has(key)));
  return [
    ...unread.map(([key]) => key),
    ...["rope_parameters", "rope_scaling"].flatMap((key) => unknownInRope(config, key)),
  ];
}
/** Nothing is what a key without one says. */
const given = (json: Json): [string, unknown][] => Object.entries(json).filter(([, x]) => x !== null);
/** The dotted paths of RoPE's settings, which may be an object for each kind of blocks, that are not known. */
function unknownInRope(config: Json, key: string): string[] {
  const { [key]: rope } = config;
  if (!isJsonObject(rope)) return [];
  return given(rope).flatMap(([name, x]) => {
    const all = isJsonObject(x)
      ? given(x).map(([inner]) => [inner, `${name}.${inner}`] as const)
      : [[name, name] as const];
    return all.flatMap(([last, path]) => (ofRope.has(last) ? [] : [`${key}.${path}`]));
  });
}
