"""Prompts, batch files, word lists, configurations and records in pictures as nobody should write them."""

from __future__ import annotations

import json
import zlib
from collections.abc import Iterator
from pathlib import Path

from .case import ANY, BAD, BAD_FILE, FINE, Case, Make, write
from .picture_cases import ROWS, chunk, head, png
from .safetensors_cases import PICTURE


def prompts() -> Iterator[tuple[str, str]]:
    million = 1_000_000
    yield "empty", ""
    yield "blanks", " " * million
    yield "megabyte", "a fox " * (million // 6)
    yield "one-word", "a" * million
    yield "chinese", "狐" * (million // 3)
    yield "combining", "e" + "\u0301" * (million // 6)
    yield "emoji", "👩‍👩‍👧‍👦" * 40_000
    yield "right-to-left", "\u202e\u2066\u200f" * 50_000
    yield "controls", "".join(map(chr, range(1, 32))) * 1000
    yield "unassigned", "\U0010ffff\ufffe\ufdd0" * 1000
    yield "newlines", "fox\n" * 10_000
    yield "special-tokens", "<|startoftext|><|endoftext|></s><pad>" * 5000
    yield "commas", "," * million
    yield "percent", "%s%n%x" * 10_000
    yield "lora-tags", "<lora:" * 10_000


def weighted() -> Iterator[tuple[str, str]]:
    million = 1_000_000
    for name, sign in {"open": "(", "close": ")", "square": "[", "square-close": "]", "backslashes": "\\", "colons": ":", "bars": "|"}.items():
        yield name, sign * million
    yield "both", "(" * (million // 2) + "fox" + ")" * (million // 2)
    yield "both-square", "[" * (million // 2) + "fox" + "]" * (million // 2)
    yield "mixed", "([" * (million // 4) + "fox" + "])" * (million // 4)
    yield "weights", "(fox:1e308)" * 10_000
    for value in ("1e308", "-1e308", "nan", "inf", "1e-400", "0", "-1", "1.5.5", "0x10", "9" * 10_000):
        yield f"weight-{value[:10]}", f"a (fox:{value}) here"
    yield "and", " AND ".join(["fox"] * 20_000)
    yield "and-weights", " AND ".join(["fox :1e38"] * 10)
    yield "break", " BREAK ".join(["fox"] * 2_000)
    yield "changes-nested", "[" * 100_000 + "a" + ":b:0.5]" * 100_000
    yield "changes-many", "[a:b:0.5]" * 10_000
    yield "changes-huge", "[a:b:1e308] [a:b:-5] [a:b:99999999999999999999]"
    yield "turns-many", "[" + "|".join(["fox"] * 100_000) + "]"
    yield "turns-nested", "[a|" * 100_000 + "b" + "]" * 100_000


def wildcards() -> Iterator[tuple[str, str, dict[str, str], frozenset[int]]]:
    yield "itself", "a __x__", {"x.txt": "__x__\n"}, BAD
    yield "two-in-a-ring", "a __x__", {"x.txt": "__y__\n", "y.txt": "__x__\n"}, BAD
    yield "doubling", "a __x0__", {f"x{i}.txt": f"__x{i + 1}__ __x{i + 1}__\n" for i in range(40)} | {"x40.txt": "fox\n"}, BAD
    yield "braces-nested", "{" * 100_000 + "fox" + "}" * 100_000, {}, ANY
    yield "braces-open", "{" * 1_000_000, {}, ANY
    yield "bars", "{" + "|" * 1_000_000 + "}", {}, ANY
    yield "many-of-few", "{1000000000$$a|b}", {}, ANY
    yield "all-of-many", "{100000$$" + "|".join(["fox"] * 100_000) + "}", {}, ANY
    yield "range-backwards", "{3-1$$a|b|c}", {}, ANY
    yield "weights", "{1e308::a|1e308::b|-1::c|nan::d}", {}, ANY
    yield "upwards", "__../../etc/passwd__", {}, BAD
    yield "absolute", "__/etc/passwd__", {}, BAD
    yield "empty-list", "__x__", {"x.txt": ""}, BAD
    yield "not-utf8-name", "__x\x01__", {}, BAD
    yield "stars", "__" + "*" * 10_000 + "__", {"x.txt": "fox\n"}, ANY
    yield "stars-against-a-long-name", "__" + "*a" * 60 + "__", {"a" * 200 + ".txt": "fox\n"}, ANY
    yield "long-list", "__x__", {"x.txt": "fox\n" * 1_000_000}, ANY


def batch_files() -> Iterator[tuple[str, bytes, frozenset[int]]]:
    """With --fail-fast: the exit code is the line's own fault."""
    for ending in ("txt", "jsonl", "csv", "tsv"):
        yield f"x.{ending}", b"", ANY
        yield f"nul.{ending}", b"prompt\na \0 fox\n", ANY
        yield f"not-utf8.{ending}", b"prompt\na \xff\xfe fox\n", BAD
        yield f"utf16.{ending}", "prompt\na fox\n".encode("utf-16"), BAD if ending == "jsonl" else FINE
        yield f"utf16-no-mark.{ending}", "prompt\na fox\n".encode("utf-16-le"), BAD_FILE
        yield f"utf32.{ending}", "prompt\na fox\n".encode("utf-32"), BAD_FILE
        yield f"picture.{ending}", b"\x89PNG\r\n\x1a\n" + bytes(range(256)), BAD
        yield f"17-megabytes.{ending}", b"prompt\n" + b"a" * 17_000_000 + b"\n", BAD
        yield f"random.{ending}", bytes(range(256)) * 100, BAD
    for name, line in {
        "list": "[]",
        "number": "5",
        "cut": '{"prompt": "a',
        "deep": '{"prompt":' + "[" * 100_000,
        "nested": '{"prompt":{"a":1}}',
        "unknown": '{"prompt":"x","stepz":5}',
        "twice": '{"prompt":"x","prompt":"y"}',
        "seed-negative": '{"prompt":"x","seed":-2}',
        "seed-real": '{"prompt":"x","seed":1.5}',
        "seed-huge": '{"prompt":"x","seed":18446744073709551616}',
        "seed-text": '{"prompt":"x","seed":"x"}',
        "steps-zero": '{"prompt":"x","steps":0}',
        "steps-huge": '{"prompt":"x","steps":1e308}',
        "width-huge": '{"prompt":"x","width":2147483648}',
        "width-negative": '{"prompt":"x","width":-64}',
        "guidance-nan": '{"prompt":"x","guidance_scale":NaN}',
        "guidance-text": '{"prompt":"x","guidance_scale":"nan"}',
        "model-of-its-own": '{"prompt":"x","model":"/etc/passwd"}',
        "output-of-its-own": '{"prompt":"x","output":"/tmp/evil.png"}',
        "picture-missing": '{"prompt":"x","init_image":"/no/such.png"}',
        "picture-a-folder": '{"prompt":"x","init_image":"/"}',
        "key-empty": '{"":"x"}',
        "key-long": json.dumps({"k" * 1_000_000: "x"}),
        "key-with-escapes": json.dumps({"\x1b[2J": "x"}),
        "many-keys": json.dumps({f"k{i}": i for i in range(20_000)}),
        "nul-in-text": '{"prompt":"a\\u0000b","negative_prompt":"\\u0000","width":"\\u0000"}',
        "lone-surrogate": '{"prompt":"\\ud800"}',
    }.items():
        yield f"{name}.jsonl", line.encode() + b"\n", BAD
    for name, text in {
        "no-header": b"a fox,5\n",
        "no-prompt": b"text,seed\na,5\n",
        "too-many-cells": b"prompt,seed\na,5,6,7\n",
        "quote-without-end": b'prompt,seed\n"a fox,5\n' + b"b,6\n" * 5000,
        "100000-columns": b"prompt" + b",c" * 100_000 + b"\na\n",
        "prompt-twice": b"prompt,prompt\na,b\n",
    }.items():
        yield f"{name}.csv", text, ANY
    for name, line in {
        "unknown-flag": b"a fox --stepz 5\n",
        "flag-without-value": b"a fox --steps\n",
        "words-behind": b"a fox --steps 5 and more\n",
        "quote-without-end": b'a fox --negative-prompt "no\n',
        "model": b"a fox --model /etc/passwd\n",
        "output": b"a fox --output /tmp/evil.png\n",
        "100000-flags": b"a fox" + b" --steps 5" * 100_000 + b"\n",
    }.items():
        yield f"{name}.txt", line, BAD
    yield "endless-comment.txt", b"# " + b"x" * 17_000_000, ANY


def configurations() -> Iterator[tuple[str, bytes, frozenset[int]]]:
    for name, data in {
        "cut": b"steps = ",
        "unknown": b"stepz = 5\n",
        "type": b'steps = "many"\n',
        "negative": b"steps = -1\n",
        "huge": b"steps = 99999999999999999999\n",
        "table": b"[steps]\na = 1\n",
        "date": b"steps = 1979-05-27\n",
        "nan": b"guidance_scale = nan\n",
        "twice": b"steps = 1\nsteps = 2\n",
        "not-utf8": b'negative_prompt = "\xff"\n',
        "nul": b'negative_prompt = "a\0b"\n',
        "binary": bytes(range(256)),
        "prompt": b'prompt = "sneaky"\n',
        "output": b'output = "/tmp/evil.png"\n',
        "config": b'config = "x.toml"\n',
        "deep": b"steps = " + b"[" * 100_000,
        "deep-tables": b"[" + b"a." * 100_000 + b"a]\n",
        "deep-inline": b"a = " + b"{a = " * 100_000,
    }.items():
        yield name, data, ANY if name in ("prompt", "output") else BAD  # the command line says both, and wins
    yield "long", b"# " + b"x" * 20_000_000, ANY
    yield "empty", b"", FINE


def record(keyword: bytes, data: bytes) -> bytes:
    return png(head(8, 8), ROWS, chunk(b"tEXt", keyword + b"\0" + data))


def records() -> Iterator[tuple[str, bytes, frozenset[int]]]:
    """What --from-image finds in a picture of a stranger."""
    yield "none", png(head(8, 8), ROWS), BAD_FILE
    for name, text in {
        "empty": b"",
        "not-json": b"{",
        "list": b"[]",
        "number": b"5",
        "nul": b"{}\0",
        "not-utf8": b'{"prompt":"\xff"}',
        "deep": b'{"prompt":' + b"[" * 100_000,
        "unknown": b'{"prompt":"x","stepz":5}',
        "output": b'{"prompt":"x","output":"/tmp/evil.png"}',
        "manifest": b'{"prompt":"x","manifest":"/tmp/evil.jsonl"}',
        "overwrite": b'{"prompt":"x","overwrite":true}',
        "batch": b'{"prompts":"/etc/passwd"}',
        "config": b'{"prompt":"x","config":"/etc/passwd"}',
        "picture": b'{"prompt":"x","init_image":"/no/such.png"}',
        "steps": b'{"prompt":"x","steps":-5}',
        "many": json.dumps({f"k{i}": i for i in range(100_000)}).encode(),
        "escapes": b'{"prompt":"x","scheduler":"\\u001b[2J"}',
    }.items():
        yield f"sdgen-{name}", record(b"sdgen", text), ANY if name in ("empty", "nul", "not-utf8") else BAD
    for name, text in {
        "empty": b"",
        "prompt-only": b"a fox",
        "settings-only": b"Steps: 2, Sampler: Euler, CFG scale: 3, Seed: 5, Size: 32x32",
        "sampler-unknown": b"a\nSteps: 2, Sampler: \x1b[2J, CFG scale: 3, Seed: 5, Size: 32x32",
        "size-junk": b"a\nSteps: 2, Sampler: Euler, CFG scale: 3, Seed: 5, Size: 99999999999x-5",
        "seed-negative": b"a\nSteps: 2, Sampler: Euler, CFG scale: 3, Seed: -2, Size: 32x32",
        "steps-huge": b"a\nSteps: 99999999999999999999, Sampler: Euler, CFG scale: nan, Seed: 5, Size: 32x32",
        "colons": b"a\n" + b"a: " * 300_000,
        "quotes": b'a\nSteps: 2, Lora hashes: "' + b'\\"' * 300_000,
        "commas": b"a\nSteps: 2, " + b"," * 1_000_000,
        "megabytes": b"(" * 3_000_000,
    }.items():
        yield f"a1111-{name}", record(b"parameters", text), ANY
    bomb = b"parameters\0\0" + zlib.compress(b"a" * 500_000_000, 9)
    yield "compressed-bomb", png(head(8, 8), ROWS, chunk(b"zTXt", bomb)), BAD_FILE
    yield "compressed-international-bomb", png(head(8, 8), ROWS, chunk(b"iTXt", b"parameters\0\1\0\0\0" + bomb[12:])), BAD_FILE
    yield "compressed-junk", png(head(8, 8), ROWS, chunk(b"zTXt", b"parameters\0\0junk")), BAD_FILE
    yield "compressed-unknown", png(head(8, 8), ROWS, chunk(b"zTXt", b"parameters\0\7junk")), BAD_FILE
    yield "100000-texts", png(head(8, 8), ROWS, chunk(b"tEXt", b"k\0v") * 100_000), BAD_FILE
    yield "20-megabytes-of-text", png(head(8, 8), ROWS, chunk(b"tEXt", b"k\0" + b"v" * 20_000_000)), BAD_FILE


def flags() -> Iterator[tuple[str, list[str | bytes]]]:
    yield "prompt-not-utf8", ["-p", b"a \xff fox"]
    yield "output-not-there", ["-p", "x", "-o", "no/such/folder/x.png"]
    yield "output-a-long-name", ["-p", "x", "-o", "x" * 300 + ".png"]
    for flag, values in {
        "--steps": ["0", "-1", "x", "", "1e3", "10001", "9" * 10_000],
        "--width": ["0", "-64", "7", "999999", "2147483648", "8.0"],
        "--seed": ["-2", "18446744073709551616", "0x5", "", "1 "],
        "--guidance-scale": ["nan", "inf", "1e400", "", "7,5"],
        "--strength": ["0", "2", "nan", "-0.5"],
        "--batch-size": ["0", "1025", "x"],
        "--lora": ["", ":", "x:", "x:nan", "no-such-file.safetensors", "x:unet=1,unet=2"],
        "--scheduler": ["", "x" * 100_000, "\x1b[2J", "euler\n"],
        "--sweep": ["", "steps", "steps=", "stepz=1", "steps=1;steps=2", "steps=" + "1," * 100_000, ";" * 100_000],
        "--grid": ["0x0", "x", "99999999999x1", "-1x5"],
        "--shard": ["1/1", "0/0", "-1/2", "1", "a/b"],
        "--original-size": ["x", "0x0", "99999999999x9"],
        "--device": ["tpu", "cuda:99999999999", "cuda:-1"],
        "--threads": ["0", "-1", "99999"],
        "--clip-skip": ["-1", "5", "999"],
        "--prompt-2": ["a bird"],
        "--negative-prompt-3": ["a bird"],
        "--max-sequence-length": ["0", "77", "513", "x"],
        "--skip-layers": ["", "x", "7,", "-1", "7,8,9", "99999999999", "," * 100_000],
        "--skip-layer-scale": ["nan", "2.8"],
        "--flow-shift": ["0", "-1", "nan", "3"],
        "--prompts": ["", "no-such-file.txt", "/"],
        "--wildcards": ["", "no-such-folder", "/etc/passwd"],
        "--from-image": ["", "no-such-file.png", "/"],
        "--config": ["", "no-such-file.toml", "/"],
        "--model": ["", "no-such-model", "/dev/null", "/proc/self/mem", "\x1b[2J"],
        "--no-such-flag": ["1"],
    }.items():
        for number, value in enumerate(values):
            yield f"{flag[2:]}-{number}", ["-p", "x", flag, value]


def lists_of(lists: dict[str, str]) -> Make:
    def make(folder: Path) -> None:
        (folder / "lists").mkdir()
        for name, text in lists.items():
            (folder / "lists" / name).write_text(text)

    return make


def cases(model: Path) -> Iterator[Case]:
    base = ["-m", str(model), *PICTURE[2:]]
    batch = ["-m", str(model), "-s", "1", "--steps", "1", "--dtype", "float32", "-o", "{index}.png", "--no-manifest", "-q"]

    def nothing(folder: Path) -> None:
        return None

    for syntax, texts in {"plain": prompts(), "weighted": [*prompts(), *weighted()]}.items():
        for name, text in texts:
            words = [*base, "--prompt-syntax", syntax, "-p", text]
            yield Case(f"prompt/{syntax}/{name}", nothing, words, ANY)
            yield Case(f"prompt/{syntax}-negative/{name}", nothing, [*base, "--prompt-syntax", syntax, "-p", "a fox", "-n", text], ANY)
    for name, text, lists, codes in wildcards():
        words = [*base, "--wildcards", "IN/lists", "-p", text]
        yield Case(f"wildcards/{name}", lists_of(lists), words, codes)
    for name, data, codes in batch_files():
        yield Case(f"batch/{name}", write(name, data), [*batch, "--fail-fast", "--prompts", f"IN/{name}"], codes, [name])
    for name, data, codes in configurations():
        yield Case(f"configuration/{name}", write("x.toml", data), [*base, "-p", "a fox", "--config", "IN/x.toml"], codes, ["x.toml"])
    for name, data, codes in records():
        words = ["-m", str(model), "--from-image", "IN/x.png", "-o", "out.png", "--steps", "1", "-W", "32", "-H", "32"]
        if name in ("sdgen-steps", "sdgen-manifest"):
            words = [*words[:4], "-o", "out.png"]
        yield Case(f"record/{name}", write("x.png", data), words, codes, [("x.png", "--prompt")])
    for name, words in flags():
        yield Case(f"flags/{name}", nothing, ["-m", str(model), "-o", "x.png", *words], BAD | {4})
