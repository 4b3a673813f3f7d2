"""Tokenizers as they should not be: vocab.json, merges.txt, tokenizer.json and SentencePiece models."""

from __future__ import annotations

import json
from collections.abc import Iterator
from copy import deepcopy
from functools import partial
from pathlib import Path

from .case import ANY, BAD_FILE, FINE, Case, dumped, with_model
from .safetensors_cases import FOLDER, PICTURE


def varint(value: int) -> bytes:
    out = b""
    while value > 0x7F:
        out += bytes([value & 0x7F | 0x80])
        value >>= 7
    return out + bytes([value])


def field(number: int, data: bytes) -> bytes:
    """Of a protocol buffer: bytes of a length."""
    return varint(number << 3 | 2) + varint(len(data)) + data


def piece(text: bytes, kind: int = 1) -> bytes:
    return field(1, field(1, text) + b"\x15\0\0\0\0" + b"\x18" + varint(kind))


def with_tokenizer(model: Path, files: dict[str, bytes | str], folder: Path) -> None:
    """The model with a tokenizer of these files alone."""
    with_model(model)(folder)
    place = folder / "model" / "tokenizer"
    for file in place.iterdir():
        file.unlink()
    for name, data in files.items():
        (place / name).write_bytes(data if isinstance(data, bytes) else data.encode())


def vocabularies(model: Path) -> Iterator[tuple[str, str, frozenset[int]]]:
    vocabulary = json.loads((model / "tokenizer/vocab.json").read_text())
    first = next(iter(vocabulary))
    for name, value in {
        "negative": -1,
        "huge": 2**62,
        "beyond-64-bits": 2**64,
        "real": 1.5,
        "text": "1",
        "null": None,
        "true": True,
        "list": [1],
        "beyond-the-network": 100_000,
        "twice": 1,
    }.items():
        yield f"id-{name}", dumped({**vocabulary, first: value}), BAD_FILE
    yield "empty", "{}", BAD_FILE
    yield "list", "[]", BAD_FILE
    yield "not-json", "{", BAD_FILE
    yield "without-a-byte", dumped({k: v for k, v in vocabulary.items() if k != first}), ANY
    yield "without-the-end", dumped({k: v for k, v in vocabulary.items() if k != "<|endoftext|>"}), ANY
    yield "long-word", dumped({**vocabulary, "a" * 5_000_000: 634}), ANY
    yield "million", dumped({**vocabulary, **{f"w{i}": 634 + i for i in range(1_000_000)}}), ANY
    yield "key-twice", '{"a":1,"a":2}', BAD_FILE


def merges(model: Path) -> Iterator[tuple[str, bytes, frozenset[int]]]:
    text = (model / "tokenizer/merges.txt").read_bytes()
    yield "empty", b"", ANY
    yield "one-word", text + b"lonely\n", BAD_FILE
    yield "three-words", text + b"a b c\n", BAD_FILE
    yield "unknown-words", text + b"zzzz qqqq\n", BAD_FILE
    yield "nul", text + b"a \0\n", BAD_FILE
    yield "not-utf8", text + b"\xff\xfe \xfe\n", BAD_FILE
    yield "long", text + b"a" * 5_000_000 + b" b\n", BAD_FILE
    yield "many", text + b"a b\n" * 1_000_000, ANY
    yield "no-ends", b"a b " * 1_000_000, BAD_FILE


def sentencepiece(model: Path) -> Iterator[tuple[str, bytes, frozenset[int]]]:
    control = piece(b"<pad>", 3) + piece(b"</s>", 3) + piece(b"<unk>", 2)
    yield "empty", b"", BAD_FILE
    yield "zeros", bytes(1000), BAD_FILE
    yield "text", b"this is no model" * 10, BAD_FILE
    yield "no-pieces", field(2, b""), BAD_FILE
    yield "no-unknown", piece(b"a") * 3, BAD_FILE
    yield "length-behind-the-end", b"\x0a\xff\xff\xff\x7f", BAD_FILE
    yield "length-of-64-bits", b"\x0a" + b"\xff" * 9 + b"\x01", BAD_FILE
    yield "varint-without-end", b"\xff" * 100, BAD_FILE
    yield "nested-groups", b"\x0b" * 100_000, BAD_FILE
    yield "long-piece", control + piece(b"a" * 200_000), ANY
    yield "nul-piece", control + piece(b"a\0b"), ANY
    yield "not-utf8-piece", control + piece(b"\xff\xfe"), BAD_FILE
    yield "empty-piece", control + piece(b""), ANY
    yield "piece-twice", control + piece(b"a") + piece(b"a"), ANY
    yield "kind-unknown", control + piece(b"a", 99), ANY
    yield "many-pieces", control + b"".join(piece(b"p%d" % i) for i in range(1_000_000)), ANY
    yield "nan-score", control + field(1, field(1, b"a") + b"\x15\0\0\xc0\x7f"), ANY
    for name, charsmap in {
        "short": b"\xff",
        "size-behind-the-end": b"\xff\xff\xff\x7f" + bytes(16),
        "size-negative": b"\xff\xff\xff\xff" + bytes(16),
        "trie-of-ones": b"\x00\x04\0\0" + b"\xff" * 1024 + b"a\0",
        "trie-of-zeros": b"\x00\x04\0\0" + bytes(1024),
        "no-text": b"\x04\0\0\0" + b"\x00\x01\x00\x80",
    }.items():
        yield f"charsmap-{name}", control + piece(b"\xe2\x96\x81a") + field(3, field(2, charsmap)), ANY


def tokenizer_jsons(whole: dict) -> Iterator[tuple[str, str, frozenset[int]]]:
    """Every part missing, null and of the wrong type."""
    for key in whole:
        for name, value in {"null": None, "text": "x", "number": 5, "list": [], "object": {}, "texts": ["x"], "negative": -1}.items():
            yield f"{key}-{name}", dumped({**whole, key: value}), ANY
        yield f"{key}-missing", dumped({k: v for k, v in whole.items() if k != key}), ANY
    for key in whole["model"]:
        for name, value in {"null": None, "text": "x", "number": -5, "list": [], "object": {}, "nested": [[[]]], "wrong": {"a": -1}}.items():
            changed = deepcopy(whole)
            changed["model"][key] = value
            yield f"model.{key}-{name}", dumped(changed), ANY
    for name, token in {
        "id-negative": {"id": -1, "content": "<x>"},
        "id-huge": {"id": 2**62, "content": "<x>"},
        "id-missing": {"content": "<x>"},
        "content-missing": {"id": 5},
        "content-empty": {"id": 5, "content": ""},
        "content-a-number": {"id": 5, "content": 5},
        "a-text": "x",
        "beyond-the-network": {"id": 99_999, "content": "fox"},
    }.items():
        yield f"added-{name}", dumped({**whole, "added_tokens": [*whole["added_tokens"], token]}), ANY


def cases(root: Path) -> Iterator[Case]:
    model, tokenizers = root / "tests/fixtures/tiny-sd", root / "tests/fixtures/tokenizers"
    for name, data, codes in vocabularies(model):
        yield Case(f"tokenizer/vocab/{name}", with_model(model, "tokenizer/vocab.json", data), FOLDER, codes, ["tokenizer"])
    for name, data, codes in merges(model):
        yield Case(f"tokenizer/merges/{name}", with_model(model, "tokenizer/merges.txt", data), FOLDER, codes, ["merges.txt"])
    for name, data, codes in sentencepiece(model):
        files = {"spiece.model": data, "tokenizer_config.json": '{"tokenizer_class": "T5Tokenizer", "model_max_length": 77}'}
        yield Case(f"tokenizer/sentencepiece/{name}", partial(with_tokenizer, model, files), FOLDER, codes, ["spiece.model"])
    embedded = root / "models/default"
    whole = (embedded / "tokenizer/spiece.model").read_bytes()
    (trained, *_) = [json.loads((p / "tokenizer.json").read_text()) for p in [tokenizers / "clip-json"]]
    config = (tokenizers / "clip-json/tokenizer_config.json").read_bytes()
    for name, text, codes in tokenizer_jsons(trained):
        files = {"tokenizer.json": text, "tokenizer_config.json": config}
        yield Case(f"tokenizer/json/{name}", partial(with_tokenizer, model, files), FOLDER, codes, ["tokenizer"])
    words = ["-m", "IN/model", "-p", "a red apple, 一只红苹果 ﬁ", *PICTURE[2:]]
    for percent in range(0, 100, 2):
        cut = with_model(embedded, "tokenizer/spiece.model", whole[: len(whole) * percent // 100])
        yield Case(f"tokenizer/sentencepiece-cut/{percent}%", cut, words, ANY, ["spiece.model"])
    for at in range(0, len(whole), max(len(whole) // 60, 1)):
        flipped = whole[:at] + bytes([whole[at] ^ 0xFF]) + whole[at + 1 :]
        yield Case(f"tokenizer/sentencepiece-flipped/{at}", with_model(embedded, "tokenizer/spiece.model", flipped), words, ANY, ["spiece.model"])
    yield Case("tokenizer/sentencepiece/right", with_model(embedded), words, FINE)
