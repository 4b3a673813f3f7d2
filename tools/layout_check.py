#!/usr/bin/env python3
"""Counts how often weights are laid out, for every family, size and type, on what this CPU has and with AVX2 alone.

    python tools/layout_check.py build/sdgen [--all] [--sample SEED]

oneDNN lays a weight out for a size; a layout for another size is converted in every call, which can be most of the time. So
three pictures of each of several sizes must lay out no more than one of each does. Without --all pictures have one step and
one thread, two at a time; and float32, in which oneDNN has nothing to do today, is tried on one family for each set of
instructions, which turns with every commit (reference/sample.py). Ends with the line `layouts: N passed, N failed`.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from reference import sample
from reference.model_store import ModelStore
from reference.parity_models import MODELS

FAMILIES = ("sd1", "sd21", "sdxl", "ssd1b", "ddpm")  # tiny random models; the embedded one comes after them
SIZES = ((64, 64), (96, 64), (128, 192))
LESS = {"all it has": {}, "AVX2 alone": {"ONEDNN_MAX_CPU_ISA": "AVX2", "ATEN_CPU_CAPABILITY": "avx2"}}


@dataclass(frozen=True)
class Check:
    model: str
    name: str
    dtype: str
    less: str

    def run(self, sdgen: Path, options: list[str], folder: Path) -> str:
        """What is wrong."""
        once, products = conversions(sdgen, self, 1, options, folder)
        thrice, _ = conversions(sdgen, self, 3, options, folder)
        if once == thrice:
            return ""
        return (f"{self.name}, {self.dtype}, {self.less}: {once} conversions for one picture of each size, {thrice} for three; "
                f"{products} convolutions of oneDNN's in the former")  # fmt: skip


def conversions(sdgen: Path, check: Check, each: int, options: list[str], folder: Path) -> tuple[int, int]:
    """How many weights and the like oneDNN converts, and how many convolutions it does, for `each` pictures of a size."""
    prompt = "" if "ddpm" in check.name else "a fox"
    lines = [f"{prompt} --width {width} --height {height}\n" for width, height in SIZES for _ in range(each)]
    with tempfile.TemporaryDirectory(dir=folder) as own:
        jobs = Path(own) / "jobs.txt"
        jobs.write_text("".join(lines))
        command = [sdgen, "-m", check.model, "--prompts", jobs, "-s", "1", "--dtype", check.dtype, "--no-manifest", "-q",
                   "--device", "cpu", "-o", f"{own}/{{index}}.png", *options]  # fmt: skip
        less = {"ONEDNN_VERBOSE": "1", **LESS[check.less]}
        done = subprocess.run(command, env=os.environ | less, capture_output=True, text=True)
    if done.returncode != 0:
        raise SystemExit(f"{command}: {done.stderr}")
    return done.stdout.count(",exec,cpu,reorder,"), done.stdout.count(",exec,cpu,convolution,")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("sdgen", type=Path)
    sample.add_arguments(parser)
    args = parser.parse_args()
    seed = sample.seed_of(args)
    options, at_a_time = (["--steps=2"], 1) if args.all else (["--steps=1", "--threads=1"], 2)
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        store = ModelStore(folder / "models", {spec.name: spec for spec in MODELS})
        # Without AVX-512 oneDNN takes no bfloat16.
        ways = [(dtype, less) for dtype in ("float32", "bfloat16") for less in LESS if dtype == "float32" or not LESS[less]]
        every = [(name, *way) for name in (*FAMILIES, "embedded") for way in ways]
        wanted = sample.take(every, seed, name="/".join, traits=lambda each: [each[1:], *([each] if each[1] == "bfloat16" else [])])
        print(f"layouts: {sample.told(seed, wanted, len(every))}", flush=True)
        models = {name: name if name == "embedded" else str(store.locate(name)) for name, *_ in wanted}
        checks = [Check(models[name], name, *way) for name, *way in wanted]
        with ThreadPoolExecutor(at_a_time) as pool:
            found = [wrong for wrong in pool.map(lambda check: check.run(args.sdgen.resolve(), options, folder), checks) if wrong]
    for wrong in found:
        print(f"FAILED: {wrong}")
    print(f"layouts: {len(checks) - len(found)} passed, {len(found)} failed")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
