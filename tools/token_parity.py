#!/usr/bin/env python3
"""Compares sdgen's tokenizers with transformers', id for id.

Builds tokenizer folders of every supported kind, then has both tokenize fixed prompts, those of PartiPrompts (a .tsv file
given by SDGEN_PROMPTS, if there is one), random strings of Unicode 15 and, with SentencePiece, sentences in thirty languages made
of CLDR's names: 2000 each, which turn with every commit (reference/sample.py), or with --all 20000, always the same, and all of
CLDR's names in all its languages; the sentences and names once more decomposed (NFD), with T5's own vocabulary:

    tools/token_parity.py build/sdgen_tokenize [--all] [--sample SEED]      # exit status 1 if one id differs
    tools/token_parity.py build/sdgen_tokenize --vocabulary bpe_simple_vocab_16e6.txt.gz   # with CLIP's own vocabulary

SentencePiece models are run by the sentencepiece library, which reads some texts otherwise than transformers: characters of
several code points and the library's own signs (may_differ). Where these are in random texts, and in names with another vocabulary
than T5's (build/t5, of scripts/setup), differences are counted and no failure. Of a letter with two accents that stand apart, as in
decomposed Vietnamese, transformers drops the second. sdgen does not: where such a text differs, it is read as transformers reads
it composed.

CLIP's vocabulary comes from the wheel of PyPI's open_clip_torch 3.3.0; without it the small one of the tests is used.
Closes with "N passed, N failed", counted in texts.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import unicodedata
from pathlib import Path

from reference import sample, token_folders, token_texts

ROOT = Path(__file__).resolve().parents[1]
EMBEDDED = ROOT / "models/default/tokenizer"
T5 = ROOT / "build/t5"


def sdgen_ids(program: Path, folder: Path, texts: list[str]) -> list[list[list[int]]]:
    """For each text the ids of Tokenizer::encode() and those of tokenize()."""
    lines = "".join(json.dumps(text) + "\n" for text in texts)
    done = subprocess.run([program, folder], input=lines, capture_output=True, text=True)
    if done.returncode:
        raise SystemExit(f"{program} {folder}: exit status {done.returncode}: {done.stderr.strip()}")
    return [json.loads(line) for line in done.stdout.splitlines()]


def may_differ(text: str) -> bool:
    """Has it accents that stand apart from their letters, letters that become the unknown piece, or the sign for a space?"""
    return token_texts.has_loose_marks(text) or "\uff1c" in text or "\u2581" in text


def differing(program: Path, name: str, folder: Path, texts: list[str], strict: bool, composed: bool = False) -> tuple[int, int]:
    """How many texts are equal, and how many are not and should be. Prints the first of these.

    Not strict: those of may_differ need not be; composed: nor those that are equal to transformers' reading of their NFC.
    """
    if not texts:
        return 0, 0
    unequal: dict[int, tuple[list[int], list[int], bool]] = {}
    for begin in range(0, len(texts), 10_000):  # 512 ids of each are much to hold
        some = texts[begin : begin + 10_000]
        ours, theirs = sdgen_ids(program, folder, some), token_folders.reference_ids(folder, some)
        assert len(ours) == len(theirs) == len(some)
        wrong = [i for i in range(len(some)) if ours[i] != theirs[i]]
        whole = token_folders.reference_ids(folder, [unicodedata.normalize("NFC", some[i]) for i in wrong]) if composed and wrong else theirs
        unequal |= {begin + i: (ours[i][0], theirs[i][0], composed and ours[i] == whole[k]) for k, i in enumerate(wrong)}
    wrong = [i for i, pair in unequal.items() if not pair[2] and (strict or not may_differ(texts[i]))]
    equal, pardoned = len(texts) - len(unequal), len(unequal) - len(wrong)
    counted = f", {pardoned} are read as if composed" if composed else f", {pardoned} differ that may" if not strict else ""
    print(f"{name}: {equal} of {len(texts)} texts equal{counted}", flush=True)
    for i in wrong[:5]:
        print(f"  {texts[i]!a}\n    sdgen        {unequal[i][0]}\n    transformers {unequal[i][1]}")
    return equal + (pardoned if composed else 0), len(wrong)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("program", type=Path, help="path of sdgen_tokenize")
    parser.add_argument("--vocabulary", type=Path, help="path of bpe_simple_vocab_16e6.txt.gz")
    parser.add_argument("--count", type=int, help="number of random strings (default: 2000; --all: 20000)")
    sample.add_arguments(parser)
    arguments = parser.parse_args()

    seed = sample.seed_of(arguments)
    count = arguments.count or (20_000 if seed is None else 2000)
    prompts = os.environ.get("SDGEN_PROMPTS")
    start = 1 if seed is None else seed
    random_texts = token_texts.random_texts(count, start)
    prompts_of_others = token_texts.parti_prompts(Path(prompts)) if prompts else []
    texts = token_texts.PROMPTS + prompts_of_others + random_texts
    ordinary = prompts_of_others + token_texts.sentences(count, start)
    names = sorted({name for names in token_texts.cldr_names().values() for name in names}) if seed is None else []
    decomposed = [apart for text in ordinary + names if (apart := unicodedata.normalize("NFD", text)) != text]
    print(f"tokens: {count} random texts" + (f", --sample {seed} draws the same" if seed else ""), flush=True)
    if not prompts:
        print("tokens: skipped PartiPrompts: SDGEN_PROMPTS names no file of them", flush=True)
    with tempfile.TemporaryDirectory() as scratch:
        folders = token_folders.make_all(Path(scratch), arguments.vocabulary) | {"the embedded model's": EMBEDDED}
        if (T5 / "tokenizer.json").exists():
            folders["T5's own"] = T5
        else:
            print(f"tokens: skipped T5's own vocabulary: there is no {T5}/tokenizer.json", flush=True)
        program = arguments.program.resolve()
        results = []
        for name, folder in folders.items():
            if name.startswith(("clip", "qwen", "gemma")):
                some = texts if name.startswith("clip") else texts + names + ordinary
                results.append(differing(program, name, folder, some, strict=True))
                continue
            results.append(differing(program, f"{name}, ordinary", folder, ordinary, strict=True))
            results.append(differing(program, f"{name}, names", folder, names, strict=folder == T5))
            if folder == T5:
                results.append(differing(program, f"{name}, decomposed", folder, decomposed, strict=True, composed=True))
            results.append(differing(program, f"{name}, rare", folder, token_texts.PROMPTS + random_texts, strict=False))
    passed, wrong = (sum(column) for column in zip(*results, strict=True))
    skipped = (not prompts) + (T5 not in folders.values())
    print(f"tokens: {passed} passed, {wrong} failed" + (f", {skipped} skipped" if skipped else ""))
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
