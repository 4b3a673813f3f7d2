#!/usr/bin/env python3
"""Compares sdgen's tokenizers with transformers', id for id.

Builds tokenizer folders of every supported kind, then has both tokenize the prompts of PartiPrompts (a .tsv file given by
SDGEN_PROMPTS, if there is one) and random strings of Unicode 15, with a fixed seed:

    tools/token_parity.py build/sdgen_tokenize            # exit status 1 if one id differs
    tools/token_parity.py build/sdgen_tokenize --vocabulary bpe_simple_vocab_16e6.txt.gz   # with CLIP's own vocabulary

CLIP's vocabulary comes from the wheel of PyPI's open_clip_torch 3.3.0; without it the small one of the tests is used.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

from reference import token_folders, token_texts


def sdgen_ids(program: Path, folder: Path, texts: list[str]) -> list[list[list[int]]]:
    """For each text the ids of Tokenizer::encode() and those of tokenize()."""
    lines = "".join(json.dumps(text) + "\n" for text in texts)
    done = subprocess.run([program, folder], input=lines, capture_output=True, text=True)
    if done.returncode:
        raise SystemExit(f"{program} {folder}: exit status {done.returncode}: {done.stderr.strip()}")
    return [json.loads(line) for line in done.stdout.splitlines()]


def compare(program: Path, name: str, folder: Path, texts: list[str]) -> bool:
    """Prints the number of equal texts and the first differences."""
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
    return not wrong


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("program", type=Path, help="path of sdgen_tokenize")
    parser.add_argument("--vocabulary", type=Path, help="path of bpe_simple_vocab_16e6.txt.gz")
    parser.add_argument("--count", type=int, default=20_000, help="number of random strings (default: %(default)s)")
    parser.add_argument("--seed", type=int, default=1)
    arguments = parser.parse_args()

    prompts = os.environ.get("SDGEN_PROMPTS")
    texts = token_texts.PROMPTS + (token_texts.parti_prompts(Path(prompts)) if prompts else [])
    texts += token_texts.random_texts(arguments.count, arguments.seed)
    with tempfile.TemporaryDirectory() as scratch:
        folders = token_folders.make_all(Path(scratch), arguments.vocabulary)
        equal = [compare(arguments.program.resolve(), name, folder, texts) for name, folder in folders.items()]
    return 0 if all(equal) else 1


if __name__ == "__main__":
    sys.exit(main())
