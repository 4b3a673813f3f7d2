"""Unpacks what scripts/setup takes out of PyPI's source packages: python unpack_sources.py DOWNLOADS BUILD

BUILD/sentencepiece: the C++ source of the sentencepiece library, which CMakeLists.txt compiles, with SENTENCEPIECE_CHANGE.
BUILD/t5: T5's tokenizer (google/t5-v1_1-xxl's tokenizer.json) as a folder. The source package of stable-diffusion-cpp-python
has it as an array of bytes in a C++ header.
"""

from __future__ import annotations

import json
import shutil
import sys
import tarfile
from pathlib import Path

# transformers adds the scores of a segmentation in float64. In the library's float32 it is a matter of rounding which of two
# equally good ones is taken, "!!!!!" and "!" or "!" and "!!!!!".
SENTENCEPIECE_CHANGE = ("src/unigram_model.cc", b"    float best_path_score =", b"    double best_path_score =  // sdgen: was a float\n")
T5_HEADER = "/vendor/stable-diffusion.cpp/src/tokenizers/vocab/clip_t5.hpp"
T5_ARRAY = "t5_tokenizer_json_str[] = {"


def package(downloads: Path, name: str) -> Path:
    found = [*downloads.glob(f"{name}-*.tar.gz")]
    if len(found) != 1:
        raise SystemExit(f"{downloads} has {len(found)} source packages of {name}, not 1")
    return found[0]


def unpack_sentencepiece(archive: Path, folder: Path) -> None:
    shutil.rmtree(folder, ignore_errors=True)
    inside = archive.name.removesuffix(".tar.gz") + "/sentencepiece/"
    with tarfile.open(archive) as tar:
        for member in tar:
            name = member.name.removeprefix(inside)
            if member.isfile() and name != member.name and not name.endswith("_test.cc"):
                (folder / name).parent.mkdir(parents=True, exist_ok=True)
                (folder / name).write_bytes(tar.extractfile(member).read())
    name, before, after = SENTENCEPIECE_CHANGE
    text = (folder / name).read_bytes()
    if text.count(before) != 1:
        raise SystemExit(f"{archive}: {name} has {text.count(before)} lines '{before.decode()}', not 1")
    (folder / name).write_bytes(text.replace(before, after))


def unpack_t5(archive: Path, folder: Path) -> None:
    with tarfile.open(archive) as tar:
        member = next(name for name in tar.getnames() if name.endswith(T5_HEADER))
        header = tar.extractfile(member).read().decode("ascii")
    begin = header.index(T5_ARRAY) + len(T5_ARRAY)
    text = bytes(int(byte, 16) for byte in header[begin : header.index("}", begin)].replace(",", " ").split())
    pieces = len(json.loads(text)["model"]["vocab"])
    if pieces != 32100:
        raise SystemExit(f"{archive}: T5's vocabulary has {pieces} pieces, not 32100")
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "tokenizer_config.json").write_text('{"tokenizer_class": "T5Tokenizer", "model_max_length": 512}\n')
    (folder / "tokenizer.json").write_bytes(text)


def main() -> None:
    downloads, build = map(Path, sys.argv[1:])
    unpack_sentencepiece(package(downloads, "sentencepiece"), build / "sentencepiece")
    unpack_t5(package(downloads, "stable_diffusion_cpp_python"), build / "t5")


if __name__ == "__main__":
    main()
