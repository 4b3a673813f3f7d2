"""Tokenizer folders of every kind that sdgen reads, and what transformers makes of texts with them."""

from __future__ import annotations

import gzip
import io
import json
import random
from pathlib import Path

import sentencepiece
from tokenizers import AddedToken, Regex, Tokenizer, models, normalizers, pre_tokenizers, processors, trainers
from transformers import CLIPTokenizer, GemmaTokenizer, PreTrainedTokenizerBase, Qwen2Tokenizer, T5Tokenizer
from transformers.models.qwen2.tokenization_qwen2 import PRETOKENIZE_REGEX

from .token_texts import PROMPTS, WORDS, cldr_names
from .vocabulary import BEGIN, END, SENTENCES, byte_characters

CLASSES: dict[str, type[PreTrainedTokenizerBase]] = {
    "CLIPTokenizer": CLIPTokenizer,
    "T5Tokenizer": T5Tokenizer,
    "Qwen2Tokenizer": Qwen2Tokenizer,
    "GemmaTokenizer": GemmaTokenizer,
}
UNPADDED = (Qwen2Tokenizer, GemmaTokenizer)  # language models: sdgen leaves padding to the encoder

# Tokens that Qwen's and Gemma's folders add to their vocabularies, as far as templates use them.
QWEN_TOKENS = ("<|endoftext|>", "<|im_start|>", "<|im_end|>", "<|vision_start|>", "<tool_call>", "<think>", "</think>")
GEMMA_TOKENS = ("<pad>", "<eos>", "<bos>", "<unk>", "<mask>", "<start_of_turn>", "<end_of_turn>")

# Rules of a small normalizer: full width and upper case to ASCII, a few compositions, white space to a blank, controls to
# nothing. The library's own tables take 240 KB.
SMALL_RULES = [
    *((chr(0xFF01 + i), chr(0x21 + i).lower()) for i in range(94)),
    *((chr(0x41 + i), chr(0x61 + i)) for i in range(26)),
    *((c, " ") for c in "\t\n\r\u00a0\u2003\u3000\u2028"),
    *((chr(c), "") for c in (*range(1, 9), 0x1F, 0x7F, 0xAD, 0xFEFF, 0x200B)),
    ("e\u0301", "é"), ("A\u030a", "å"), ("Å", "å"), ("É", "é"), ("½", "1⁄2"), ("\u0958", "\u0915\u093c"), ("ﬁ", "fi"),
    ("\u1112\u1161\u11ab", "한"), ("…", "..."),
]


def write_json(path: Path, value: object) -> None:
    path.write_text(json.dumps(value, ensure_ascii=False, separators=(",", ":")) + "\n", encoding="utf-8")


def token_object(content: str, **flags: bool) -> dict[str, object]:
    return {"content": content, "lstrip": False, "normalized": True, "rstrip": False, "single_word": False} | flags


def corpus() -> list[str]:
    """Text to learn from: our own sentences, in shuffled order too, so that there are pieces of many lengths."""
    draw = random.Random(5)
    words = [word for line in SENTENCES + PROMPTS[2:20] for word in line.split() if word.isprintable() and len(word) < 20]
    words += [word for word in WORDS if not word.startswith("<")] + ["nn", "mm", "ll", "oo", "..", "!!"] * 3
    return [" ".join(draw.choices(words, k=12)) for _ in range(600)]


def learned_merges(count: int) -> list[str]:
    tokenizer = Tokenizer(models.BPE(end_of_word_suffix="</w>"))
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.WhitespaceSplit(), pre_tokenizers.ByteLevel(add_prefix_space=False)])
    trainer = trainers.BpeTrainer(vocab_size=512 + count, end_of_word_suffix="</w>", show_progress=False,
                                  initial_alphabet=pre_tokenizers.ByteLevel.alphabet())
    tokenizer.train_from_iterator((line.lower() for line in corpus()), trainer)
    merges = json.loads(tokenizer.to_str())["model"]["merges"]
    return [" ".join(pair) for pair in merges[:count]]


def clip_tables(vocabulary: Path | None, merge_count: int = 700) -> tuple[dict[str, int], list[str]]:
    """Ids and merges in CLIP's order: bytes, bytes that end a word, merges, the two special tokens."""
    if vocabulary is None:
        merges = learned_merges(merge_count)
    else:
        lines = gzip.decompress(vocabulary.read_bytes()).decode("utf-8").split("\n")
        merges = lines[1 : 49152 - 256 - 2 + 1]
    characters = byte_characters()
    order = sorted(range(256), key=lambda byte: (ord(characters[byte]) >= 0x100, byte))  # GPT-2's: printable bytes first
    singles = [characters[byte] for byte in order]
    tokens = singles + [c + "</w>" for c in singles] + [merge.replace(" ", "") for merge in merges] + [BEGIN, END]
    return {token: id for id, token in enumerate(tokens)}, merges


def write_clip(folder: Path, tables: tuple[dict[str, int], list[str]], pad: str | None = END, **config: object) -> None:
    """A folder as SD 1.x and 2.x have it; with pad None nothing but vocabulary and merges."""
    folder.mkdir(parents=True)
    vocabulary, merges = tables
    write_json(folder / "vocab.json", vocabulary)
    (folder / "merges.txt").write_text("#version: 0.2\n" + "".join(merge + "\n" for merge in merges), encoding="utf-8")
    if pad is None:
        return
    special = {"bos_token": token_object(BEGIN), "eos_token": token_object(END), "unk_token": token_object(END)}
    typed = {name: {"__type": "AddedToken"} | token for name, token in special.items()}
    write_json(folder / "special_tokens_map.json", special | {"pad_token": pad})
    write_json(folder / "tokenizer_config.json",
               {"tokenizer_class": "CLIPTokenizer", "model_max_length": 77, "pad_token": END, **typed, **config})


def without_rare_bytes(tables: tuple[dict[str, int], list[str]]) -> tuple[dict[str, int], list[str]]:
    """A vocabulary that lacks the single bytes no merge needs, so that there are unknown characters."""
    vocabulary, merges = tables
    needed = {part for merge in merges for part in merge.split(" ")}
    needed |= {token for token in vocabulary if len(token.removesuffix("</w>")) > 1 or token[0].isalnum()}
    return {token: id for token, id in vocabulary.items() if token in needed}, merges


def train_sentencepiece(path: Path, size: int, **options: object) -> None:
    model = io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(corpus()), model_writer=model, vocab_size=size, hard_vocab_limit=False, num_threads=1,
        minloglevel=2, **options)
    path.write_bytes(model.getvalue())


def write_t5(folder: Path, size: int, config: dict[str, object], **options: object) -> None:
    folder.mkdir(parents=True)
    train_sentencepiece(folder / "spiece.model", size, model_type="unigram", pad_id=0, eos_id=1, unk_id=2, bos_id=-1, **options)
    write_json(folder / "tokenizer_config.json", {"tokenizer_class": "T5Tokenizer", "model_max_length": 48} | config)


def write_small_t5(folder: Path) -> None:
    """A T5Tokenizer with small normalization rules of its own."""
    rules = folder.parent / "rules.tsv"
    folder.parent.mkdir(parents=True, exist_ok=True)
    codes = lambda text: " ".join(f"{ord(c):X}" for c in text)  # noqa: E731
    rules.write_text("".join(f"{codes(key)}\t{codes(value)}\n" for key, value in SMALL_RULES))
    write_t5(folder, 400, {"extra_ids": 0}, normalization_rule_tsv=str(rules))
    rules.unlink()


def language_corpus() -> list[str]:
    """More text than corpus(): names in all languages, and what Python's standard library says of itself."""
    names = sorted({name for names in cldr_names().values() for name in names})
    sources = [path.read_text(encoding="utf-8") for path in sorted(Path(random.__file__).parent.glob("*.py"))]
    return [*corpus(), *names, *(line for text in sources for line in text.split("\n\n"))]


def write_qwen(folder: Path, merge_count: int, texts: list[str], json_only: bool = False) -> int:
    """A Qwen2Tokenizer's folder as the released ones are: special tokens come after the vocabulary. Returns its size."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.normalizer = normalizers.NFC()
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.Split(Regex(PRETOKENIZE_REGEX), behavior="isolated"),
         pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)])
    tokenizer.train_from_iterator(texts, trainers.BpeTrainer(
        vocab_size=256 + merge_count, show_progress=False, initial_alphabet=pre_tokenizers.ByteLevel.alphabet()))
    model = json.loads(tokenizer.to_str())["model"]
    size = len(model["vocab"])
    added = {str(size + i): token_object(token, normalized=False, special=not token.startswith("<t") and "/" not in token)
             for i, token in enumerate(QWEN_TOKENS)}
    folder.mkdir(parents=True)
    write_json(folder / "tokenizer_config.json",
               {"tokenizer_class": "Qwen2Tokenizer", "add_prefix_space": False, "add_bos_token": False, "bos_token": None,
                "eos_token": "<|im_end|>", "pad_token": "<|endoftext|>", "unk_token": None, "model_max_length": 131072,
                "split_special_tokens": False, "added_tokens_decoder": added})
    if json_only:
        tokenizer.add_tokens([AddedToken(token["content"], normalized=False, special=bool(token["special"])) for token in added.values()])
        tokenizer.save(str(folder / "tokenizer.json"))
        return size + len(added)
    write_json(folder / "vocab.json", model["vocab"])
    (folder / "merges.txt").write_text("".join(" ".join(pair) + "\n" for pair in model["merges"]), encoding="utf-8")
    return size + len(added)


def write_gemma(folder: Path, merge_count: int, texts: list[str], begins: bool = True) -> int:
    """A GemmaTokenizer's folder: special tokens, line breaks and bytes first. Returns its size."""
    blanks = [text.replace(" ", "\u2581") for text in texts]
    learned = Tokenizer(models.BPE())
    learned.pre_tokenizer = pre_tokenizers.Split("\u2581", behavior="merged_with_next")
    learned.train_from_iterator(blanks, trainers.BpeTrainer(vocab_size=400 + merge_count, limit_alphabet=300, show_progress=False))
    model = json.loads(learned.to_str())["model"]
    first = [*GEMMA_TOKENS, "\n", "\n\n", "<table>", *(f"<0x{byte:02X}>" for byte in range(256))]
    known = [*first, *(token for token in model["vocab"] if token not in first)]
    vocabulary = {token: i for i, token in enumerate(known)}
    tokenizer = Tokenizer(models.BPE(vocab=vocabulary, merges=[tuple(pair) for pair in model["merges"]], unk_token="<unk>",
                                     byte_fallback=True, fuse_unk=True))
    added = {str(vocabulary[token]): token_object(token, normalized=False, special=token in GEMMA_TOKENS) for token in first[: len(GEMMA_TOKENS) + 3]}
    tokenizer.add_tokens([AddedToken(token["content"], normalized=False, special=bool(token["special"])) for token in added.values()])
    if begins:
        tokenizer.post_processor = processors.TemplateProcessing(single="<bos>:0 $A:0", special_tokens=[("<bos>", vocabulary["<bos>"])])
    folder.mkdir(parents=True)
    tokenizer.save(str(folder / "tokenizer.json"))
    write_json(folder / "tokenizer_config.json",
               {"tokenizer_class": "GemmaTokenizer", "add_bos_token": True, "bos_token": "<bos>", "eos_token": "<eos>", "pad_token": "<pad>",
                "unk_token": "<unk>", "model_max_length": 10**30, "added_tokens_decoder": added, "padding_side": "right"})
    return len(vocabulary)


def save_as_json(source: Path, folder: Path) -> None:
    """The same tokenizer as transformers 5 saves it: tokenizer.json and tokenizer_config.json."""
    load(source).save_pretrained(folder)


def added_tokens(vocabulary: dict[str, int]) -> dict[str, dict[str, object]]:
    """added_tokens_decoder with every flag: tokens of the vocabulary and new ones after it."""
    size = len(vocabulary)
    return {
        str(vocabulary[BEGIN]): token_object(BEGIN, special=True),
        str(vocabulary[END]): token_object(END, special=True, normalized=False),
        str(size): token_object("<cat-toy>", normalized=False, lstrip=True, rstrip=True),
        str(size + 1): token_object("<EXTRA>", special=False),
        str(size + 2): token_object("apple", normalized=False, single_word=True),
        str(size + 3): token_object("Old House", rstrip=True),
        str(size + 4): token_object("É", single_word=True),
    }


def make_all(scratch: Path, vocabulary: Path | None = None) -> dict[str, Path]:
    """Writes all kinds of folders under `scratch`; returns them by name."""
    tables = clip_tables(vocabulary)
    write_clip(scratch / "clip", tables)
    write_clip(scratch / "clip-sd2", tables, pad="!")
    write_clip(scratch / "clip-bare", tables, pad=None)
    write_clip(scratch / "clip-unknown", without_rare_bytes(clip_tables(None)))
    write_clip(scratch / "clip-added", tables, added_tokens_decoder=added_tokens(tables[0]))
    save_as_json(scratch / "clip", scratch / "clip-json")
    save_as_json(scratch / "clip-added", scratch / "clip-added-json")
    write_small_t5(scratch / "t5-small")
    write_t5(scratch / "t5-fold", 900, {"extra_ids": 0}, normalization_rule_name="nmt_nfkc_cf")
    write_t5(scratch / "t5-extra", 900, {"extra_ids": 100}, normalization_rule_name="nmt_nfkc", byte_fallback=True,
             user_defined_symbols=["<cat-toy>", "oil painting"])
    write_t5(scratch / "t5-identity", 900, {}, normalization_rule_name="identity", remove_extra_whitespaces=False)
    save_as_json(scratch / "t5-extra", scratch / "t5-json")
    texts = language_corpus()
    write_qwen(scratch / "qwen", 40_000, texts)
    write_qwen(scratch / "qwen-json", 2000, texts, json_only=True)
    write_gemma(scratch / "gemma", 20_000, texts)
    write_gemma(scratch / "gemma-silent", 500, texts, begins=False)
    names = [path.name for path in sorted(scratch.iterdir()) if path.is_dir()]
    return {name: scratch / name for name in names}


def load(folder: Path) -> PreTrainedTokenizerBase:
    path = folder / "tokenizer_config.json"
    config = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {"tokenizer_class": "CLIPTokenizer"}
    return CLASSES[config["tokenizer_class"]].from_pretrained(folder)


def reference_ids(folder: Path, texts: list[str]) -> list[list[list[int]]]:
    """For each text its own ids, and the ids that a diffusers pipeline gives the text encoder."""
    tokenizer = load(folder)
    length = tokenizer.model_max_length if tokenizer.model_max_length < 100_000 else 77
    alone = tokenizer(texts, add_special_tokens=False, verbose=False).input_ids
    padding = False if isinstance(tokenizer, UNPADDED) else "max_length"
    whole = tokenizer(texts, padding=padding, max_length=length, truncation=True).input_ids
    return [list(pair) for pair in zip(alone, whole, strict=True)]
