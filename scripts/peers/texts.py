"""Tiny tokenizers of each kind that models use, and the token numbers that Python's `tokenizers` gives for some texts.

    python scripts/peers/texts.py          computes the numbers of the stored tokenizers again and compares
    python scripts/peers/texts.py --write  trains tokenizers and stores them in test/peers/texts/NAME with numbers.json

Needs tokenizers. `ids` are without the special tokens before and after a text, `whole` with them; `decoded` is the text of `ids`."""

import json
import sys
from pathlib import Path

from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers

FOLDER = Path(__file__).parents[2] / "test" / "peers" / "texts"
LEARNED = """Call me Ishmael. Some years ago, never mind how long precisely, having little or no money in my purse, and nothing
particular to interest me on shore, I thought I would sail about a little and see the watery part of the world. It is a way I
have of driving off the spleen, and regulating the circulation. The quick brown fox jumps over the lazy dog, while 1851 whales
swim. "It's a way," he'd said; we'll see. Café, naïve, über; 東京 and Москва."""
TEXTS = [
    "Call me Ishmael. Some years ago - never mind how long precisely - having little money,\nand nothing\n\n\nto  see   there.\n",
    "It's 1851; we'll've 12345 whales (½ of them white)! über-café naïve\tcafé\r\n  東京タワー and Москва: 🐳🐋👩‍👩‍👧 ﬁn\u0301",
    " leading and trailing  ",
    "<|end|>two<|end|>parts <|end|> of three",
    "x\u0085y\u00a0\ufeffw\u2581v __init__(self, a_b=3.14) // ok?",
    "",
]
GPT4 = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)
END = AddedToken("<|end|>", special=True, normalized=False)


def trained(model, trainer, normalizer=None, pre=None, decoder=None, post=None):
    t = Tokenizer(model)
    if normalizer:
        t.normalizer = normalizer
    if pre:
        t.pre_tokenizer = pre
    if decoder:
        t.decoder = decoder
    t.train_from_iterator([LEARNED], trainer)
    if post:
        t.post_processor = post(t)
    return t


def begins(token):
    return lambda t: processors.TemplateProcessing(single=f"{token} $A", special_tokens=[(token, t.token_to_id(token))])


def bytes_bpe(size):
    return trainers.BpeTrainer(vocab_size=size, special_tokens=[END], initial_alphabet=pre_tokenizers.ByteLevel.alphabet(), show_progress=False)


def pieces(size, **more):
    letters = [chr(c) for c in range(ord("a"), ord("z") + 1)]
    return trainers.BpeTrainer(vocab_size=size, special_tokens=["<unk>", "<s>", END], initial_alphabet=letters, show_progress=False, **more)


def fallback(t):
    """A tokenizer as SentencePiece's: characters outside the vocabulary become byte tokens. It is trained on words, but then splits whole texts."""
    data = json.loads(t.to_str()) | {"pre_tokenizer": None}
    vocab = data["model"]["vocab"]
    for b in range(256):
        vocab[f"<0x{b:02X}>"] = len(vocab)
    data["model"] |= {"byte_fallback": True, "fuse_unk": True, "unk_token": "<unk>"}
    return Tokenizer.from_str(json.dumps(data))


def make():
    mark = "\u2581"
    split = pre_tokenizers.Split
    byte_level = pre_tokenizers.ByteLevel
    yield "gpt2", trained(models.BPE(), bytes_bpe(300), pre=byte_level(add_prefix_space=False), decoder=decoders.ByteLevel()), {"eos_token": "<|end|>"}
    yield (
        "gpt4",
        trained(
            models.BPE(),
            bytes_bpe(300),
            normalizer=normalizers.NFC(),
            pre=pre_tokenizers.Sequence([split(Regex(GPT4), "isolated"), byte_level(add_prefix_space=False, use_regex=False)]),
            decoder=decoders.ByteLevel(),
            post=begins("<|end|>"),
        ),
        {"eos_token": {"content": "<|end|>"}},
    )
    yield (
        "llama",
        fallback(
            trained(
                models.BPE(unk_token="<unk>"),
                pieces(100, limit_alphabet=60),
                normalizer=normalizers.Sequence([normalizers.Prepend(mark), normalizers.Replace(" ", mark)]),
                pre=pre_tokenizers.Metaspace(prepend_scheme="never"),
                decoder=decoders.Sequence([decoders.Replace(mark, " "), decoders.ByteFallback(), decoders.Fuse(), decoders.Strip(" ", 1, 0)]),
                post=begins("<s>"),
            )
        ),
        {"bos_token": "<s>", "eos_token": "<|end|>"},
    )
    yield (
        "unigram",
        trained(
            models.Unigram(),
            trainers.UnigramTrainer(vocab_size=120, special_tokens=["<unk>", "<s>", END], unk_token="<unk>", initial_alphabet=[chr(c) for c in range(97, 123)], show_progress=False),
            normalizer=normalizers.NFKC(),
            pre=pre_tokenizers.Metaspace(),
            decoder=decoders.Metaspace(),
        ),
        {"bos_token": "<s>", "add_bos_token": True},
    )
    yield (
        "words",
        trained(
            models.WordPiece(unk_token="<unk>"),
            trainers.WordPieceTrainer(vocab_size=160, special_tokens=["<unk>", END], initial_alphabet=[chr(c) for c in range(97, 123)], show_progress=False),
            normalizer=normalizers.BertNormalizer(),
            pre=pre_tokenizers.Sequence([pre_tokenizers.Whitespace(), pre_tokenizers.Digits(individual_digits=True), pre_tokenizers.Punctuation()]),
            decoder=decoders.WordPiece(cleanup=False),
        ),
        {},
    )
    yield (
        "merged",
        trained(
            models.BPE(),
            bytes_bpe(280),
            pre=pre_tokenizers.Sequence(
                [
                    split(" ", "merged_with_previous"),
                    split(Regex(r"\d+"), "merged_with_next"),
                    split("-", "contiguous"),
                    split(Regex("[aeiou]"), "removed"),
                    byte_level(add_prefix_space=False, use_regex=False),
                ]
            ),
            decoder=decoders.ByteLevel(),
        ),
        {},
    )


def numbers(t, config):
    ids = [t.encode(x, add_special_tokens=False).ids for x in TEXTS]
    whole = [t.encode(x).ids for x in TEXTS]
    if config.get("add_bos_token"):
        whole = [[t.token_to_id(config["bos_token"]), *x] for x in whole]
    return {"texts": TEXTS, "ids": ids, "whole": whole, "decoded": [t.decode(x) for x in ids]}


def main():
    if "--write" in sys.argv:
        for name, t, config in make():
            at = FOLDER / name
            at.mkdir(parents=True, exist_ok=True)
            (at / "tokenizer.json").write_text(json.dumps(json.loads(t.to_str()), ensure_ascii=False, separators=(",", ":")) + "\n")
            (at / "tokenizer_config.json").write_text(json.dumps(config) + "\n")
            (at / "numbers.json").write_text(json.dumps(numbers(t, config), separators=(",", ":")) + "\n")
    for at in sorted(FOLDER.iterdir()):
        config = json.loads((at / "tokenizer_config.json").read_text())
        if numbers(Tokenizer.from_file(str(at / "tokenizer.json")), config) != json.loads((at / "numbers.json").read_text()):
            raise SystemExit(f"{at.name}: tokenizers does not give the stored numbers")
    print("test/peers/texts is what tokenizers gives")


if __name__ == "__main__":
    main()
