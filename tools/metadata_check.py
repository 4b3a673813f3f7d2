#!/usr/bin/env python3
"""Holds what sdgen writes into pictures against readers that it does not come from, and makes pictures again from it:

    tools/metadata_check.py build/sdgen build/tools/sdgen_parameters --pictures FILE [--sample SEED]
    tools/metadata_check.py build/sdgen build/tools/sdgen_parameters --all [--every N] [--filter REGEX]

- Texts of every kind (commas, quotes, newlines, Chinese, emoji, NUL) in every format, read by Pillow and piexif, and taken
  apart by the rule of AUTOMATIC1111's web UI, which is written down here once more; and the mark that a model made them, read
  by exiftool and exiv2.
- sdgen's own reader of such texts, on 2000 random ones, which turn with every commit (--all: 20000, always the same),
  against that rule.
- What is in the pictures of tools/parity.py, which it leaves behind with --keep DIR and tells of with --json FILE, against what
  was asked for. A few of them, with every option at least one, are made again with --from-image: the file has to be the
  same, byte by byte.
- With --all pictures are made for this: every N-th case of tools/parity.py (default: 23), and made again.

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
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import piexif
import piexif.helper
import pillow_jxl  # noqa: F401 (Pillow reads JPEG XL with it)
from PIL import Image

from reference import sample
from reference.exact import EXACT

MODEL = Path(__file__).parents[1] / "tests" / "fixtures" / "tiny-sd"
EXIF_DIRECTORY, USER_COMMENT = 0x8769, 0x9286
SUFFIXES = ("png", "jpg", "webp", "avif", "jxl")
OWN_NAMES = "urn:sdgen:xmp:1.0:"
MARK = "http://cv.iptc.org/newscodes/digitalsourcetype/trainedAlgorithmicMedia"
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

NUMBER = re.compile(r"\b\d+\.\d+\b")
# A LoRA as the web UI says it, with its scale.
TAG = re.compile(r" ?<lora:([^:>]+):[^>]*>")

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


# An empty one is none: its encoder is told what the first one is.
FURTHER_TEXTS = ("prompt_2", "prompt_3", "negative_prompt_2", "negative_prompt_3")


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


def box(file: bytes, kind: bytes) -> bytes:
    """What is in the first box of this kind of a JPEG XL file, of which pillow-jxl-plugin gives the EXIF block alone."""
    at = 0
    while at < len(file) and file[at + 4 : at + 8] != kind:
        at += int.from_bytes(file[at : at + 4]) or len(file)
    return file[at + 8 : at + int.from_bytes(file[at : at + 4])]


def texts_of(path: Path) -> tuple[str, str]:
    """The web UI's text and the record, through Pillow and piexif."""
    with Image.open(path) as image:
        image.load()
        if path.suffix == ".png":
            return image.info["parameters"], image.info["sdgen"]
        comment = image.getexif().get_ifd(EXIF_DIRECTORY)[USER_COMMENT]
        if path.suffix == ".jpg":
            record = image.info["comment"].decode("ascii")
        else:
            packet = image.info["xmp"] if path.suffix != ".jxl" else box(path.read_bytes(), b"xml ")
            record = next(ElementTree.fromstring(packet).iter(f"{{{OWN_NAMES}}}record")).text or ""
        # piexif knows JPEG and WebP by their files; the block itself is the same everywhere.
        text = piexif.helper.UserComment.load(piexif.load(image.info["exif"])["Exif"][piexif.ExifIFD.UserComment])
    if comment != b"UNICODE\0" + text.encode("utf-16-be"):
        raise ValueError("Pillow and piexif see different comments")
    return text, record


def check_texts(check: Checks, sdgen: Path, folder: Path) -> None:
    """Every text as prompt and as negative prompt, in every format."""
    jobs = folder / "jobs.jsonl"
    lines = [{"prompt": text, "negative_prompt": TEXTS[-1 - i], "seed": i} for i, text in enumerate(TEXTS)]
    jobs.write_text("".join(json.dumps(line) + "\n" for line in lines))
    for suffix in SUFFIXES:
        command = [sdgen, "-m", MODEL, "--prompts", jobs, "--steps=2", "--dtype=float32", "--prompt-syntax=weighted",
                   "--threads=1"]  # fmt: skip
        subprocess.run([*command, "-q", "-o", folder / f"{{index}}.{suffix}"], check=True, stdout=subprocess.DEVNULL)
    for index, line in enumerate(lines):
        stored = [texts_of(folder / f"{index}.{suffix}") for suffix in SUFFIXES]
        for suffix, found in zip(SUFFIXES, stored, strict=True):
            check(found == stored[0], f"text {index}: PNG and {suffix} say different things")
        text, record = stored[0]
        prompt, negative, values = web_ui_rule(text)
        check(prompt == as_stored(line["prompt"]), f"text {index}: prompt {prompt!a}")
        check(negative == as_stored(line["negative_prompt"]), f"text {index}: negative prompt {negative!a}")
        check(values["Seed"] == str(index) and values["Steps"] == "2", f"text {index}: values {values}")
        check([*values] == known_order(values), f"text {index}: order {[*values]}")
        known = json.loads(record)
        check({key: known[key] for key in line} == line, f"text {index}: record {record}")
        check(record.isascii(), f"text {index}: record is not ASCII")


def check_mark(check: Checks, folder: Path) -> None:
    """As exiftool and exiv2 read it in the pictures of check_texts()."""
    readers = (
        ["exiftool", "-n", "-s3", "-XMP-iptcExt:DigitalSourceType"],
        ["exiv2", "-Pv", "-K", "Xmp.iptcExt.DigitalSourceType", "print"],
    )
    for command in readers:
        for suffix in SUFFIXES:
            done = subprocess.run([*command, folder / f"0.{suffix}"], capture_output=True, text=True)
            check(done.stdout.strip() == MARK, f"{command[0]} reads the mark {done.stdout!a} in a {suffix}: {done.stderr}")


def as_stored(text: str) -> str:
    """What the web UI itself would find again of a prompt: every line stripped, and no chunk of a PNG holds NUL."""
    return joined([line.strip() for line in text.replace("\0", "\ufffd").split("\n")])


def random_texts(seed: str | None) -> Iterator[str]:
    pieces = ("a", "Steps", ": ", ":", ", ", ",", '"', '\\"', "\\", " ", "\n", "Negative prompt:", "2", "x/y-z", "é", "红",
              "\u00a0", "\u3000", "🦊", "_", "-", "1x2", '"a: b"', "Seed: 3, ", "Size: 1x1, ", "\t", "²", "\u0301")  # fmt: skip
    source = random.Random(0 if seed is None else seed)
    for _ in range(20_000 if seed is None else 2000):
        yield "".join(source.choices(pieces, k=source.randint(0, 30)))


def check_parser(check: Checks, program: Path, seed: str | None) -> None:
    texts = [*random_texts(seed), *TEXTS]
    lines = "".join(json.dumps(text) + "\n" for text in texts)
    done = subprocess.run([program], input=lines, capture_output=True, text=True, check=True)
    for text, line in zip(texts, done.stdout.splitlines(), strict=True):
        check(tuple(json.loads(line)) == web_ui_rule(text), f"{text!a}: {line} for {web_ui_rule(text)!a}")


# The web UI's name for an option, where the value is written as it is.
PLAIN = {"steps": "Steps", "seed": "Seed", "guidance_scale": "CFG scale", "strength": "Denoising strength", "mask_blur": "Mask blur"}


def check_pictures(check: Checks, outcomes: list[dict[str, Any]]) -> None:
    """The texts in pictures of tools/parity.py against what was asked for."""
    for outcome in outcomes:
        asked = dict(outcome["options"])
        uses = asked.pop("lora", [])  # PATH, or PATH:SCALES
        loras = [Path(use).name.partition(".safetensors")[0] for use in ([uses] if isinstance(uses, str) else uses)]
        for number, path in enumerate(map(Path, outcome["pictures"])):
            label = f"{outcome['case']}, {path}"
            try:
                text, record = texts_of(path)
            except (KeyError, OSError, ValueError) as error:
                check(False, f"{label}: {type(error).__name__}: {error}")
                continue
            prompt, negative, values = web_ui_rule(text)
            wanted = {**asked, "seed": asked["seed"] + number}
            for key in FURTHER_TEXTS:
                if wanted.get(key) == "":
                    del wanted[key]
            if "negative_prompt" not in wanted:  # a warning says that it has no effect
                wanted.pop("true_cfg_scale", None)
            known = json.loads(record)
            tags = TAG.findall(prompt)
            check(tags == loras, f"{label}: {tags} in the prompt {prompt!a}, asked for {loras}")
            check(TAG.sub("", prompt) == as_stored(asked.get("prompt", "")).strip(), f"{label}: prompt {prompt!a}")
            check(negative == as_stored(asked.get("negative_prompt", "")).strip(), f"{label}: negative prompt {negative!a}")
            for key, name in PLAIN.items():
                if key in wanted:
                    check(name in values and json_string(values[name]) == wanted[key], f"{label}: {name} {values.get(name)}, asked for {wanted[key]}")
            with Image.open(path) as image:  # of a masked part the size that it was worked on at
                check("only_masked" in asked or values.get("Size") == f"{image.width}x{image.height}", f"{label}: Size {values.get('Size')}")
            check([key for key in values if key in ORDER] == known_order(values), f"{label}: order {[*values]}")
            check([Path(use).name.partition(".safetensors")[0] for use in known.get("lora", [])] == loras, f"{label}: LoRAs of the record")
            missing = {key: value for key, value in wanted.items() if not same(key, known.get(key), value)}
            check(not missing, f"{label}: the record {known} lacks {missing}")
            check(record.isascii(), f"{label}: record is not ASCII")
            place = Path(known.get("unet", known["model"]))  # the network that draws
            if place.is_file():
                check_model_hash(check, label, text, place)


def known_order(values: Mapping[str, str]) -> list[str]:
    """The keys that the web UI has in an order."""
    return [key for key in ORDER if key in values]


def same(key: str, found: Any, asked: Any) -> bool:
    """A record has numbers where a command line has text, and text where numbers are names too, without a point where they are
    whole; lists of what can be said again; and the margins that the picture grew by."""
    if key == "extend" and isinstance(found, str):
        return all(int(a) >= int(b) for a, b in zip(found.split(","), asked.split(","), strict=True))
    words = [[NUMBER.sub(lambda n: f"{float(n[0]):g}", str(one)) for one in (value if isinstance(value, list) else [value])] for value in (found, asked)]
    return found in (asked, [asked]) or words[0] == words[1]


def check_model_hash(check: Checks, label: str, text: str, file: Path) -> None:
    known_by = f"Model hash: {digits_of(file)}, Model: {file.stem}"
    check(known_by in text, f"{label}: no '{known_by}'")


@cache
def digits_of(file: Path) -> str:
    return hashlib.sha256(file.read_bytes()).hexdigest()[:10]


def made_again(sdgen: Path, label: str, picture: Path, again: Path) -> tuple[bool, str]:
    """Is the picture, made again from itself, the same file?"""
    exact = EXACT if '"quantize":"int8"' in "".join(texts_of(picture)) else ()
    command = [*exact, sdgen, "--from-image", picture, "--threads=1", "--device=cpu", "-q", "-o", again]
    done = subprocess.run(command, capture_output=True, text=True)
    same = not done.returncode and picture.read_bytes() == again.read_bytes()
    return same, "" if same else f"{label}: {done.stderr.strip() or texts_of(picture)} {picture}"


def check_again(check: Checks, sdgen: Path, outcomes: list[dict[str, Any]], seed: str, work: Path) -> int:
    """A few pictures of tools/parity.py, with every option at least one."""
    drawn = [outcome for outcome in outcomes if outcome["pictures"]]
    few = sample.take(drawn, seed, name=lambda outcome: outcome["case"], traits=options_of)

    def again(number: int) -> tuple[bool, str]:
        return made_again(sdgen, few[number]["case"], Path(few[number]["pictures"][-1]), work / f"again-{number}.png")

    with ThreadPoolExecutor(2) as pool:
        for found in pool.map(again, range(len(few))):
            check(*found)
    return len(few)


def options_of(outcome: dict[str, Any]) -> list[str]:
    """What a picture was made with, the options of its line and those of the whole run."""
    run = [word.partition("=")[0].removeprefix("--") for word in outcome["command"] if word.startswith("--")]
    return [*outcome["options"], *run, *(["several"] if len(outcome["pictures"]) > 1 else [])]


def check_made(check: Checks, sdgen: Path, pattern: str, every: int, work: Path) -> None:
    """Pictures of each `every`-th parity case, made for this and again."""
    os.environ.setdefault("HF_HUB_OFFLINE", "1")
    from reference.model_store import ModelStore
    from reference.parity_cases import parity_cases
    from reference.parity_models import MODELS
    from reference.parity_run import Sdgen

    cases = [case for case in parity_cases() if re.search(pattern, case.label)][::every]
    store, program = ModelStore(work / "models", {spec.name: spec for spec in MODELS}, None), Sdgen(sdgen, 1)
    known = program.schedulers()
    for number, case in enumerate(cases):
        if case.needs not in {None, *known}:
            continue
        output = work / "pictures" / str(number)
        outcome = program.run(case, program.command(case, store.locate, output), output)
        if outcome.error:  # tools/parity.py's to tell
            check(False, f"{case.label}: {outcome.error}")
            continue
        place = store.locate(case.request.unet or case.place)
        for picture in sorted(output.iterdir()):
            if place.is_file():
                check_model_hash(check, case.label, texts_of(picture)[0], place)
            check(*made_again(sdgen, case.label, picture, output / f"again-{picture.name}"))
        if number % 50 == 0:
            store.release()


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("sdgen", type=Path)
    parser.add_argument("parameters", type=Path)
    parser.add_argument("--pictures", type=Path, metavar="FILE", help="what tools/parity.py --json wrote")
    parser.add_argument("--every", type=int, default=23, metavar="N")
    parser.add_argument("--filter", default="", metavar="REGEX")
    sample.add_arguments(parser)
    args = parser.parse_args()
    seed = sample.seed_of(args)
    check, sdgen, skipped = Checks(), args.sdgen.resolve(), 0
    with tempfile.TemporaryDirectory(prefix="sdgen-metadata-") as folder:
        check_texts(check, sdgen, Path(folder))
        check_mark(check, Path(folder))
        print(f"texts: {check.passed} passed, {check.failed} failed", flush=True)
        check_parser(check, args.parameters.resolve(), seed)
        print(f"with the reader of other programs' texts: {check.passed} passed, {check.failed} failed", flush=True)
        if args.pictures is not None:
            outcomes = [each for each in json.loads(args.pictures.read_text()) if re.search(args.filter, each["case"])]
            check_pictures(check, outcomes)
            few = check_again(check, sdgen, outcomes, seed or sample.commit(), Path(folder))
            print(f"with the pictures of {args.pictures}, {few} of them made again: {check.passed} passed, {check.failed} failed", flush=True)
        elif seed is not None:
            skipped = 1
            print("metadata: skipped the pictures of tools/parity.py: --pictures names no file of them")
        if seed is None:
            check_made(check, sdgen, args.filter, args.every, Path(folder))
    if seed is not None:
        print(f"metadata: --sample {seed} draws the same")
    print(f"metadata: {check.passed} passed, {check.failed} failed" + (f", {skipped} skipped" if skipped else ""))
    return 1 if check.failed else 0


if __name__ == "__main__":
    sys.exit(main())
