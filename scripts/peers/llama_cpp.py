"""`npm run peers -- llama --bin FOLDER [--work FOLDER]`: reads a prompt and writes texts with moec and with llama.cpp, of the same random weights, in bf16,
8 bits (Q8_0, `--weights int8`) and 4 bits (Q4_0, `--weights fp4`). FOLDER of --bin holds llama-bench, llama-batched-bench and llama-quantize. Needs the
package gguf."""
import argparse
import gc
import json
import os
import subprocess
import sys
from pathlib import Path

import gguf
import torch
import transformers

ROOT = Path(__file__).resolve().parents[2]
PROMPT, TOKENS = 512, 64
BATCH, SHORT, FEW = 16, 64, 32
# llama.cpp's name of each form, and moec's options
FORMS = {
    "bf16": ("BF16", {"precision": "bf16"}),
    "8 bits": ("Q8_0", {"weights": "int8"}),
    "4 bits": ("Q4_0", {"weights": "fp4"}),
}
# transformers' names of a layer's tensors, and GGUF's
NAMES = {
    "input_layernorm": "attn_norm",
    "post_attention_layernorm": "ffn_norm",
    "self_attn.q_proj": "attn_q",
    "self_attn.k_proj": "attn_k",
    "self_attn.v_proj": "attn_v",
    "self_attn.o_proj": "attn_output",
    "self_attn.q_norm": "attn_q_norm",
    "self_attn.k_norm": "attn_k_norm",
    "mlp.gate": "ffn_gate_inp",
    "mlp.gate_proj": "ffn_gate",
    "mlp.up_proj": "ffn_up",
    "mlp.down_proj": "ffn_down",
}
MODELS = {
    # OLMoE-1B-7B with 4 of its 16 layers: 1.9G parameters, of which a token reads 0.37G
    "olmoe": lambda: transformers.OlmoeForCausalLM(transformers.OlmoeConfig(num_hidden_layers=4)),
    # Qwen3-0.6B
    "qwen3": lambda: transformers.Qwen3ForCausalLM(
        transformers.Qwen3Config(
            hidden_size=1024,
            intermediate_size=3072,
            num_hidden_layers=28,
            num_attention_heads=16,
            num_key_value_heads=8,
            head_dim=128,
            vocab_size=151936,
            tie_word_embeddings=True,
            rope_theta=1000000.0,
        )
    ),
}


def write_gguf(path, arch, config, tensors):
    """The tensors under GGUF's names: matrices in bf16, vectors and a router in f32."""
    writer = gguf.GGUFWriter(path, arch)
    writer.add_context_length(config.max_position_embeddings)
    writer.add_embedding_length(config.hidden_size)
    writer.add_block_count(config.num_hidden_layers)
    writer.add_feed_forward_length(config.intermediate_size)
    writer.add_head_count(config.num_attention_heads)
    writer.add_head_count_kv(config.num_key_value_heads)
    writer.add_layer_norm_rms_eps(config.rms_norm_eps)
    writer.add_vocab_size(config.vocab_size)
    writer.add_tokenizer_model("none")
    if arch == "olmoe":
        writer.add_expert_count(config.num_experts)
        writer.add_expert_used_count(config.num_experts_per_tok)
    else:
        writer.add_key_length(config.head_dim)
        writer.add_value_length(config.head_dim)

    def put(name, tensor):
        if tensor.ndim == 1 or "gate_inp" in name:
            writer.add_tensor(name, tensor.float().numpy())
        else:
            # numpy has no bf16: the bytes of a row
            data = tensor.contiguous().view(torch.uint8).numpy()
            writer.add_tensor(name, data, raw_dtype=gguf.GGMLQuantizationType.BF16)

    put("token_embd.weight", tensors["model.embed_tokens.weight"])
    put("output_norm.weight", tensors["model.norm.weight"])
    if not config.tie_word_embeddings:
        put("output.weight", tensors["lm_head.weight"])
    for i in range(config.num_hidden_layers):
        layer = f"model.layers.{i}."
        for theirs, name in NAMES.items():
            if layer + theirs + ".weight" in tensors:
                put(f"blk.{i}.{name}.weight", tensors[layer + theirs + ".weight"])
        if arch == "olmoe":
            gate, up = tensors[layer + "mlp.experts.gate_up_proj"].chunk(2, dim=1)
            put(f"blk.{i}.ffn_gate_exps.weight", gate)
            put(f"blk.{i}.ffn_up_exps.weight", up)
            put(f"blk.{i}.ffn_down_exps.weight", tensors[layer + "mlp.experts.down_proj"])
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def make(name, work, quantize):
    """The model as a folder of transformers, as GGUF in each form, and imported by moec: once, as it takes minutes."""
    if (work / "moec").exists():
        return
    torch.manual_seed(0)
    torch.set_default_dtype(torch.bfloat16)
    model = MODELS[name]()
    model.save_pretrained(work / "hf", max_shard_size="50GB")
    write_gguf(work / "BF16.gguf", name, model.config, model.state_dict())
    del model
    gc.collect()
    for form, _ in FORMS.values():
        if form != "BF16":
            # --pure: no matrix in more bits than the others
            output([quantize, "--pure", work / "BF16.gguf", work / f"{form}.gguf", form])
    output(["node", ROOT / "dist/cli/main.js", "import", work / "hf", "-o", work / "moec"])


def output(command):
    """What a program prints; what it says of an error ends this one."""
    done = subprocess.run([str(c) for c in command], capture_output=True, text=True, cwd=ROOT)
    if done.returncode:
        sys.exit(f"{command[0]} ended with {done.returncode}\n{done.stderr}")
    return done.stdout


def lines(command):
    """What a program prints as JSON, a line each."""
    return [json.loads(line) for line in output(command).splitlines() if line.startswith("{")]


def theirs(bin, file, threads):
    """Tokens/s: of a prompt, of one text, of 16."""
    bench = [bin / "llama-bench", "-m", file, "-p", PROMPT, "-n", TOKENS, "-r", 3, "-t", threads, "-o", "jsonl"]
    read, write = [1e9 / min(one["samples_ns"]) * max(one["n_prompt"], one["n_gen"]) for one in lines(bench)]
    batched = [bin / "llama-batched-bench", "-m", file, "-c", 4096, "-t", threads, "-npp", SHORT, "-ntg", FEW, "-npl", BATCH]
    return read, write, max(lines([*batched, "--output-format", "jsonl"])[0]["speed_tg"] for _ in range(3))


def ours(folder, options, threads):
    """The same of moec."""
    def run(batch, prompt, tokens):
        given = json.dumps({"threads": threads, "batch": batch, **options})
        (figures,) = lines(["node", "--import", "tsx", "scripts/peers/writing.ts", folder, given, prompt, tokens])
        return figures

    one, many = run(1, PROMPT, TOKENS), run(BATCH, SHORT, FEW)
    return one["read"], one["write"], many["write"]


flags = argparse.ArgumentParser()
flags.add_argument("--bin", type=Path, required=True)
flags.add_argument("--work", type=Path, default=Path("/tmp/moec-llama"))
flags.add_argument("--threads", type=int, default=os.cpu_count())
flags.add_argument("--models", nargs="+", choices=MODELS, default=list(MODELS))
flags.add_argument("--forms", nargs="+", choices=FORMS, default=list(FORMS))
flags = flags.parse_args()
print(f"tokens/s               {PROMPT} read        1 written       {BATCH} written")
for name in flags.models:
    work = flags.work / name
    work.mkdir(parents=True, exist_ok=True)
    make(name, work, flags.bin / "llama-quantize")
    for form in flags.forms:
        file, options = FORMS[form]
        peer = theirs(flags.bin, work / f"{file}.gguf", flags.threads)
        own = ours(work / "moec", options, flags.threads)
        for who, row in (("llama.cpp", peer), ("moec", own), ("times", [a / b for a, b in zip(own, peer)])):
            print(f"{name} {form:7} {who:9}", *(f"{x:15.4g}" for x in row), flush=True)
