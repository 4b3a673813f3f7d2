#!/usr/bin/env python3
"""Writes tests/fixtures/tokenizers: small tokenizer folders and the ids that transformers gives with them.

    tools/make_token_fixtures.py [--out tests/fixtures/tokenizers]

expected.json holds "texts" and for each folder "ids" (of each text alone) and "whole" (index of a text -> the ids that a
text encoder gets: begin, text, end, padding). Needs the pinned Python reference; the C++ tests need no Python.
"""

from __future__ import annotations

import argparse
import shutil
import tempfile
from pathlib import Path

from reference import token_folders as folders
from reference.token_texts import PROMPTS

MERGES = 200


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=Path(__file__).parents[1] / "tests" / "fixtures" / "tokenizers")
    out = parser.parse_args().out
    shutil.rmtree(out, ignore_errors=True)
    out.mkdir(parents=True)

    tables = folders.clip_tables(None, MERGES)
    folders.write_clip(out / "clip", tables)
    folders.write_clip(out / "clip-sd2", tables, pad="!")
    folders.write_clip(out / "clip-bare", folders.without_rare_bytes(tables), pad=None)
    with tempfile.TemporaryDirectory() as scratch:
        added = Path(scratch) / "added"
        folders.write_clip(added, tables, added_tokens_decoder=folders.added_tokens(tables[0]))
        folders.save_as_json(added, out / "clip-json")
    folders.write_small_t5(out / "t5")
    folders.save_as_json(out / "t5", out / "t5-json")
    texts = folders.corpus()
    folders.write_qwen(out / "qwen", MERGES, texts)
    folders.write_qwen(out / "qwen-json", MERGES, texts, json_only=True)
    folders.write_gemma(out / "gemma", MERGES, texts)

    expected: dict[str, object] = {"texts": PROMPTS}
    whole = [i for i, text in enumerate(PROMPTS) if text == "" or text == PROMPTS[2] or len(text) > 300]
    for folder in sorted(path for path in out.iterdir() if path.is_dir()):
        ids = folders.reference_ids(folder, PROMPTS)
        expected[folder.name] = {"ids": [alone for alone, _ in ids], "whole": {str(i): ids[i][1] for i in whole}}
    folders.write_json(out / "expected.json", expected)
    for path in sorted(out.iterdir()):
        files = [path] if path.is_file() else list(path.iterdir())
        print(f"{sum(file.stat().st_size for file in files):>8} {path.name}")


if __name__ == "__main__":
    main()
