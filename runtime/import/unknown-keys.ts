// What config.json says that nothing here reads. transformers keeps such keys and ignores them, as import does, but it tells of them.
import { families } from "./families/index.ts";
import type { Json } from "./family.ts";

/** Keys that change nothing of what a model computes for a text, or what `moec train` trains. */
const harmless = new Set(
  `_name_or_path _attn_implementation _attn_implementation_autoset activation_dropout add_cross_attention add_router_probs architectures
  attention_dropout attn_implementation auto_map aux_loss_alpha aux_loss_coef block_ffn_dim_multiplier block_multiple_of block_size bos_token bos_token_id
  chunk_size chunk_size_feed_forward classifier_dropout cross_attention_hidden_size decoder_layerdrop dropout dropout_rate dtype emb_pdrop
  enable_moe_fp32_combine encoder_layerdrop experts_per_token initial_context_length original_max_position_embeddings eod_token_id eos_token eos_token_id ep_size expert_dtype finetuning_task hidden_dropout id2label
  initializer_factor input_jitter_noise is_decoder is_encoder_decoder is_gated_act label2id mamba_chunk_size mamba_ssm_cache_dtype model_type
  moe_shared_expert_overlap mtp_layer_types mtp_layers_block_type mtp_loss_scaling_factor mtp_mlp_layer_types num_logits_to_keep num_nextn_predict_layers
  output_attentions output_hidden_states output_router_logits pad_token pad_token_id pretraining_tp problem_type qk_head_dim quantization_config rescale_prenorm_residual
  resid_pdrop residual_in_fp32 return_dict router_aux_loss_coef scale_decoder_outputs sep_token_id seq_aux task_specific_params text_config thinker_config
  tie_word_embeddings time_step_floor time_step_init_scheme time_step_max time_step_scale tokenizer_class torch_dtype transformers_version unsloth_version
  use_associative_scan use_cache use_mamba_kernels use_mambapy z_loss_coefficient`.split(/\s+/),
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
  return Object.keys(config).filter((key) => !read.has(key) && !harmless.has(key));
}
