"""Writes the list of what the embedded model knows, known_words.json, which the training writes too (models/README.md).

    python tools/known_words.py [models/default]

Words that may be known are drawn with build/sdgen, by the model's own settings.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from default_model.concepts import load_concepts
from default_model.grade import Judge
from default_model.known_words import known_words, write_known_words
from default_model.render import Renderer
from grade_default_model import PROGRAM, ROOT, make_pictures


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", type=Path, nargs="?", default=ROOT / "models" / "default")
    parser.add_argument("--program", type=Path, default=PROGRAM)
    args = parser.parse_args()
    concepts = load_concepts()
    words = known_words(concepts, Judge(Renderer(concepts)), lambda todo: make_pictures(args.program, args.model, todo, ["--quiet"]))
    write_known_words(args.model, words)
    print({key: len(value) for key, value in words.items()})


if __name__ == "__main__":
    main()
