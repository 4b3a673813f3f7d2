"""Small tokenizers of our own in the file forms that diffusers folders carry."""

from __future__ import annotations

import io
import json
from collections import Counter
from itertools import pairwise
from pathlib import Path

BEGIN, END = "<|startoftext|>", "<|endoftext|>"
MAX_LENGTH = 77

# What the merges and the SentencePiece model are learned from. Nothing depends on the words themselves, only that some
# prompts are split into long pieces and others into single bytes.
SENTENCES = """
a red fox in the snow, detailed oil painting
a photo of a small house by the lake at sunset, soft light
the portrait of an old sailor with a grey beard, highly detailed
a green apple and two yellow lemons on a wooden table
an astronaut riding a white horse through the desert
a watercolor landscape with mountains, river and birds
low quality, blurry, text, watermark, extra fingers
a cat sleeping on a blue chair next to the window
the city at night, neon signs, rain, reflections on the street
ein rotes Haus am See, une maison rouge, красный дом, 一只红苹果在桌子上
""".strip().splitlines()


def byte_characters() -> list[str]:
    """The printable character for each byte 0..255 in byte-level BPE files (GPT-2's convention): Latin-1's
    printable characters stand for themselves, the others take U+0100 onwards in order."""
    printable = {*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)}
    spare = iter(range(0x100, 0x200))
    return [chr(byte) if byte in printable else chr(next(spare)) for byte in range(256)]


def learn_merges(sentences: list[str], count: int) -> list[tuple[str, str]]:
    """`count` byte-pair merges, most frequent pair first; ties go to the lexically smaller pair."""
    characters = byte_characters()
    words: Counter[tuple[str, ...]] = Counter()
    for sentence in sentences:
        for word in sentence.lower().replace(",", " ").split():
            units = [characters[byte] for byte in word.encode()]
            words[(*units[:-1], units[-1] + "</w>")] += 1

    merges: list[tuple[str, str]] = []
    while len(merges) < count:
        pairs: Counter[tuple[str, str]] = Counter()
        for word, frequency in words.items():
            for pair in pairwise(word):
                pairs[pair] += frequency
        if not pairs:
            break
        best = min(pairs, key=lambda pair: (-pairs[pair], pair))
        merges.append(best)
        words = Counter({_merge(word, best): frequency for word, frequency in words.items()})
    return merges


def _merge(word: tuple[str, ...], pair: tuple[str, str]) -> tuple[str, ...]:
    out: list[str] = []
    i = 0
    while i < len(word):
        if word[i : i + 2] == pair:
            out.append(pair[0] + pair[1])
            i += 2
        else:
            out.append(word[i])
            i += 1
    return tuple(out)


def clip_vocabulary() -> tuple[dict[str, int], list[tuple[str, str]]]:
    """CLIP's layout in small: 256 bytes in the order of their characters, the same with </w>, merges, two specials."""
    merges = learn_merges(SENTENCES, 120)
    units = sorted(byte_characters())
    tokens = [*units, *(unit + "</w>" for unit in units), *(left + right for left, right in merges), BEGIN, END]
    return {token: index for index, token in enumerate(tokens)}, merges


def write_clip_tokenizer(folder: Path, *, json_only: bool = False, pad: str = END) -> int:
    """Writes a CLIPTokenizer folder and returns its vocabulary size.

    vocab.json + merges.txt as Stable Diffusion 1.5 has them, or with `json_only` tokenizer.json alone as transformers 5
    saves it."""
    folder.mkdir(parents=True, exist_ok=True)
    vocabulary, merges = clip_vocabulary()
    if json_only:
        from transformers import CLIPTokenizer

        options = {"model_max_length": MAX_LENGTH, "pad_token": pad}
        CLIPTokenizer(vocab=vocabulary, merges=merges, **options).save_pretrained(folder)
        return len(vocabulary)

    lines = ["#version: 0.2", *(f"{left} {right}" for left, right in merges)]
    write_text(folder / "vocab.json", json.dumps(vocabulary, ensure_ascii=False))
    write_text(folder / "merges.txt", "\n".join(lines))
    special = {"bos_token": BEGIN, "eos_token": END, "pad_token": pad, "unk_token": END}
    write_json(folder / "special_tokens_map.json", special)
    options = {"add_prefix_space": False, "do_lower_case": True, "errors": "replace", "model_max_length": MAX_LENGTH}
    write_json(folder / "tokenizer_config.json", {**options, **special, "tokenizer_class": "CLIPTokenizer"})
    return len(vocabulary)


def write_sentencepiece_tokenizer(folder: Path, max_length: int = 32) -> int:
    """Writes a T5Tokenizer folder with a unigram spiece.model, as the embedded model has it; returns its size."""
    import sentencepiece

    folder.mkdir(parents=True, exist_ok=True)
    model = io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(SENTENCES * 4), model_writer=model, model_type="unigram", vocab_size=180,
        hard_vocab_limit=False, pad_id=0, eos_id=1, unk_id=2, bos_id=-1, minloglevel=2, num_threads=1,
    )  # fmt: skip
    (folder / "spiece.model").write_bytes(model.getvalue())
    special = {"eos_token": "</s>", "pad_token": "<pad>", "unk_token": "<unk>"}
    options = {"extra_ids": 0, "additional_special_tokens": [], "model_max_length": max_length}
    write_json(folder / "tokenizer_config.json", {**options, **special, "tokenizer_class": "T5Tokenizer"})
    write_json(folder / "special_tokens_map.json", special)
    return sentencepiece.SentencePieceProcessor(model_proto=model.getvalue()).get_piece_size()


def write_json(path: Path, value: object) -> None:
    write_text(path, json.dumps(value, indent=2, ensure_ascii=False))


def write_text(path: Path, text: str) -> None:
    path.write_text(text + "\n", encoding="utf-8")
