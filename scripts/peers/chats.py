"""Conversations as text by `transformers`, and the tokens of the assistant's replies by the offsets that `tokenizers` gives.

    python scripts/peers/chats.py          computes the stored texts and numbers again and compares
    python scripts/peers/chats.py --write  stores them as test/peers/chats.json

Needs transformers. A token is `~token` where it ends outside a reply."""

import json
import sys
from pathlib import Path

from tokenizers import Tokenizer
from transformers import PreTrainedTokenizerFast

PEERS = Path(__file__).parents[2] / "test" / "peers"
FILE = PEERS / "chats.json"
SPECIAL = {"bos_token": "<|end|>", "eos_token": "<|end|>"}
TEMPLATES = {
    # as many models have it
    "chatml": """{%- if messages[0].role != 'system' %}
    {{- '<|start|>system\nYou help.<|end|>\n' }}
{%- endif %}
{%- for message in messages %}
    {{- '<|start|>' + message.role + '\n' + message.content + '<|end|>' + '\n' }}
{%- endfor %}
{%- if add_generation_prompt %}
    {{- '<|start|>assistant\n' }}
{%- endif %}""",
    # no mark before a reply; roles must alternate
    "inst": """{% if messages[0]['role'] == 'system' %}{% set loop_messages = messages[1:] %}{% set system = '<<SYS>> ' + messages[0]['content'].strip() + ' <</SYS>> ' %}{% else %}{% set loop_messages = messages %}{% set system = '' %}{% endif %}
{% for m in loop_messages %}
{% if (m['role'] == 'user') != (loop.index0 % 2 == 0) %}{{ raise_exception('roles must alternate user and assistant') }}{% endif %}
{% if m['role'] == 'user' %}{{ bos_token + '[INST] ' + (system if loop.first else '') + m['content'].strip() + ' [/INST]' }}{% else %}{{ ' ' + m['content'].strip() + ' ' + eos_token }}{% endif %}
{% endfor %}""",
    # leaves out what the assistant thought before its last reply
    "thinks": """{%- set ns = namespace(last=-1) %}
{%- for m in messages %}{%- if m.role == 'user' %}{%- set ns.last = loop.index0 %}{%- endif %}{%- endfor %}
{%- for m in messages %}
{%- if m.role == 'assistant' and '</think>' in m.content and loop.index0 < ns.last %}
{{- '<|assistant|>' + m.content.split('</think>')[-1].lstrip('\n') + eos_token }}
{%- else %}
{{- '<|' ~ m.role ~ '|>' ~ m.content ~ (eos_token if m.role == 'assistant' else '') }}
{%- endif %}
{%- endfor %}
{%- if add_generation_prompt %}{{- '<|assistant|>' }}{%- endif %}""",
}


def said(*texts, system=None):
    roles = ["user", "assistant"]
    return ([{"role": "system", "content": system}] if system else []) + [{"role": roles[i % 2], "content": t} for i, t in enumerate(texts)]


CONVERSATIONS = [
    said("Call me?", "Ishmael."),
    said("  Some years ago  ", "never mind how long, précisément", "and now", "I thought I would sail", system="You are a whale."),
    said("two\nlines", "<think>\nhm\n</think>\n\nYes.", "and?", "<think>\nwell\n</think>\n\nNo.", "so", "It is 1851."),
]


def render(template, messages, opens):
    t = PreTrainedTokenizerFast(tokenizer_file=str(PEERS / "texts" / "gpt2" / "tokenizer.json"), **SPECIAL)
    return t.apply_chat_template(messages, chat_template=template, add_generation_prompt=opens, tokenize=False)


def documents(template, messages, tokenizer):
    """Texts with the spans of their replies; a reply that does not go on from the text before begins another."""
    found = []
    for i, m in enumerate(messages):
        if m["role"] != "assistant":
            continue
        before, whole = render(template, messages[:i], True), render(template, messages[: i + 1], False)
        if not found or not before.startswith(found[-1][0]):
            found.append(["", []])
        found[-1][0] = whole
        found[-1][1].append((len(before), len(whole)))
    return [kept(tokenizer, text, spans) for text, spans in found]


def kept(tokenizer, text, spans):
    encoded = tokenizer.encode(text, add_special_tokens=False)
    counts = lambda end: any(a < end <= b for a, b in spans)
    return [t if counts(end) else ~t for t, (_, end) in zip(encoded.ids, encoded.offsets)]


def computed():
    tokenizers = {n: Tokenizer.from_file(str(PEERS / "texts" / n / "tokenizer.json")) for n in ["gpt2", "llama"]}
    cases = [
        {
            "template": name,
            "messages": messages,
            "prompt": render(template, messages[:-1], True),
            "tokens": {n: documents(template, messages, t) for n, t in tokenizers.items()},
        }
        for name, template in TEMPLATES.items()
        for messages in CONVERSATIONS
    ]
    return {"tokens": SPECIAL, "templates": TEMPLATES, "cases": cases}


if __name__ == "__main__":
    now = computed()
    if "--write" in sys.argv:
        FILE.write_text(json.dumps(now, ensure_ascii=False, separators=(",", ":")) + "\n")
    elif json.loads(FILE.read_text()) != now:
        sys.exit("test/peers/chats.json differs")
    else:
        print("chats: as stored")
