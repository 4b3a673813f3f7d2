#!/usr/bin/env python3
"""Compares sdgen's tokenizers with transformers', id for id.

Builds tokenizer folders of every supported kind, then has both tokenize fixed prompts, those of PartiPrompts (a .tsv file
given by SDGEN_PROMPTS, if there is one) and random strings of Unicode 15: 2000, which turn with every commit
(reference/sample.py), or with --all 20000, always the same:

    tools/token_parity.py build/sdgen_tokenize [--all] [--sample SEED]      # exit status 1 if one id differs
    tools/token_parity.py build/sdgen_tokenize --vocabulary bpe_simple_vocab_16e6.txt.gz   # with CLIP's own vocabulary

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
from pathlib import Path

from reference import sample, token_folders, token_texts


def sdgen_ids(program: Path, folder: Path, texts: list[str]) -> list[list[list[int]]]:
    """For each text the ids of Tokenizer::encode() and those of tokenize()."""
    lines = "".join(json.dumps(text) + "\n" for text in texts)
    done = subprocess.run([program, folder], input=lines, capture_output=True, text=True)
    if done.returncode:
        raise SystemExit(f"{program} {folder}: exit status {done.returncode}: {done.stderr.strip()}")
    return [json.loads(line) for line in done.stdout.splitlines()]


def differing(program: Path, name: str, folder: Path, texts: list[str]) -> int:
    """How many texts are not equal. Prints the first of them."""
    ours = sdgen_ids(program, folder, texts)
    theirs = token_folders.reference_ids(folder, texts)
    assert len(ours) == len(theirs) == len(texts)
    wrong = [i for i in range(len(texts)) if ours[i] != theirs[i]]
    print(f"{name}: {len(texts) - len(wrong)} of {len(texts)} texts equal", flush=True)
    for i in wrong[:5]:
        print(f"  {texts[i]!a}\n    sdgen        {ours[i][0]}\n    transformers {theirs[i][0]}")
    if (folder / "spiece.model").exists() and not (folder / "tokenizer.json").exists():
        library = token_folders.library_ids(folder / "spiece.model", texts)
        equal = sum(mine == its[0] for mine, its in zip(library, theirs, strict=True))
        print(f"  (the SentencePiece library itself: {equal} of {len(texts)} texts equal)", flush=True)
    return len(wrong)


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
    texts = token_texts.PROMPTS + (token_texts.parti_prompts(Path(prompts)) if prompts else [])
    texts += token_texts.random_texts(count, 1 if seed is None else seed)
    print(f"tokens: {count} random texts" + (f", --sample {seed} draws the same" if seed else ""), flush=True)
    if not prompts:
        print("tokens: skipped PartiPrompts: SDGEN_PROMPTS names no file of them", flush=True)
    with tempfile.TemporaryDirectory() as scratch:
        folders = token_folders.make_all(Path(scratch), arguments.vocabulary)
        wrong = sum(differing(arguments.program.resolve(), name, folder, texts) for name, folder in folders.items())
    print(f"tokens: {len(folders) * len(texts) - wrong} passed, {wrong} failed" + ("" if prompts else ", 1 skipped"))
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
