"""The SentencePiece tokenizer: trained on captions and on all CLDR names, written as a T5Tokenizer folder."""

from __future__ import annotations

import io
import json
from pathlib import Path

import sentencepiece
import torch
from torch import Tensor
from transformers import T5Tokenizer

from .captions import words_en, words_zh
from .concepts import CLDR, COLOURS, Concept, cldr_names

VOCABULARY = 3000  # at most
LENGTH = 32  # tokens per prompt, the end token included
# both languages, spaces, case, width, unknown characters, length: transformers and sentencepiece must agree on these
PROBES = (
    "",
    "a red apple on a blue background",
    "一只红苹果",
    "  A  RED Apple, ｆｕｌｌ width ",
    "日本の龍 🐉 x",
    "word " * 50,
)
PAD, END, UNKNOWN = 0, 1, 2  # T5's ids


def training_text(concepts: list[Concept]) -> list[str]:
    """Words rather than captions, so that pieces are words: no piece joins a colour and a thing.

    English names of things that the model does not know give every letter its place; unknown Chinese characters are
    unknown tokens. SentencePiece looks for pieces that occur in several contexts, whence the marks after each word; the
    marks before the Chinese ones keep them off the start of a line, where a piece takes the space mark in.
    """
    words = {"en": 60 * words_en(), "zh": 60 * words_zh()}
    for names, times in ((concepts, 20), (COLOURS, 60)):
        for entry in names:
            words["en"] += times * [word for name in entry.en for word in name.split()]
            words["zh"] += times * [*entry.zh]
    for concept in concepts:
        words["en"] += 8 * [word for name in concept.en_words for word in name.split()]
        words["zh"] += 8 * [*concept.zh_words]
    lines = [name for name in cldr_names("en", CLDR).values() if name.isascii()]
    for mark in ",.!":
        lines += [word + mark for word in words["en"]] + [f",{word}{mark}" for word in words["zh"]]
    return lines


def train_tokenizer(concepts: list[Concept], path: Path) -> None:
    """Trains a unigram model on case-folded text and writes it to `path`."""
    model = io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(training_text(concepts)),
        model_writer=model,
        model_type="unigram",
        vocab_size=VOCABULARY,
        hard_vocab_limit=False,
        character_coverage=1.0,
        max_sentencepiece_length=12,
        normalization_rule_name="nmt_nfkc_cf",
        pad_id=PAD,
        eos_id=END,
        unk_id=UNKNOWN,
        bos_id=-1,
        num_threads=2,
        minloglevel=1,
    )
    path.write_bytes(model.getvalue())


class Tokens:
    """Prompts to padded token ids with the sentencepiece library itself."""

    def __init__(self, path: Path) -> None:
        self.processor = sentencepiece.SentencePieceProcessor(model_file=str(path))

    def __call__(self, prompts: list[str]) -> Tensor:
        """Ids [n, LENGTH] int64: pieces, the end token, padding."""
        rows = []
        for prompt in prompts:
            ids = self.processor.encode(prompt)[: LENGTH - 1] + [END]
            rows.append(ids + [PAD] * (LENGTH - len(ids)))
        return torch.tensor(rows)


def export_tokenizer(model: Path, folder: Path) -> T5Tokenizer:
    """Writes spiece.model, tokenizer.json and tokenizer_config.json, and returns what transformers reads from them.

    Raises:
        ValueError: transformers' ids differ from the sentencepiece library's.
    """
    folder.mkdir(parents=True, exist_ok=True)
    for stale in folder.glob("tokenizer*.json"):
        stale.unlink()
    (folder / "spiece.model").write_bytes(model.read_bytes())
    T5Tokenizer.from_pretrained(folder, extra_ids=0, model_max_length=LENGTH).save_pretrained(folder)
    path = folder / "tokenizer_config.json"
    wanted = {"extra_ids": 0, "model_max_length": LENGTH, "tokenizer_class": "T5Tokenizer"}
    config = json.loads(path.read_text()) | wanted
    path.write_text(json.dumps(config, indent=2) + "\n")
    tokenizer = T5Tokenizer.from_pretrained(folder)
    ours = Tokens(model)
    for prompt in PROBES:
        theirs = tokenizer(prompt, padding="max_length", max_length=LENGTH, truncation=True).input_ids
        if theirs != ours([prompt])[0].tolist():
            raise ValueError(f"{prompt!r}: transformers reads {theirs}, sentencepiece {ours([prompt])[0].tolist()}")
    return tokenizer
