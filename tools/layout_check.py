#!/usr/bin/env python3
"""Counts how often weights are laid out, for every family, size and type, on what this CPU has and with AVX2 alone.

    python tools/layout_check.py build/sdgen

oneDNN lays a weight out for a size; a layout for another size is converted in every call, which can be most of the time. So
three pictures of each of several sizes must lay out no more than one of each does. Ends with the line
`layouts: N passed, N failed`.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
from pathlib import Path

from reference.model_store import ModelStore
from reference.parity_models import MODELS

FAMILIES = ("sd1", "sd21", "sdxl", "ssd1b", "ddpm")  # tiny random models; the embedded one comes after them
SIZES = ((64, 64), (96, 64), (128, 192))
LESS = {"all it has": {}, "AVX2 alone": {"ONEDNN_MAX_CPU_ISA": "AVX2", "ATEN_CPU_CAPABILITY": "avx2"}}


def conversions(sdgen: Path, model: str, dtype: str, less: dict[str, str], each: int, folder: Path) -> tuple[int, int]:
    """How many weights and the like oneDNN converts, and how many convolutions it does, for `each` pictures of a size."""
    prompt = "" if "ddpm" in model else "a fox"
    lines = [f"{prompt} --width {width} --height {height}\n" for width, height in SIZES for _ in range(each)]
    jobs = folder / "jobs.txt"
    jobs.write_text("".join(lines))
    command = [sdgen, "-m", model, "--prompts", jobs, "-s", "1", "--steps", "2", "--dtype", dtype, "--no-manifest", "-q",
               "--device", "cpu", "-o", folder / "{index}.png", "--overwrite"]  # fmt: skip
    done = subprocess.run(command, env=os.environ | less | {"ONEDNN_VERBOSE": "1"}, capture_output=True, text=True)
    if done.returncode != 0:
        raise SystemExit(f"{command}: {done.stderr}")
    return done.stdout.count(",exec,cpu,reorder,"), done.stdout.count(",exec,cpu,convolution,")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("sdgen", type=Path)
    args = parser.parse_args()
    passed = failed = 0
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        store = ModelStore(folder / "models", {spec.name: spec for spec in MODELS})
        for family in (*FAMILIES, "embedded"):
            model = family if family == "embedded" else str(store.locate(family))
            for dtype in ("float32", "bfloat16"):
                for name, less in LESS.items():
                    if dtype == "bfloat16" and less:
                        continue  # without AVX-512 oneDNN takes none of it
                    (once, products), (thrice, _) = (conversions(args.sdgen.resolve(), model, dtype, less, n, folder)
                                                     for n in (1, 3))  # fmt: skip
                    if once == thrice:
                        passed += 1
                    else:
                        failed += 1
                        print(f"{family}, {dtype}, {name}: {once} conversions for one picture of each size, {thrice} for "
                              f"three; {products} convolutions of oneDNN's in the former")  # fmt: skip
    print(f"layouts: {passed} passed, {failed} failed")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
