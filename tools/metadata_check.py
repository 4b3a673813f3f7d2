#!/usr/bin/env python3
"""Holds what sdgen writes into pictures against readers that it does not come from, and makes pictures again from it:

    tools/metadata_check.py build/sdgen build/tools/sdgen_parameters [--every N] [--filter REGEX]

- Texts of every kind (commas, quotes, newlines, Chinese, emoji, NUL) in PNG and JPEG, read by Pillow and piexif, and taken
  apart by the rule of AUTOMATIC1111's web UI, which is written down here once more.
- sdgen's own reader of such texts, on random ones, against that rule.
- Every N-th case of tools/parity.py (default: 23), made again with --from-image: the file has to be the same, byte by byte.

Ends with the line `metadata: N passed, N failed`; exit 1 when a check failed.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import random
import re
import subprocess
import sys
import tempfile
import warnings
from collections.abc import Iterator
from pathlib import Path

os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")
os.environ.setdefault("HF_HUB_DISABLE_PROGRESS_BARS", "1")
warnings.filterwarnings("ignore", category=FutureWarning)  # diffusers' on outdated scheduler configs

import piexif  # noqa: E402
import piexif.helper  # noqa: E402
from PIL import Image  # noqa: E402

from reference.model_store import ModelStore  # noqa: E402
from reference.parity_case import ParityCase  # noqa: E402
from reference.parity_cases import parity_cases  # noqa: E402
from reference.parity_models import MODELS  # noqa: E402
from reference.parity_run import Sdgen  # noqa: E402

MODEL = Path(__file__).parents[1] / "tests" / "fixtures" / "tiny-sd"
EXIF_DIRECTORY, USER_COMMENT = 0x8769, 0x9286
# AUTOMATIC1111's modules/infotext_utils.py and processing.py: the pairs of the last line, and the order of the keys.
PAIR = re.compile(r'\s*(\w[\w \-/]+):\s*("(?:\\.|[^\\"])+"|[^,]*)(?:,|$)')
ORDER = (
    "Steps", "Sampler", "Schedule type", "CFG scale", "Seed", "Size", "Model hash", "Model", "VAE hash", "VAE",
    "Denoising strength", "Clip skip", "RNG", "Mask blur", "Lora hashes", "TI hashes", "Emphasis", "Noise Schedule",
    "Version",
)  # fmt: skip
TEXTS = (
    "a red fox", "a, b: \"c\" <d> 'e'", "two\nlines, Steps: 3", "café, naïve Ærøskøbing", "一只红苹果，绿色背景",
    "🦊 in the ❄️ 👩‍👩‍👧", "tab\there \\ back\\\\slash {a|b}", "nul\0inside", "(weights:1.3) [less] \\(brackets\\)",
    "\u2028line separator\u0085", "\ud7ff\ue000\U0010ffff", "x" * 3000,
)  # fmt: skip

Parsed = tuple[str, str, dict[str, str]]


def web_ui_rule(text: str) -> Parsed:
    """Prompt, negative prompt and values of a text, as the web UI finds them."""
    *lines, last = text.strip().split("\n")
    pairs = PAIR.findall(last)
    if len(pairs) < 3:
        lines.append(last)
        pairs = []
    parts: tuple[list[str], list[str]] = ([], [])
    negative = False
    for line in (line.strip() for line in lines):
        if line.startswith("Negative prompt:"):
            negative, line = True, line[len("Negative prompt:") :].strip()
        parts[negative].append(line)
    values = {}
    for key, value in pairs:
        if value:
            values[key] = json_string(value) if value[0] == value[-1] == '"' else value
    # Empty lines before the first word leave no trace: they are joined as long as there is something to join.
    prompts = [joined(part) for part in parts]
    return prompts[0], prompts[1], values


def joined(lines: list[str]) -> str:
    text = ""
    for line in lines:
        text += ("\n" if text else "") + line
    return text


def json_string(value: str) -> str:
    try:
        return json.loads(value)
    except ValueError:
        return value


class Checks:
    def __init__(self) -> None:
        self.passed = self.failed = 0

    def __call__(self, good: bool, what: str) -> None:
        if good:
            self.passed += 1
            return
        self.failed += 1
        if self.failed <= 20:
            print(f"FAILED: {what}")


def texts_of(path: Path) -> tuple[str, str]:
    """The web UI's text and the record, through Pillow and piexif."""
    with Image.open(path) as image:
        image.load()
        if path.suffix == ".png":
            return image.info["parameters"], image.info["sdgen"]
        comment = image.getexif().get_ifd(EXIF_DIRECTORY)[USER_COMMENT]
        record = image.info["comment"].decode("ascii")
    text = piexif.helper.UserComment.load(piexif.load(str(path))["Exif"][piexif.ExifIFD.UserComment])
    if comment != b"UNICODE\0" + text.encode("utf-16-be"):
        raise ValueError("Pillow and piexif see different comments")
    return text, record


def check_texts(check: Checks, sdgen: Path, folder: Path) -> None:
    """Every text as prompt and as negative prompt, in both formats."""
    jobs = folder / "jobs.jsonl"
    lines = [{"prompt": text, "negative_prompt": TEXTS[-1 - i], "seed": i} for i, text in enumerate(TEXTS)]
    jobs.write_text("".join(json.dumps(line) + "\n" for line in lines))
    for suffix in ("png", "jpg"):
        command = [sdgen, "-m", MODEL, "--prompts", jobs, "--steps=2", "--dtype=float32", "--prompt-syntax=weighted"]
        subprocess.run([*command, "-q", "-o", folder / f"{{index}}.{suffix}"], check=True, stdout=subprocess.DEVNULL)
    for index, line in enumerate(lines):
        stored = [texts_of(folder / f"{index}.{suffix}") for suffix in ("png", "jpg")]
        check(stored[0] == stored[1], f"text {index}: PNG and JPEG say different things")
        text, record = stored[0]
        prompt, negative, values = web_ui_rule(text)
        check(prompt == as_stored(line["prompt"]), f"text {index}: prompt {prompt!a}")
        check(negative == as_stored(line["negative_prompt"]), f"text {index}: negative prompt {negative!a}")
        check(values["Seed"] == str(index) and values["Steps"] == "2", f"text {index}: values {values}")
        check([*values] == [key for key in ORDER if key in values], f"text {index}: order {[*values]}")
        known = json.loads(record)
        check({key: known[key] for key in line} == line, f"text {index}: record {record}")
        check(record.isascii(), f"text {index}: record is not ASCII")


def as_stored(text: str) -> str:
    """What the web UI itself would find again of a prompt: every line stripped, and no chunk of a PNG holds NUL."""
    return joined([line.strip() for line in text.replace("\0", "\ufffd").split("\n")])


def random_texts() -> Iterator[str]:
    pieces = ("a", "Steps", ": ", ":", ", ", ",", '"', '\\"', "\\", " ", "\n", "Negative prompt:", "2", "x/y-z", "é", "红",
              "\u00a0", "\u3000", "🦊", "_", "-", "1x2", '"a: b"', "Seed: 3, ", "Size: 1x1, ", "\t", "²", "\u0301")  # fmt: skip
    source = random.Random(0)
    for _ in range(20_000):
        yield "".join(source.choices(pieces, k=source.randint(0, 30)))


def check_parser(check: Checks, program: Path) -> None:
    texts = [*random_texts(), *TEXTS]
    lines = "".join(json.dumps(text) + "\n" for text in texts)
    done = subprocess.run([program], input=lines, capture_output=True, text=True, check=True)
    for text, line in zip(texts, done.stdout.splitlines(), strict=True):
        check(tuple(json.loads(line)) == web_ui_rule(text), f"{text!a}: {line} for {web_ui_rule(text)!a}")


def check_again(check: Checks, sdgen: Sdgen, cases: list[ParityCase], work: Path) -> None:
    """Pictures of parity cases, made again from themselves."""
    store = ModelStore(work / "models", {spec.name: spec for spec in MODELS}, None)
    known = sdgen.schedulers()
    for number, case in enumerate(cases):
        if case.needs not in {None, *known}:
            continue
        output = work / "pictures" / str(number)
        outcome = sdgen.run(case, sdgen.command(case, store.locate, output), output)
        if outcome.error:  # tools/parity.py's to tell
            check(False, f"{case.label}: {outcome.error}")
            continue
        place = store.locate(case.place)
        for picture in sorted(output.iterdir()):
            if place.is_file():
                digits = hashlib.sha256(place.read_bytes()).hexdigest()[:10]
                known_by = f"Model hash: {digits}, Model: {place.stem}"
                check(known_by in texts_of(picture)[0], f"{case.label}: no '{known_by}'")
            again = output / f"again-{picture.name}"
            command = [sdgen.binary, "--from-image", picture, f"--threads={sdgen.threads}", "--device=cpu", "-q"]
            done = subprocess.run([*command, "-o", again], capture_output=True, text=True)
            same = not done.returncode and picture.read_bytes() == again.read_bytes()
            check(same, f"{case.label}: {done.stderr.strip() or texts_of(picture)} {outcome.command}")
        if number % 50 == 0:
            store.release()


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("sdgen", type=Path)
    parser.add_argument("parameters", type=Path)
    parser.add_argument("--every", type=int, default=23, metavar="N")
    parser.add_argument("--filter", default="", metavar="REGEX")
    args = parser.parse_args()
    cases = [case for case in parity_cases() if re.search(args.filter, case.label)][:: args.every]
    check = Checks()
    with tempfile.TemporaryDirectory(prefix="sdgen-metadata-") as folder:
        check_texts(check, args.sdgen.resolve(), Path(folder))
        print(f"texts: {check.passed} passed, {check.failed} failed", flush=True)
        check_parser(check, args.parameters.resolve())
        print(f"with the reader of other programs' texts: {check.passed} passed, {check.failed} failed", flush=True)
        check_again(check, Sdgen(args.sdgen.resolve(), 1), cases, Path(folder))
    print(f"metadata: {check.passed} passed, {check.failed} failed")
    return 1 if check.failed else 0


if __name__ == "__main__":
    sys.exit(main())
