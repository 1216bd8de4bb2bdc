"""Configurations of the tiny models of hf.py: a row for each of transformers' families that `moec import` takes."""

COMMON = {"vocab_size": 40, "hidden_size": 16, "max_position_embeddings": 64, "bos_token_id": None, "eos_token_id": None, "pad_token_id": None}
DENSE = {"num_hidden_layers": 2, "num_attention_heads": 4, "num_key_value_heads": 2}
HEADS = DENSE | {"num_experts_per_tok": 2}
DELTA = {"linear_key_head_dim": 3, "linear_value_head_dim": 4, "linear_num_key_heads": 2, "linear_num_value_heads": 4}
LATENT = {"kv_lora_rank": 5, "qk_nope_head_dim": 3, "qk_rope_head_dim": 4, "v_head_dim": 5}
HALF_TURNED = {"rope_parameters": {"rope_type": "default", "rope_theta": 10000.0, "partial_rotary_factor": 0.5}}
IMAGES = {"depth": 1, "hidden_size": 4, "intermediate_size": 4, "num_heads": 1, "out_hidden_size": 16, "patch_size": 1} | {
    "spatial_merge_size": 1,
    "temporal_patch_size": 1,
}
READS = {"d_kv": 5, "d_ff": 12, "num_layers": 2, "num_decoder_layers": 2, "num_heads": 2, "decoder_start_token_id": 0} | {
    "relative_attention_num_buckets": 8,
    "relative_attention_max_distance": 12,
}
INKLING = (
    HEADS
    | {"num_hidden_layers": 3, "head_dim": 8, "swa_num_attention_heads": 2, "swa_num_key_value_heads": 1, "swa_head_dim": 6, "sliding_window_size": 4}
    | {"d_rel": 3, "rel_extent": 5, "log_scaling_n_floor": 3, "local_layer_ids": [0, 2], "mlp_layer_types": ["dense", "sparse", "sparse"]}
    | {"intermediate_size": 12, "moe_intermediate_size": 6, "n_routed_experts": 5, "conv_kernel_size": 3, "logits_mup_width_multiplier": 2.0}
)
# Models whose own f32 logits are further from f64 than 1e-6: the delta rule accumulates rounding.
WIDE = {"Qwen3NextForCausalLM", "Glm5NextForConditionalGeneration", "Qwen4ExpForCausalLM", "Qwen3_5MoeForCausalLM", "Qwen3_5ForCausalLM", "LaraMiniForCausalLM", "OlmoHybridForCausalLM", "GraniteMoeHybridForCausalLM", "NemotronHForCausalLM", "JambaForCausalLM", "BambaForCausalLM", "FalconMambaForCausalLM", "MambaForCausalLM"} | {"KimiLinearForCausalLM", "BailingHybridForCausalLM", "MiniMaxForCausalLM", "DeepseekV4ForCausalLM", "MiniMaxM3VLForCausalLM", "JetMoeForCausalLM", "MuseSparkForConditionalGeneration", "MuseGlimmerForConditionalGeneration"}
# By folder: the configuration's class, where it is not named like the model's.
CONFIGS = {
    "minimax_m3_vl_text": "MiniMaxM3VLTextConfig",
    "gemma3_text": "Gemma3TextConfig",
    "llama4_text": "Llama4TextConfig",
    "qwen3_5_text": "Qwen3_5TextConfig",
    "qwen3_5_moe_text": "Qwen3_5MoeTextConfig",
    "qwen4_exp_text": "Qwen4ExpTextConfig",
    "qwen4_exp_text_ngrams": "Qwen4ExpTextConfig",
    "sarvam_moe": "SarvamMoEConfig",
    "sarvam_mla": "SarvamMLAConfig",
    "param2moe": "Param2MoeConfig",
    "gemma4_text": "Gemma4TextConfig",
    "inkling_text": "InklingTextConfig",
    "gemma4_text_edge": "Gemma4TextConfig",
    "gemma4_unified_text": "Gemma4UnifiedTextConfig",
    "dots3_note_text": "Dots3NoteTextConfig",
}
# By folder: the type in config.json, where transformers has the class under another.
TYPES = {"kimi_k2": "kimi_k2"}
# Buffers that are saved and that the model does not begin with as it ends.
SAVED = ["correction_bias", "expert_bias", "balancing_biases", "layer_scalar", "tid2eid"]
# Those whose gradients are stored too.
GRADIENTS = ["mistral_large4_text", "hy_v4_vl_text", "qwen4_exp_text", "deepseek_ocr2_text", "muse_spark_text", "dots3_note_text", "glm5_next_text", "inkling_text", "olmo_hybrid"]
# By folder: transformers' class, its configuration, and the maximum size of a weights file (OLMoE's are split into several, with an index). A
# configuration with a part for images is that of a model that reads them too.
MODELS = {
    "llama": (
        "Llama",
        DENSE
        | {"intermediate_size": 12, "head_dim": 8, "attention_bias": True}
        | {"rope_parameters": {"rope_type": "llama3", "rope_theta": 100.0, "factor": 8.0, "original_max_position_embeddings": 60}
            | {"low_freq_factor": 1.0, "high_freq_factor": 4.0}},
        "1GB",
    ),
    "mistral": ("Mistral", DENSE | {"intermediate_size": 12, "sliding_window": 5}, "1GB"),
    "qwen2": ("Qwen2", DENSE | {"intermediate_size": 12, "tie_word_embeddings": True}, "1GB"),
    "qwen3": ("Qwen3", DENSE | {"intermediate_size": 12, "head_dim": 8}, "1GB"),
    "seed_oss": ("SeedOss", DENSE | {"intermediate_size": 12, "head_dim": 6}, "1GB"),
    "smollm3": (
        "SmolLM3",
        DENSE | {"num_hidden_layers": 4, "intermediate_size": 12, "rope_parameters": {"rope_type": "default", "rope_theta": 100.0}},
        "1GB",
    ),
    "glm4": ("Glm4", DENSE | {"intermediate_size": 12, "head_dim": 8}, "1GB"),
    "phi3": (
        "Phi3",
        {"num_hidden_layers": 2, "num_attention_heads": 2, "num_key_value_heads": 1, "intermediate_size": 12, "sliding_window": 4}
        | {"rope_parameters": {"rope_type": "longrope", "rope_theta": 10000.0, "short_factor": [1.2, 2.7, 1.5], "long_factor": [1.1, 1.9, 3.1]}}
        | {"original_max_position_embeddings": 8, "partial_rotary_factor": 0.75},
        "1GB",
    ),
    "exaone4": (
        "Exaone4",
        DENSE
        | {"num_hidden_layers": 3, "layer_types": ["sliding_attention", "full_attention", "sliding_attention"], "intermediate_size": 12, "sliding_window": 4}
        | {"rope_parameters": {"rope_type": "llama3", "rope_theta": 100.0, "factor": 8.0, "original_max_position_embeddings": 60}
            | {"low_freq_factor": 1.0, "high_freq_factor": 4.0}},
        "1GB",
    ),
    # Without windows heads turn in all blocks.
    "exaone4_whole": ("Exaone4", DENSE | {"sliding_window": None, "layer_types": ["full_attention"] * 2, "intermediate_size": 12}, "1GB"),
    "olmo2": ("Olmo2", DENSE | {"intermediate_size": 12}, "1GB"),
    "olmo3": (
        "Olmo3",
        DENSE
        | {"num_hidden_layers": 3, "layer_types": ["sliding_attention", "full_attention", "sliding_attention"], "intermediate_size": 12, "sliding_window": 4}
        | {"rope_parameters": {"sliding_attention": {"rope_type": "default", "rope_theta": 100.0}}
            | {"full_attention": {"rope_type": "yarn", "rope_theta": 1000.0, "factor": 8.0, "original_max_position_embeddings": 16, "beta_fast": 4.0}}},
        "1GB",
    ),
    "olmo_hybrid": (
        "OlmoHybrid",
        DENSE
        | DELTA
        | {"num_hidden_layers": 4, "layer_types": ["linear_attention", "full_attention", "linear_attention", "linear_attention"]}
        | {"intermediate_size": 12, "rope_parameters": {"rope_type": "default", "rope_theta": None}},
        "1GB",
    ),
    "ministral3": (
        "Ministral3",
        DENSE
        | {"intermediate_size": 12, "head_dim": 8, "rope_parameters": {"rope_type": "yarn", "rope_theta": 1000.0, "factor": 16.0, "beta_fast": 4.0}
            | {"original_max_position_embeddings": 4, "mscale": 1.0, "mscale_all_dim": 1.0, "llama_4_scaling_beta": 0.3}},
        "1GB",
    ),
    "nanochat": ("NanoChat", DENSE | {"intermediate_size": 12, "final_logit_softcapping": 1.5}, "1GB"),
    "cohere": ("Cohere", DENSE | {"intermediate_size": 12, "use_qk_norm": True, "logit_scale": 0.3}, "1GB"),
    "cohere2": (
        "Cohere2",
        DENSE
        | {"num_hidden_layers": 3, "layer_types": ["sliding_attention", "full_attention", "sliding_attention"], "intermediate_size": 12, "sliding_window": 4}
        | {"attention_bias": True, "tie_word_embeddings": False},
        "1GB",
    ),
    "mixtral": ("Mixtral", HEADS | {"intermediate_size": 24, "num_local_experts": 4, "sliding_window": 5}, "1GB"),
    "olmoe": (
        "Olmoe",
        HEADS | {"intermediate_size": 20, "num_key_value_heads": 4, "num_experts": 5, "num_experts_per_tok": 3, "clip_qkv": 0.9},
        "20KB",
    ),
    "qwen3_moe": (
        "Qwen3Moe",
        HEADS
        | {"num_hidden_layers": 5, "intermediate_size": 12, "moe_intermediate_size": 8, "head_dim": 8, "num_local_experts": 5, "norm_topk_prob": True}
        | {"decoder_sparse_step": 2, "mlp_only_layers": [0, 1]},
        "1GB",
    ),
    "qwen2_moe": (
        "Qwen2Moe",
        HEADS
        | {"intermediate_size": 14, "moe_intermediate_size": 10, "shared_expert_intermediate_size": 12, "num_experts": 6, "mlp_only_layers": [0]},
        "1GB",
    ),
    "glm4_moe": (
        "Glm4Moe",
        HEADS
        | {"num_hidden_layers": 3, "head_dim": 8, "moe_intermediate_size": 8, "intermediate_size": 20, "n_routed_experts": 6, "n_shared_experts": 2}
        | {"first_k_dense_replace": 1, "use_qk_norm": True, "attention_bias": True, "routed_scaling_factor": 1.7},
        "1GB",
    ),
    "starcoder2": ("Starcoder2", DENSE | {"intermediate_size": 12, "sliding_window": 5, "norm_epsilon": 1e-3}, "1GB"),
    "granite": (
        "Granite",
        DENSE
        | {"intermediate_size": 12, "attention_bias": True, "tie_word_embeddings": True}
        | {"embedding_multiplier": 2.5, "attention_multiplier": 0.3, "residual_multiplier": 0.6, "logits_scaling": 1.5},
        "1GB",
    ),
    "granitemoe": (
        "GraniteMoe",
        HEADS
        | {"intermediate_size": 12, "num_local_experts": 6, "num_experts_per_tok": 3, "tie_word_embeddings": True}
        | {"embedding_multiplier": 2.5, "attention_multiplier": 0.3, "residual_multiplier": 0.6, "logits_scaling": 1.5},
        "1GB",
    ),
    "granitemoeshared": (
        "GraniteMoeShared",
        HEADS
        | {"intermediate_size": 8, "shared_intermediate_size": 6, "num_local_experts": 5, "num_experts_per_tok": 3}
        | {"embedding_multiplier": 2.5, "attention_multiplier": 0.3, "residual_multiplier": 0.6, "logits_scaling": 1.5},
        "1GB",
    ),
    "granitemoehybrid": (
        "GraniteMoeHybrid",
        HEADS
        | {"num_hidden_layers": 4, "layer_types": ["mamba", "attention", "mamba", "mamba"]}
        | {"intermediate_size": 8, "shared_intermediate_size": 6, "num_local_experts": 5, "num_experts_per_tok": 3}
        | {"embedding_multiplier": 2.5, "attention_multiplier": 0.3, "residual_multiplier": 0.6, "logits_scaling": 1.5}
        | {"mamba_n_heads": 4, "mamba_d_head": 8, "mamba_n_groups": 2, "mamba_d_state": 5, "mamba_chunk_size": 4, "mamba_proj_bias": True}
        | {"time_step_limit": (0.1, 1.2), "position_embedding_type": "nope"},
        "1GB",
    ),
    # Without experts, and with attention whose heads turn.
    "granitemoehybrid_dense": (
        "GraniteMoeHybrid",
        DENSE
        | {"num_hidden_layers": 3, "layer_types": ["mamba", "mamba", "attention"], "num_local_experts": 0, "intermediate_size": 8}
        | {"shared_intermediate_size": 12, "mamba_n_heads": 4, "mamba_d_head": "auto", "mamba_d_state": 5, "mamba_conv_bias": False}
        | {"position_embedding_type": "rope", "tie_word_embeddings": True},
        "1GB",
    ),
    # Of five blocks one has attention, and two are mixtures.
    "jamba": (
        "Jamba",
        HEADS
        | {"num_hidden_layers": 5, "attn_layer_period": 3, "attn_layer_offset": 1, "expert_layer_period": 2, "expert_layer_offset": 1}
        | {"intermediate_size": 12, "num_experts": 5, "mamba_d_state": 5, "mamba_d_conv": 3, "mamba_expand": 3, "mamba_dt_rank": 3}
        | {"mamba_proj_bias": True},
        "1GB",
    ),
    "bamba": (
        "Bamba",
        DENSE
        | {"num_hidden_layers": 3, "attn_layer_indices": [1], "intermediate_size": 12, "mamba_n_heads": 4, "mamba_d_state": 5, "mamba_n_groups": 2}
        | {"mamba_chunk_size": 4},
        "1GB",
    ),
    "falcon_mamba": ("FalconMamba", {"num_hidden_layers": 2, "state_size": 5, "expand": 3, "time_step_rank": 3, "use_bias": True}, "1GB"),
    "mamba": ("Mamba", {"num_hidden_layers": 2, "state_size": 5, "conv_kernel": 3, "use_conv_bias": False}, "1GB"),
    "nemotron_h": (
        "NemotronH",
        HEADS
        | {"layers_block_type": ["mamba", "moe", "mamba", "attention", "moe", "mlp"], "head_dim": 6, "intermediate_size": 12}
        | {"moe_intermediate_size": 8, "moe_shared_expert_intermediate_size": 10, "n_routed_experts": 6, "n_group": 3, "topk_group": 2}
        | {"routed_scaling_factor": 1.7, "mamba_num_heads": 4, "mamba_head_dim": 6, "n_groups": 2, "ssm_state_size": 5, "chunk_size": 4}
        | {"use_bias": True, "mlp_bias": True, "time_step_min": 0.4, "moe_latent_size": 7},
        "1GB",
    ),
    "flex_olmo": (
        "FlexOlmo",
        HEADS | {"intermediate_size": 8, "num_experts": 5, "num_experts_per_tok": 3},
        "1GB",
    ),
    "solar_open": (
        "SolarOpen",
        HEADS
        | {"head_dim": 8, "moe_intermediate_size": 8, "n_routed_experts": 5, "n_shared_experts": 2, "attention_bias": True}
        | {"routed_scaling_factor": 1.7},
        "1GB",
    ),
    "llama4_text": (
        "Llama4",
        HEADS
        | {"num_hidden_layers": 4, "head_dim": 8, "intermediate_size": 8, "intermediate_size_mlp": 12, "num_local_experts": 4, "num_experts_per_tok": 1}
        | {"interleave_moe_layer_step": 2, "attention_chunk_size": 4, "floor_scale": 3, "attn_scale": 0.7}
        | {"rope_parameters": {"rope_type": "llama3", "rope_theta": 10000.0, "factor": 8.0, "original_max_position_embeddings": 120}
            | {"low_freq_factor": 1.0, "high_freq_factor": 4.0}},
        "1GB",
    ),
    "qwen3_next": (
        "Qwen3Next",
        HEADS
        | {"num_hidden_layers": 4, "head_dim": 8, "moe_intermediate_size": 6, "shared_expert_intermediate_size": 5, "num_experts": 4}
        | DELTA
        | {"partial_rotary_factor": 0.5},
        "1GB",
    ),
    "qwen3_5_moe_text": (
        "Qwen3_5Moe",
        HEADS
        | {"num_hidden_layers": 4, "head_dim": 8, "moe_intermediate_size": 6, "shared_expert_intermediate_size": 5, "num_experts": 4}
        | DELTA
        | HALF_TURNED,
        "1GB",
    ),
    "qwen3_5_text": (
        "Qwen3_5",
        DENSE
        | {"num_hidden_layers": 4, "head_dim": 8, "intermediate_size": 12}
        | DELTA
        | HALF_TURNED,
        "1GB",
    ),
    "lfm2_moe": (
        "Lfm2Moe",
        HEADS
        | {"num_hidden_layers": 7, "intermediate_size": 12, "moe_intermediate_size": 6, "num_experts": 4, "num_dense_layers": 1, "conv_bias": True}
        | {"routed_scaling_factor": 1.7, "layer_types": ["conv", "conv", "full_attention", "conv", "conv", "full_attention", "conv"]},
        "1GB",
    ),
    "lfm2": (
        "Lfm2",
        DENSE
        | {"num_hidden_layers": 13, "intermediate_size": 16, "block_multiple_of": 4, "block_ffn_dim_multiplier": 1.3}
        | {"layer_types": ["full_attention" if i in [1, 4, 8, 11] else "conv" for i in range(13)]},
        "1GB",
    ),
    "lfm3": (
        "Lfm3",
        DENSE
        | {"num_hidden_layers": 3, "layer_types": ["conv", "full_attention", "sliding_attention"], "intermediate_size": 12, "head_dim": 8, "sliding_window": 4}
        | {"attention_bias": True, "conv_bias": True}
        | {"rope_parameters": {"sliding_attention": {"rope_type": "default", "rope_theta": 100.0}}
            | {"full_attention": {"rope_type": "proportional", "rope_theta": 1000.0, "partial_rotary_factor": 0.7}}},
        "1GB",
    ),
    "phimoe": (
        "Phimoe",
        HEADS
        | {"intermediate_size": 8, "num_local_experts": 6, "router_jitter_noise": 0.2, "attention_bias": True, "lm_head_bias": True}
        | {"rope_parameters": {"rope_type": "longrope", "rope_theta": 10000.0, "original_max_position_embeddings": 8, "short_mscale": 1.1}
            | {"short_factor": [1.2, 2.7], "long_factor": [1.2, 2.7], "long_mscale": 1.3}},
        "1GB",
    ),
    "gpt_oss": (
        "GptOss",
        HEADS
        | {"intermediate_size": 12, "head_dim": 8, "num_local_experts": 5, "sliding_window": 4, "swiglu_limit": 0.6, "swiglu_alpha": 1.5}
        | {"rope_parameters": {"rope_type": "yarn", "rope_theta": 10000.0, "factor": 4.0, "truncate": False, "original_max_position_embeddings": 16}},
        "1GB",
    ),
    "gemma2": (
        "Gemma2",
        DENSE
        | {"head_dim": 8, "intermediate_size": 12, "sliding_window": 4, "query_pre_attn_scalar": 12, "attn_logit_softcapping": 0.8}
        | {"final_logit_softcapping": 1.5},
        "1GB",
    ),
    "gemma4_text": (
        "Gemma4",
        DENSE
        | {"num_hidden_layers": 4, "head_dim": 4, "global_head_dim": 12, "num_global_key_value_heads": 1, "attention_k_eq_v": True, "sliding_window": 4}
        | {"intermediate_size": 12, "enable_moe_block": True, "num_experts": 4, "top_k_experts": 2, "moe_intermediate_size": 6}
        | {"hidden_size_per_layer_input": 0, "final_logit_softcapping": 1.5}
        | {"layer_types": ["sliding_attention", "full_attention"] * 2}
        | {"rope_parameters": {"sliding_attention": {"rope_type": "default", "rope_theta": 10000.0}}
            | {"full_attention": {"rope_type": "proportional", "rope_theta": 100.0, "partial_rotary_factor": 0.5}}},
        "1GB",
    ),
    # As E2B: features of a token for each block, and blocks that share keys and values.
    "gemma4_text_edge": (
        "Gemma4",
        DENSE
        | {"num_hidden_layers": 8, "head_dim": 4, "global_head_dim": 12, "num_kv_shared_layers": 4, "sliding_window": 4, "intermediate_size": 12}
        | {"hidden_size_per_layer_input": 6, "vocab_size_per_layer_input": 40, "use_double_wide_mlp": True, "final_logit_softcapping": 1.5}
        | {"layer_types": ["sliding_attention", "full_attention"] * 4}
        | {"rope_parameters": {"sliding_attention": {"rope_type": "default", "rope_theta": 10000.0}}
            | {"full_attention": {"rope_type": "proportional", "rope_theta": 100.0, "partial_rotary_factor": 0.5}}},
        "1GB",
    ),
    "cohere2_moe": (
        "Cohere2Moe",
        HEADS
        | {"num_hidden_layers": 4, "head_dim": 6, "intermediate_size": 5, "prefix_dense_intermediate_size": 12, "first_k_dense_replace": 1}
        | {"num_experts": 4, "num_shared_experts": 2, "expert_selection_fn": "sigmoid", "sliding_window": 4, "sliding_window_pattern": 2}
        | {"logit_scale": 0.5},
        "1GB",
    ),
    "gemma4_unified_text": (
        "Gemma4Unified",
        DENSE
        | {"num_hidden_layers": 3, "head_dim": 4, "global_head_dim": 8, "intermediate_size": 12, "sliding_window": 4}
        | {"layer_types": ["sliding_attention", "sliding_attention", "full_attention"]}
        | {"rope_parameters": {"sliding_attention": {"rope_type": "default", "rope_theta": 10000.0}}
            | {"full_attention": {"rope_type": "proportional", "rope_theta": 100.0, "partial_rotary_factor": 0.5}}},
        "1GB",
    ),
    # Its attention reads a rope_theta, which its configuration does not have by itself.
    "dbrx": (
        "Dbrx",
        {"d_model": 16, "n_heads": 4, "n_layers": 2, "max_seq_len": 64}
        | {"attn_config": {"kv_n_heads": 2, "clip_qkv": 0.9, "rope_theta": 10000.0}}
        | {"ffn_config": {"ffn_hidden_size": 6, "moe_num_experts": 5, "moe_top_k": 3}},
        "1GB",
    ),
    "mimo_v2_flash": (
        "MiMoV2Flash",
        HEADS
        | {"num_hidden_layers": 6, "num_key_value_heads": 1, "head_dim": 6, "v_head_dim": 4, "intermediate_size": 12, "moe_intermediate_size": 5}
        | {"n_routed_experts": 4, "n_group": 2, "routed_scaling_factor": 1.7, "sliding_window": 4, "attention_bias": True}
        | {"layer_types": ["full_attention", "sliding_attention", "full_attention", "sliding_attention", "sliding_attention", "full_attention"]}
        | {"rope_parameters": {"full_attention": {"rope_type": "default", "rope_theta": 100.0, "partial_rotary_factor": 0.7}}
            | {"sliding_attention": {"rope_type": "default", "rope_theta": 10000.0, "partial_rotary_factor": 0.334}}},
        "1GB",
    ),
    "granitemoe_swa": (
        "GraniteMoeSWA",
        HEADS
        | {"num_hidden_layers": 5, "intermediate_size": 5, "num_local_experts": 4, "shared_intermediate_size": 6, "sliding_window": 4}
        | {"embedding_multiplier": 2.5, "attention_multiplier": 0.3, "residual_multiplier": 0.6, "logits_scaling": 1.5}
        | {"layer_rope_theta": [0, 100.0, 100.0, 100.0, 0]},
        "1GB",
    ),
    "mellum": (
        "Mellum",
        HEADS
        | {"num_hidden_layers": 4, "head_dim": 6, "moe_intermediate_size": 5, "num_experts": 4, "sliding_window": 4}
        | {"layer_types": ["sliding_attention", "full_attention"] * 2}
        | {"rope_parameters": {kind: {"rope_type": "default", "rope_theta": theta} for kind, theta in [("full_attention", 1e6), ("sliding_attention", 100.0)]}},
        "1GB",
    ),
    # Of its last blocks one has limits for what experts multiply, one for the shared expert.
    "step3p5": (
        "Step3p7",
        {
            "text_config": HEADS
            | {"num_hidden_layers": 4, "num_sliding_attention_heads": 2, "head_dim": 6, "pad_token_id": 39, "intermediate_size": 6, "moe_intermediate_size": 4}
            | {"n_routed_experts": 4, "share_expert_dim": 5, "moe_router_scaling_factor": 1.7, "moe_layers_enum": "1,2,3", "sliding_window": 4}
            | {"layer_types": ["full_attention", "sliding_attention", "full_attention", "sliding_attention"], "swiglu_limits": [0, 0, 0.2, 0]}
            | {"swiglu_limits_shared": [0.3, 0, 0, 0.3], "rope_theta": [100.0, 10.0, 100.0, 10.0], "partial_rotary_factors": [0.7, 1.0, 0.7, 1.0]}
            | {"rope_scaling": {"rope_type": "llama3", "factor": 8.0, "original_max_position_embeddings": 60, "low_freq_factor": 1.0, "high_freq_factor": 4.0}},
            "vision_config": {"hidden_size": 4, "intermediate_size": 4, "mlp_ratio": 1.0, "num_attention_heads": 1, "num_hidden_layers": 1, "image_size": 8, "patch_size": 4},
        },
        "1GB",
    ),
    "laguna": (
        "Laguna",
        HEADS
        | {"num_hidden_layers": 4, "layer_types": ["full_attention", "sliding_attention", "full_attention", "sliding_attention"]}
        | {"mlp_layer_types": ["dense", "sparse", "sparse", "dense"], "num_attention_heads_per_layer": [2, 4, 2, 4], "gating": "per-head"}
        | {"head_dim": 8, "intermediate_size": 12, "moe_intermediate_size": 6, "shared_expert_intermediate_size": 5, "num_experts": 5}
        | {"sliding_window": 4, "moe_routed_scaling_factor": 1.7, "attention_bias": True}
        | {"rope_parameters": {
            "full_attention": {"rope_type": "yarn", "rope_theta": 100.0, "partial_rotary_factor": 0.5, "factor": 4.0, "beta_fast": 8.0}
            | {"original_max_position_embeddings": 16},
            "sliding_attention": {"rope_type": "default", "rope_theta": 50.0},
        }},
        "1GB",
    ),
    "flint": (
        "Flint",
        HEADS
        | {"num_hidden_layers": 6, "head_dim": 6, "intermediate_size": 12, "moe_intermediate_size": 5, "shared_expert_intermediate_size": 7, "num_experts": 5}
        | {"sliding_window": 4, "mlp_only_layers": [0, 1, 3], "rope_parameters": {"rope_type": "default", "rope_theta": 100.0}},
        "1GB",
    ),
    "lara_mini": (
        "LaraMini",
        HEADS
        | DELTA
        | {"num_hidden_layers": 4, "head_dim": 6, "moe_intermediate_size": 5, "shared_expert_intermediate_size": 7, "num_experts": 5, "sliding_window": 4}
        | {"layer_types": ["linear_attention", "full_attention", "sliding_attention", "linear_attention"]}
        | {"rope_parameters": {"rope_type": "default", "rope_theta": 100.0}},
        "1GB",
    ),
    "beam": (
        "Beam",
        HEADS
        | {"num_hidden_layers": 5, "head_dim": 6, "intermediate_size": 12, "moe_intermediate_size": 5, "num_experts": 6, "n_group": 3, "topk_group": 2}
        | {"layer_types": ["full_attention", "sliding_attention", "full_attention", "sliding_attention", "full_attention"], "sliding_window": 4}
        | {"mlp_layer_types": ["dense", "sparse", "sparse", "dense", "sparse"], "routed_scaling_factor": 1.7, "final_logit_softcapping": 3.0}
        | {"rope_parameters": {"sliding_attention": {"rope_type": "default", "rope_theta": 100.0}, "full_attention": None}},
        "1GB",
    ),
    "kolibri1": (
        "Kolibri1",
        HEADS
        | {"num_hidden_layers": 6, "head_dim": 6, "moe_intermediate_size": 5, "shared_expert_intermediate_size": 7, "num_local_experts": 5}
        | {"sliding_window": 4, "rope_parameters": {"rope_type": "default", "rope_theta": 100.0}},
        "1GB",
    ),
    "minimax_m2": (
        "MiniMaxM2",
        HEADS | {"intermediate_size": 8, "head_dim": 8, "num_local_experts": 6, "partial_rotary_factor": 0.5},
        "1GB",
    ),
    "hy_v3": (
        "HYV3",
        HEADS
        | {"head_dim": 8, "moe_intermediate_size": 6, "intermediate_size": 12, "num_experts": 5, "num_shared_experts": 2, "rope_theta": 10000.0},
        "1GB",
    ),
    "sarvam_moe": (
        "Glm4Moe",
        HEADS | {"head_dim": 8, "moe_intermediate_size": 6, "intermediate_size": 12, "n_routed_experts": 5, "attention_bias": True},
        "1GB",
    ),
    "param2moe": (
        "Glm4Moe",
        HEADS | {"head_dim": 8, "moe_intermediate_size": 6, "intermediate_size": 12, "n_routed_experts": 5, "attention_bias": True},
        "1GB",
    ),
    "minicpm5_moe": (
        "MiniCPM5Moe",
        HEADS | {"num_hidden_layers": 3, "head_dim": 8, "moe_intermediate_size": 6, "intermediate_size": 12, "n_routed_experts": 5},
        "1GB",
    ),
    "glm4v_moe_text": (
        "Glm4vMoe",
        {
            "text_config": HEADS
            | {"moe_intermediate_size": 6, "intermediate_size": 12, "n_routed_experts": 5, "routed_scaling_factor": 1.7}
            | {"rope_parameters": HALF_TURNED["rope_parameters"] | {"mrope_section": [1, 0, 0]}},
            "vision_config": IMAGES | {"image_size": 4},
        },
        "1GB",
    ),
    "deepseek_ocr2_text": (
        "DeepseekOcr2",
        {
            "text_config": HEADS
            | {"num_hidden_layers": 3, "intermediate_size": 12, "moe_intermediate_size": 6, "n_routed_experts": 5, "n_shared_experts": 2}
            | {"mlp_layer_types": ["dense", "sparse", "sparse"], "routed_scaling_factor": 1.7},
            "vision_config": {
                "sam_config": {"hidden_size": 4, "num_hidden_layers": 1, "num_attention_heads": 1, "image_size": 16, "patch_size": 4, "window_size": 2}
                | {"output_channels": 4, "mlp_dim": 4, "downsample_channels": [4, 4], "global_attn_indexes": [0]},
                "encoder_config": {"hidden_size": 4, "num_hidden_layers": 1, "num_attention_heads": 1, "num_key_value_heads": 1}
                | {"intermediate_size": 4, "vocab_size": 4},
            },
        },
        "1GB",
    ),
    "muse_spark_text": (
        "MuseSpark",
        {
            "text_config": HEADS
            | {"num_hidden_layers": 6, "intermediate_size": 12, "moe_intermediate_size": 6, "moe_hidden_size": 10, "num_local_experts": 5, "head_dim": 6}
            | {"mlp_layer_types": ["dense"] + ["sparse"] * 5, "sliding_window": 4, "qk_scale_factor": 1.7, "output_multiplier": 0.6, "final_logit_softcapping": 1.5}
            | {"layer_types": ["sliding_attention", "full_attention", "full_attention", "sliding_attention", "sliding_attention", "full_attention"]}
            | {"layer_rope_theta": [0, 0, 100.0, 100.0, 100.0, 0], "rope_parameters": {"rope_type": "default", "rope_theta": 100.0}}
            | {"routed_scaling_factor": 1.7},
            "out_hidden_size": 4,
            "projector_hidden_size": 4,
            "vision_config": {"hidden_size": 4, "num_hidden_layers": 1, "num_attention_heads": 1, "intermediate_size": 4, "patch_size": 1, "pos_emb_height": 2}
            | {"pos_emb_width": 2, "patch_temporal": 1, "merge_size": 1},
            "audio_config": {"patch_sizes": [2], "hidden_sizes": [4], "depths": [1], "num_hidden_layers": 1, "mlp_ratio": 1.0, "out_hidden_size": 16},
        },
        "1GB",
    ),
    "muse_glimmer_text": (
        "MuseGlimmer",
        {
            "text_config": DENSE
            | {"num_hidden_layers": 5, "intermediate_size": 12, "head_dim": 6, "sliding_window": 4, "qk_scale_factor": 1.7, "output_multiplier": 0.6}
            | {"final_logit_softcapping": 1.5, "rope_parameters": {"rope_type": "default", "rope_theta": 100.0}},
            "out_hidden_size": 4,
            "projector_hidden_size": 4,
            "vision_config": {"hidden_size": 4, "num_hidden_layers": 1, "num_attention_heads": 1, "intermediate_size": 4, "patch_size": 1, "pos_emb_height": 2}
            | {"pos_emb_width": 2, "patch_temporal": 1, "merge_size": 1},
        },
        "1GB",
    ),
    "ernie4_5_vl_moe_text": (
        "Ernie4_5_VLMoe",
        {
            "text_config": DENSE
            | {"num_attention_heads": 2, "num_key_value_heads": 1, "intermediate_size": 6, "moe_intermediate_size": [4, 2], "moe_num_experts": 3}
            | {"moe_k": 2, "rope_parameters": {"rope_type": "default", "rope_theta": 10000.0, "mrope_section": [1, 1, 2]}},
            "vision_config": {"depth": 1, "hidden_size": 4, "intermediate_size": 4, "num_heads": 1, "patch_size": 1, "spatial_merge_size": 1},
        },
        "1GB",
    ),
    "qwen2_5_vl_text": (
        "Qwen2_5_VL",
        {
            "text_config": DENSE | {"intermediate_size": 12, "rope_parameters": {"rope_type": "default", "rope_theta": 100.0, "mrope_section": [1, 1, 0]}},
            "vision_config": IMAGES,
        },
        "1GB",
    ),
    "qwen3_vl_text": (
        "Qwen3VL",
        {
            "text_config": DENSE | {"intermediate_size": 12, "head_dim": 8},
            "vision_config": IMAGES | {"num_position_embeddings": 4, "deepstack_visual_indexes": []},
        },
        "1GB",
    ),
    "qwen3_vl_moe_text": (
        "Qwen3VLMoe",
        {
            "text_config": HEADS | {"head_dim": 8, "moe_intermediate_size": 6, "intermediate_size": 12, "num_local_experts": 5},
            "vision_config": IMAGES | {"num_position_embeddings": 4, "deepstack_visual_indexes": []},
        },
        "1GB",
    ),
    "qwen3_omni_moe_text": (
        "Qwen3OmniMoeThinker",
        {
            "text_config": HEADS | {"head_dim": 8, "moe_intermediate_size": 6, "intermediate_size": 12, "num_experts": 5}
            | {"rope_parameters": {"rope_type": "default", "rope_theta": 10000.0, "mrope_section": [2, 1, 1]}},
            "vision_config": IMAGES | {"num_position_embeddings": 4, "deepstack_visual_indexes": []},
            "audio_config": {"d_model": 4, "encoder_layers": 1, "encoder_attention_heads": 1, "encoder_ffn_dim": 4, "num_mel_bins": 4}
            | {"output_dim": 16, "downsample_hidden_size": 4, "max_source_positions": 8},
        },
        "1GB",
    ),
    "aria_text": (
        "AriaText",
        DENSE | {"intermediate_size": 6, "moe_num_experts": 5},
        "1GB",
    ),
    "dots1": (
        "Dots1",
        HEADS
        | {"head_dim": 8, "moe_intermediate_size": 8, "intermediate_size": 20, "n_routed_experts": 6, "n_shared_experts": 2}
        | {"first_k_dense_replace": 1, "norm_topk_prob": False, "routed_scaling_factor": 1.7},
        "1GB",
    ),
    "ernie4_5_moe": (
        "Ernie4_5_Moe",
        DENSE
        | {"intermediate_size": 20, "moe_intermediate_size": 8}
        | {"moe_num_experts": 6, "moe_k": 2, "moe_num_shared_experts": 2, "moe_layer_start_index": 1},
        "1GB",
    ),
    "hunyuan_v1_moe": (
        "HunYuanMoEV1",
        DENSE
        | {"head_dim": 8, "intermediate_size": 8}
        | {"num_experts": 6, "moe_topk": [2, 2], "rope_parameters": {"rope_type": "dynamic", "alpha": 50.0, "rope_theta": 10000.0, "factor": 1.0}},
        "1GB",
    ),
    "exaone_moe": (
        "ExaoneMoe",
        HEADS
        | {"num_hidden_layers": 8, "intermediate_size": 12, "moe_intermediate_size": 5, "num_experts": 4, "sliding_window": 4, "n_group": 2}
        | {"routed_scaling_factor": 1.7},
        "1GB",
    ),
    "afmoe": (
        "Afmoe",
        HEADS
        | {"num_hidden_layers": 4, "head_dim": 8, "intermediate_size": 12, "moe_intermediate_size": 5, "num_experts": 4, "num_shared_experts": 1}
        | {"num_dense_layers": 2, "sliding_window": 4, "route_scale": 1.7, "mup_enabled": True},
        "1GB",
    ),
    "gemma3_text": (
        "Gemma3",
        DENSE
        | {"num_hidden_layers": 3, "head_dim": 6, "intermediate_size": 12, "sliding_window": 4, "query_pre_attn_scalar": 5}
        | {"layer_types": ["sliding_attention", "full_attention", "sliding_attention"], "final_logit_softcapping": 3.0}
        | {"rope_parameters": {"sliding_attention": {"rope_type": "default", "rope_theta": 100.0}}
            | {"full_attention": {"rope_type": "linear", "factor": 4.0, "rope_theta": 1000.0}}},
        "1GB",
    ),
    "deepseek_v2": (
        "DeepseekV2",
        {"num_hidden_layers": 2, "first_k_dense_replace": 1, "intermediate_size": 24, "moe_intermediate_size": 8}
        | {"num_attention_heads": 2, "num_key_value_heads": 2, "n_routed_experts": 6, "n_shared_experts": 2, "num_experts_per_tok": 2}
        | {"n_group": 3, "topk_group": 2, "topk_method": "group_limited_greedy", "routed_scaling_factor": 1.7}
        | {"q_lora_rank": None, "kv_lora_rank": 6, "qk_nope_head_dim": 4, "qk_rope_head_dim": 4, "v_head_dim": 5}
        | {"rope_parameters": {"rope_type": "yarn", "rope_theta": 10000.0, "factor": 4.0, "original_max_position_embeddings": 16}
            | {"mscale": 0.7, "mscale_all_dim": 0.7, "beta_fast": 32, "beta_slow": 1}},
        "1GB",
    ),
    "deepseek_v3": (
        "DeepseekV3",
        {"num_hidden_layers": 3, "first_k_dense_replace": 1, "intermediate_size": 24, "moe_intermediate_size": 12}
        | {"num_attention_heads": 2, "num_key_value_heads": 2, "n_routed_experts": 6, "num_experts_per_tok": 2, "n_group": 3}
        | {"topk_group": 2, "q_lora_rank": 6} | LATENT,
        "1GB",
    ),
    # Of DeepSeek-V3's class, whose type is put in place of its own; YaRN as released.
    "kimi_k2": (
        "DeepseekV3",
        {"num_hidden_layers": 2, "first_k_dense_replace": 1, "intermediate_size": 12, "moe_intermediate_size": 6}
        | {"num_attention_heads": 2, "num_key_value_heads": 2, "n_routed_experts": 5, "num_experts_per_tok": 2, "n_group": 1, "topk_group": 1}
        | LATENT | {"q_lora_rank": 6}
        | {"rope_parameters": {"rope_type": "yarn", "rope_theta": 50000.0, "factor": 4.0, "original_max_position_embeddings": 16}
            | {"mscale": 1.0, "mscale_all_dim": 1.0, "beta_fast": 1.0, "beta_slow": 1.0}},
        "1GB",
    ),
    "sarvam_mla": (
        "DeepseekV3",
        {"num_hidden_layers": 2, "intermediate_size": 12, "moe_intermediate_size": 6, "num_attention_heads": 2, "n_routed_experts": 5}
        | {"num_experts_per_tok": 2} | LATENT,
        "1GB",
    ),
    "axk1": (
        "AXK1",
        {"num_hidden_layers": 2, "first_k_dense_replace": 1, "intermediate_size": 12, "moe_intermediate_size": 6}
        | {"num_attention_heads": 2, "num_key_value_heads": 2, "n_routed_experts": 6, "num_experts_per_tok": 2, "n_group": 3, "topk_group": 2}
        | LATENT | {"q_lora_rank": 6},
        "1GB",
    ),
    "axk2": (
        "AXK2",
        {"num_hidden_layers": 2, "intermediate_size": 8, "moe_intermediate_size": 4, "num_attention_heads": 2, "num_key_value_heads": 2}
        | {"n_routed_experts": 6, "num_experts_per_tok": 2, "n_group": 3, "topk_group": 2} | LATENT
        | {"q_lora_rank": 6, "index_topk": 4, "index_n_heads": 8, "index_head_dim": 6, "gated_norm_rank": 3},
        "1GB",
    ),
    "deepseek_v32": (
        "DeepseekV32",
        {"num_hidden_layers": 2, "first_k_dense_replace": 1, "intermediate_size": 12, "moe_intermediate_size": 6}
        | {"num_attention_heads": 2, "num_key_value_heads": 2, "n_routed_experts": 6, "num_experts_per_tok": 2, "n_group": 3, "topk_group": 2}
        | LATENT | {"q_lora_rank": 6}
        | {"index_topk": 4, "index_n_heads": 8, "index_head_dim": 6},
        "1GB",
    ),
    "glm_moe_dsa": (
        "GlmMoeDsa",
        {"num_hidden_layers": 2, "first_k_dense_replace": 1, "intermediate_size": 12, "moe_intermediate_size": 6}
        | {"num_attention_heads": 2, "num_key_value_heads": 2, "n_routed_experts": 5, "num_experts_per_tok": 2}
        | LATENT | {"q_lora_rank": 6}
        | {"index_topk": 3, "index_n_heads": 8, "index_head_dim": 5},
        "1GB",
    ),
    # Its second block takes the keys that the first chose.
    "glm_moe_dsa_shared": (
        "GlmMoeDsa",
        {"num_hidden_layers": 2, "first_k_dense_replace": 1, "index_topk_freq": 2, "index_skip_topk_offset": 1}
        | {"intermediate_size": 8, "moe_intermediate_size": 4, "num_attention_heads": 2, "num_key_value_heads": 2, "n_routed_experts": 3}
        | {"num_experts_per_tok": 2} | LATENT | {"q_lora_rank": 6, "index_topk": 3, "index_n_heads": 8, "index_head_dim": 5},
        "1GB",
    ),
    # Blocks with a window have other heads, bottlenecks and widths.
    "dots3_note_text": (
        "Dots3Note",
        {"num_hidden_layers": 4, "intermediate_size": 12, "moe_intermediate_size": 6, "shared_experts_intermediate_size": 5, "n_shared_experts": 2}
        | {"num_attention_heads": 2, "num_key_value_heads": 2, "n_routed_experts": 4, "num_experts_per_tok": 2, "n_group": 2, "topk_group": 1}
        | LATENT | {"q_lora_rank": 6, "head_dim": 7, "index_topk": 3, "index_n_heads": 8, "index_head_dim": 6, "routed_scaling_factor": 1.7}
        | {"layer_types": ["indexed_attention", "sliding_attention", "indexed_attention", "sliding_attention"], "sliding_window": 4}
        | {"mlp_layer_types": ["dense", "dense", "sparse", "sparse"]}
        | {"per_layer_config": {i: {"num_attention_heads": 4, "num_key_value_heads": 4, "q_lora_rank": 3, "kv_lora_rank": 4, "qk_nope_head_dim": 5}
            | {"head_dim": 7, "qk_rope_head_dim": 2, "v_head_dim": 3} for i in [1, 3]}}
        | {"rope_parameters": {"indexed_attention": {"rope_type": "default", "rope_theta": 100.0}}
            | {"sliding_attention": {"rope_type": "default", "rope_theta": 30.0}}},
        "1GB",
    ),
    "kimi_linear": (
        "KimiLinear",
        {"num_hidden_layers": 3, "layer_types": ["linear_attention", "full_attention", "linear_attention"], "model_max_length": 64}
        | {"mlp_layer_types": ["sparse", "sparse", "dense"], "intermediate_size": 12, "moe_intermediate_size": 6, "num_experts": 5}
        | {"num_experts_per_token": 2, "num_attention_heads": 2, "num_key_value_heads": 2, "kv_lora_rank": 5, "qk_nope_head_dim": 3}
        | {"qk_rope_head_dim": 4, "v_head_dim": 5, "linear_head_dim": 4, "linear_num_heads": 2},
        "1GB",
    ),
    # Its convolutions are one, in three parts on disk.
    "bailing_hybrid": (
        "BailingHybrid",
        {"num_hidden_layers": 3, "layer_group_size": 2, "first_k_dense_replace": 1, "intermediate_size": 8, "moe_intermediate_size": 4}
        | {"num_experts": 4, "num_experts_per_token": 2, "num_expert_group": 2, "topk_group": 1, "num_attention_heads": 2, "num_key_value_heads": 2}
        | {"head_dim": 3, "kda_lower_bound": -2.0} | LATENT,
        "1GB",
    ),
    # In its last block the past hardly fades, so lightning attention comes first.
    "minimax": (
        "MiniMax",
        HEADS
        | {"layer_types": ["linear_attention", "full_attention"]}
        | {"intermediate_size": 6, "num_local_experts": 3, "block_size": 4, "full_attn_alpha_factor": 1.5, "full_attn_beta_factor": 0.7}
        | {"linear_attn_alpha_factor": 1.2, "linear_attn_beta_factor": 0.8, "mlp_alpha_factor": 0.9, "mlp_beta_factor": 1.1},
        "1GB",
    ),
    "jetmoe": (
        "JetMoe",
        {"num_hidden_layers": 1, "num_key_value_heads": 2, "kv_channels": 4, "intermediate_size": 5, "num_local_experts": 4},
        "1GB",
    ),
    # The biases are drawn, so that some tokens go to no expert.
    "zaya": (
        "Zaya",
        {"num_hidden_layers": 3, "layer_types": ["hybrid", "hybrid_sliding", "hybrid"], "sliding_window": 4, "num_attention_heads": 4}
        | {"num_key_value_heads": 2, "head_dim": 6, "moe_intermediate_size": 4, "num_experts": 3, "router_hidden_size": 5, "cca_time1": 3}
        | {"rope_parameters": {"hybrid": {"rope_type": "default", "rope_theta": 100.0, "partial_rotary_factor": 0.7}}
            | {"hybrid_sliding": {"rope_type": "default", "rope_theta": 10.0, "partial_rotary_factor": 1.0}}},
        "1GB",
    ),
    # Of blocks of two keys a query sees its own and another.
    "minimax_m3_vl_text": (
        "MiniMaxM3VL",
        {"num_hidden_layers": 2, "layer_types": ["minimax_m3_sparse", "full_attention"], "mlp_layer_types": ["sparse", "dense"]}
        | {"num_attention_heads": 4, "num_key_value_heads": 2, "head_dim": 6, "partial_rotary_factor": 2 / 3, "intermediate_size": 4, "dense_intermediate_size": 6}
        | {"shared_intermediate_size": 5, "num_local_experts": 4, "num_experts_per_tok": 2, "swiglu_limit": 0.7, "index_n_heads": 2}
        | {"index_head_dim": 5, "index_block_size": 2, "index_topk_blocks": 2},
        "1GB",
    ),
    # A window alone; windows of 2 positions, of which a query sees two; windows of 4.
    "deepseek_v4": (
        "DeepseekV4",
        {"num_hidden_layers": 3, "layer_types": ["sliding_attention", "compressed_sparse_attention", "heavily_compressed_attention"]}
        | {"hidden_size": 8, "num_hash_layers": 1, "compress_rate_csa": 2, "compress_rate_hca": 4, "sliding_window": 4, "hc_mult": 2}
        | {"hc_sinkhorn_iters": 3, "moe_intermediate_size": 4, "n_routed_experts": 4, "num_experts_per_tok": 2, "swiglu_limit": 0.5}
        | {"num_attention_heads": 4, "head_dim": 6, "qk_rope_head_dim": 4, "q_lora_rank": 5, "o_groups": 2, "o_lora_rank": 3}
        | {"index_n_heads": 8, "index_head_dim": 5, "index_topk": 2}
        | {"rope_parameters": {"rope_type": "yarn", "factor": 4.0, "original_max_position_embeddings": 16, "beta_fast": 32.0, "beta_slow": 1.0}},
        "1GB",
    ),
    # Its second block takes the keys that the first chose.
    "hy_v4": (
        "HYV4",
        {"num_hidden_layers": 3, "indexer_types": ["full", "shared", "full"], "mlp_layer_types": ["dense", "sparse", "sparse"], "hidden_size": 8}
        | {"intermediate_size": 10, "moe_intermediate_size": 4, "n_routed_experts": 4, "num_experts_per_tok": 2, "swiglu_limit": 0.5}
        | {"num_attention_heads": 2, "hc_mult": 2, "hc_magnitude": 1.5, "rms_norm_eps": 1e-3, "index_topk": 3, "index_n_heads": 8, "index_head_dim": 6}
        | LATENT | {"q_lora_rank": 6},
        "1GB",
    ),
    # The same with images, in whose bottlenecks the norms are the model's.
    "hy_v4_vl_text": (
        "HYV4VL",
        {
            "text_config": {"num_hidden_layers": 3, "indexer_types": ["full", "shared", "full"], "mlp_layer_types": ["sparse", "dense", "sparse"]}
            | {"hidden_size": 8, "intermediate_size": 10, "moe_intermediate_size": 4, "n_routed_experts": 4, "num_experts_per_tok": 2}
            | {"num_attention_heads": 2, "hc_mult": 2, "rms_norm_eps": 1e-3, "index_topk": 3, "index_n_heads": 8, "index_head_dim": 10}
            | {"rope_parameters": {"rope_type": "default", "rope_theta": 100.0, "mrope_section": [1, 1, 2]}}
            | LATENT | {"q_lora_rank": 6, "qk_rope_head_dim": 8},
            "vision_config": {"hidden_size": 4, "intermediate_size": 4, "num_hidden_layers": 1, "num_attention_heads": 1, "out_hidden_size": 8}
            | {"patch_size": 4, "max_image_size": 8},
        },
        "1GB",
    ),
    # A block of each kind twice; blocks of 2 keys, of which a query sees two.
    "qwen4_exp_text": (
        "Qwen4Exp",
        HEADS
        | {"num_hidden_layers": 4, "head_dim": 8, "moe_intermediate_size": 6, "shared_expert_intermediate_size": 5, "num_experts": 4}
        | {"layer_types": ["indexed_attention", "linear_attention", "linear_attention", "indexed_attention"]}
        | {"hc_count": 3, "hc_lowrank": 5, "output_gate_type": "sigmoid", "norm_topk_prob": False}
        | {"indexer_n_heads": 8, "indexer_kv_heads": 1, "indexer_head_dim": 6, "indexer_budget": 4, "indexer_compress_ratio": 2}
        | DELTA
        | HALF_TURNED,
        "1GB",
    ),
    # N-grams in both blocks that may have them, of up to four tokens, of which one ends a text.
    "qwen4_exp_text_ngrams": (
        "Qwen4Exp",
        HEADS
        | {"num_hidden_layers": 3, "head_dim": 8, "moe_intermediate_size": 6, "shared_expert_intermediate_size": 5, "num_experts": 4}
        | {"layer_types": ["linear_attention", "indexed_attention", "linear_attention"], "eos_token_id": [0, 7]}
        | {"hc_count": 2, "hc_lowrank": 3, "indexer_n_heads": 8, "indexer_kv_heads": 1, "indexer_head_dim": 6}
        | {"indexer_budget": 4, "indexer_compress_ratio": 2}
        | {"ple_layer_ids": [1, 3], "ple_embed_dim": 12, "ngram_size": 4, "heads_per_ngram": 2, "ple_conv_kernel_size": 3}
        | {"ngram_vocab_size_base": 20, "make_ngram_vocab_size_divisible_by": 8, "split_ngram_parts": 3}
        | DELTA
        | HALF_TURNED,
        "1GB",
    ),
    "mistral4": (
        "Mistral4",
        HEADS
        | {"num_attention_heads": 2, "num_key_value_heads": 2, "moe_intermediate_size": 6, "n_routed_experts": 5, "n_shared_experts": 2}
        | {"q_lora_rank": 6, "routed_scaling_factor": 1.7} | LATENT
        | {"rope_parameters": {"rope_type": "yarn", "rope_theta": 10000.0, "factor": 4.0, "original_max_position_embeddings": 4}
            | {"mscale": 0.7, "mscale_all_dim": 0.7, "llama_4_scaling_beta": 0.5}},
        "1GB",
    ),
    # Heads turn in three blocks and do not in two; the third and the fourth read rows of the first and the second, and the third takes the keys that the second chose.
    "mistral_large4_text": (
        "MistralLarge4",
        {
            "text_config": {"num_hidden_layers": 5, "no_rope_layers": [1, 0, 1, 0, 1], "kv_source_layers": [0, 1, 0, 1, 4]}
            | {"indexer_types": ["full", "full", "shared", "full", "full"], "intermediate_size": 10, "moe_intermediate_size": 4, "hidden_size": 8}
            | {"n_routed_experts": 4, "num_experts_per_tok": 2, "routed_scaling_factor": 1.7, "num_attention_heads": 2, "num_key_value_heads": 2}
            | LATENT | {"index_topk": 3, "index_n_heads": 8, "index_head_dim": 6, "rms_norm_eps": 1e-3, "final_logit_softcapping": 1.5}
            | {"rope_parameters": {"rope_type": "yarn", "rope_theta": 100.0, "factor": 4.0, "original_max_position_embeddings": 8, "attention_factor": 1.1}},
            "vision_config": {"model_type": "pixtral", "hidden_size": 4, "intermediate_size": 4, "num_hidden_layers": 1, "num_attention_heads": 1}
            | {"image_size": 8, "patch_size": 4},
        },
        "1GB",
    ),
    "inkling_text": ("Inkling", INKLING, "1GB"),
    "inkling_mm_model": (
        "Inkling",
        {"text_config": INKLING, "vision_config": {"hidden_size": 4, "n_layers": 2, "num_attention_heads": 1, "patch_size": 4}}
        | {"audio_config": {"n_mel_bins": 1, "mel_vocab_size": 2}},
        "1GB",
    ),
    "glm5_next_text": (
        "Glm5Next",
        {
            "text_config": {"num_hidden_layers": 4, "num_attention_heads": 2, "num_key_value_heads": 2, "intermediate_size": 12, "moe_intermediate_size": 6}
            | {"layer_types": ["linear_attention", "indexed_attention", "indexed_attention", "linear_attention"], "n_routed_experts": 5, "num_experts_per_tok": 2}
            | {"mlp_layer_types": ["dense", "dense", "sparse", "sparse"], "q_lora_rank": 6, "kv_lora_rank": 5, "qk_nope_head_dim": 4, "v_head_dim": 3}
            | {"index_topk": 4, "index_kpool": 2, "index_n_heads": 8, "index_head_dim": 5, "linear_num_heads": 2, "linear_head_dim": 3, "swiglu_limit": 1.5}
            | {"hc_mult": 3, "hc_sinkhorn_iters": 3},
            "vision_config": {"depth": 1, "hidden_size": 4, "num_heads": 1, "intermediate_size": 4, "patch_size": 1, "image_size": 4, "out_hidden_size": 16}
            | {"spatial_merge_size": 1, "temporal_patch_size": 1, "projection_intermediate_size": 4},
        },
        "1GB",
    ),
    "longcat_flash": (
        "LongcatFlash",
        {"num_layers": 2, "num_attention_heads": 2, "ffn_hidden_size": 12, "expert_ffn_hidden_size": 6, "head_dim": 4, "rope_theta": 10000.0}
        | {"n_routed_experts": 4, "zero_expert_num": 2, "moe_topk": 3, "routed_scaling_factor": 1.7}
        | LATENT | {"q_lora_rank": 6},
        "1GB",
    ),
    # As Moonlight is among DeepSeek-V3's: queries without a bottleneck, and two shared experts.
    "glm4_moe_lite": (
        "Glm4MoeLite",
        {"num_hidden_layers": 2, "intermediate_size": 24, "moe_intermediate_size": 6, "num_attention_heads": 2, "num_key_value_heads": 2}
        | {"n_routed_experts": 5, "n_shared_experts": 2, "num_experts_per_tok": 2}
        | {"q_lora_rank": None} | LATENT,
        "1GB",
    ),
    # Models with an encoder: of two rows the second's source is shorter. Experts overflow.
    "t5": ("T5", READS | {"feed_forward_proj": "relu"}, "1GB"),
    "mt5": ("MT5", READS | {"num_decoder_layers": 1}, "1GB"),
    "umt5": ("UMT5", READS | {"num_decoder_layers": 3}, "1GB"),
    "switch_transformers": (
        "SwitchTransformers",
        READS
        | {"num_layers": 4, "num_decoder_layers": 5, "num_sparse_encoder_layers": 2, "num_sparse_decoder_layers": 1, "num_experts": 3}
        | {"expert_capacity": 2, "router_bias": True},
        "1GB",
    ),
    "nllb-moe": (
        "NllbMoe",
        {"encoder_layers": 3, "decoder_layers": 2, "num_decoder_layers": 2, "encoder_ffn_dim": 12, "decoder_ffn_dim": 10, "num_experts": 4}
        | {"encoder_attention_heads": 2, "decoder_attention_heads": 4, "encoder_sparse_step": 2, "decoder_sparse_step": 1, "pad_token_id": 39}
        | {"moe_eval_capacity_token_fraction": 0.25, "router_bias": True, "decoder_start_token_id": 0},
        "1GB",
    ),
}
