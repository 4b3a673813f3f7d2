"""Writes the parity run's tiny random models, in every form that they are tested in, into one folder.

    python tools/make_tiny_models.py OUT [MODEL ...]

OUT/MODEL/folder is the diffusers folder, OUT/MODEL/FORM.safetensors a single file in the original layout (the forms
are those of tools/reference/original_layout.py). Some 1.5 GB in all; naming models makes those alone.
"""

from __future__ import annotations

import argparse
import os
import shutil
import sys
from pathlib import Path

os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")

import torch

from reference.original_check import layout_problems
from reference.original_layout import FORMS, write_original
from reference.parity_models import MODELS


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    names = [spec.name for spec in MODELS]
    parser.add_argument("out", type=Path)
    parser.add_argument("models", nargs="*", metavar="MODEL", help=f"of {', '.join(names)}")
    args = parser.parse_args()
    unknown = set(args.models) - set(names)
    if unknown:
        parser.error(f"no model is called {', '.join(sorted(unknown))}")
    torch.set_num_threads(1)

    problems: list[str] = []
    for spec in MODELS:
        if args.models and spec.name not in args.models:
            continue
        place = args.out / spec.name
        shutil.rmtree(place, ignore_errors=True)
        spec.build(place / "folder")
        for form in FORMS.get(spec.name, ()):
            file = place / f"{form.name}.safetensors"
            write_original(place / "folder", file, form)
            problems += [f"{file}: {problem}" for problem in layout_problems(place / "folder", file, form)]
        for path in sorted(place.iterdir()):
            files = [path] if path.is_file() else [file for file in path.rglob("*") if file.is_file()]
            print(f"{sum(file.stat().st_size for file in files):>11} {path}", flush=True)
    print("\n".join(problems), end="")
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main())
