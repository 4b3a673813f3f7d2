"""How much of a long batch is spent in the networks, and whether its memory grows.

    python tools/batch_bench.py build/sdgen --pictures 1000 [--parti ../shared/data/PartiPrompts.tsv] [-- SDGEN OPTION...]

Runs one batch of the embedded model, reads the stages' times from its manifest (text encoder, denoising and decoder are
network calls but for a thousandth: see build/tools/sdgen_bench --samplers) and the process's resident size from /proc
as the pictures come. Prints one JSON object.
"""

from __future__ import annotations

import argparse
import json
import re
import subprocess
import tempfile
import time
from pathlib import Path


def resident(pid: int) -> int:
    """Bytes."""
    status = Path(f"/proc/{pid}/status").read_text()
    return int(re.search(r"VmRSS:\s+(\d+) kB", status)[1]) * 1024


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("sdgen", type=Path)
    parser.add_argument("--pictures", type=int, default=1000)
    parser.add_argument("--early", type=int, default=50, help="pictures after which the memory is looked at first")
    parser.add_argument("--parti", type=Path, help="a table of prompts; else colours and things of our own")
    parser.add_argument("options", nargs="*", help="for sdgen, behind --")
    args = parser.parse_args()

    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder)
        prompts = args.parti
        if not prompts:
            prompts = out / "prompts.txt"
            things = ["apple", "dog", "cat", "car", "rose", "ship", "owl", "key", "bus", "pear"]
            colours = ["red", "green", "blue", "yellow", "white", "black", "pink", "orange", "grey", "purple"]
            lines = [f"a {t} on a {c} background" for c in colours for t in things]
            prompts.write_text("\n".join(lines[i % len(lines)] for i in range(args.pictures)) + "\n")
        began = time.monotonic()
        process = subprocess.Popen(
            [args.sdgen, "--prompts", prompts, "-s", "1", "-o", f"{out}/", "-q", *args.options],
            stdout=subprocess.PIPE, text=True)
        sizes = {}
        made = 0
        for made, _ in enumerate(process.stdout, start=1):
            if made in (args.early, args.pictures):
                sizes[made] = resident(process.pid)
        if process.wait() != 0:
            raise SystemExit(f"sdgen ended with {process.returncode}")
        wall = time.monotonic() - began
        stages = {"text": 0.0, "denoise": 0.0, "decode": 0.0}
        for line in (out / "manifest.jsonl").read_text().splitlines():
            for stage in stages:
                stages[stage] += json.loads(line)["timings"][stage]
        print(json.dumps({
            "pictures": made,
            "wall_s": round(wall, 2),
            **{f"{stage}_s": round(seconds, 2) for stage, seconds in stages.items()},
            "share_in_networks": round(sum(stages.values()) / wall, 4),
            "resident_mb": {count: round(size / 1e6, 1) for count, size in sizes.items()},
            "growth": round(sizes[max(sizes)] / sizes[min(sizes)] - 1, 4),
        }))


if __name__ == "__main__":
    main()
