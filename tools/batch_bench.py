"""How much of a long batch is spent in the networks, whether its memory grows, its speed falls or its pictures change.

    python tools/batch_bench.py build/sdgen --pictures 1000 [--parti PartiPrompts.tsv] [-- SDGEN OPTION...]
    nice -n 19 python tools/batch_bench.py build/sdgen --pictures 10000 -- --steps 1

Runs one batch of the embedded model, reads the stages' times from its manifest (text encoder, denoising and decoder are
network calls except for a thousandth: see build/tools/sdgen_bench --samplers) and the process's resident size from /proc
as the pictures come. Prints one JSON object: CPU seconds a picture in the first and the last tenth, too, and how many
of the requests that come again (every hundredth of our own prompts does, with its seed) gave other bytes than before.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import subprocess
import sys
import tempfile
import time
from pathlib import Path


def resident(pid: int) -> int:
    """Bytes."""
    status = Path(f"/proc/{pid}/status").read_text()
    return int(re.search(r"VmRSS:\s+(\d+) kB", status)[1]) * 1024


def cpu(pid: int) -> float:
    """Seconds of all threads."""
    fields = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def changed(manifest: list[dict]) -> int:
    """How many pictures of equal requests are not the first one's, byte for byte."""
    first: dict[tuple, str] = {}
    return sum(first.setdefault((row["prompt"], row["seed"]), row["sha256"]) != row["sha256"] for row in manifest)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("sdgen", type=Path)
    parser.add_argument("--pictures", type=int, default=1000)
    parser.add_argument("--early", type=int, default=50, help="pictures after which the memory is looked at first")
    parser.add_argument("--parti", type=Path, help="a table of prompts; else colours and things of our own")
    own, more = sys.argv[1:], []
    if "--" in own:  # after it: for sdgen
        own, more = own[: own.index("--")], own[own.index("--") + 1 :]
    args = parser.parse_args(own)

    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder)
        prompts = args.parti
        if not prompts:
            prompts = out / "prompts.txt"
            things = ["apple", "dog", "cat", "car", "rose", "ship", "owl", "key", "bus", "pear"]
            colours = ["red", "green", "blue", "yellow", "white", "black", "pink", "orange", "grey", "purple"]
            lines = [f"a {t} on a {c} background" for c in colours for t in things]
            lines = [f"{line} --seed {i}" for i, line in enumerate(lines)]
            prompts.write_text("\n".join(lines[i % len(lines)] for i in range(args.pictures)) + "\n")
        began = time.monotonic()
        process = subprocess.Popen(
            [args.sdgen, "--prompts", prompts, "-s", "1", "-o", f"{out}/", "-q", *more],
            stdout=subprocess.PIPE, text=True)
        sizes = {}
        tenth = max(args.pictures // 10, 1)
        times = {0: 0.0}
        made = 0
        for made, _ in enumerate(process.stdout, start=1):
            if made in (args.early, args.pictures):
                sizes[made] = resident(process.pid)
            if made in (tenth, args.pictures - tenth, args.pictures):
                times[made] = cpu(process.pid)
        if process.wait() != 0:
            raise SystemExit(f"sdgen ended with {process.returncode}")
        wall = time.monotonic() - began
        stages = {"text": 0.0, "denoise": 0.0, "decode": 0.0}
        manifest = [json.loads(line) for line in (out / "manifest.jsonl").read_text().splitlines()]
        for row in manifest:
            for stage in stages:
                stages[stage] += row["timings"][stage]
        print(json.dumps({
            "pictures": made,
            "changed": changed(manifest),
            "cpu_s_a_picture": {
                "first tenth": round(times[tenth] / tenth, 4),
                "last tenth": round((times[args.pictures] - times[args.pictures - tenth]) / tenth, 4),
            },
            "wall_s": round(wall, 2),
            **{f"{stage}_s": round(seconds, 2) for stage, seconds in stages.items()},
            "share_in_networks": round(sum(stages.values()) / wall, 4),
            "resident_mb": {count: round(size / 1e6, 1) for count, size in sizes.items()},
            "growth": round(sizes[max(sizes)] / sizes[min(sizes)] - 1, 4),
        }))


if __name__ == "__main__":
    main()
