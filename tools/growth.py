"""How the cost of a picture grows with steps, size, batch and number of prompts, as a table (CSV) and a plot.

    python tools/growth.py [--model models/default] [--out growth] [--rounds 3] [--bench build/tools/sdgen_bench]

Writes OUT.csv (seconds, minimum and median of the runs of one process; MB) and OUT.png. Rows are measured in turn, all rows
once a round, so that what else the machine does meets all alike.
"""

from __future__ import annotations

import argparse
import csv
import json
import subprocess
from pathlib import Path
from typing import Any

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt  # noqa: E402

BASE = {"steps": 12, "size": 128, "batch": 1}
SWEEPS = {
    "steps": (1, 2, 5, 10, 20, 50),
    "size": (64, 96, 128, 192, 256, 384, 512, 768, 1024),
    "batch": (1, 2, 4, 8, 16),
}
LABELS = {"steps": "steps", "size": "width and height, pixels", "batch": "pictures at once"}


def measure(args: argparse.Namespace, steps: int, size: int, batch: int) -> dict[str, Any]:
    command = [str(args.bench), "-m", str(args.model), f"--steps={steps}", f"--width={size}", f"--height={size}", "--scheduler=euler",
               f"--batch-size={batch}", "--runs=2"]  # fmt: skip
    return json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    root = Path(__file__).resolve().parents[1]
    parser.add_argument("--model", type=Path, default=root / "models" / "default")
    parser.add_argument("--bench", type=Path, default=root / "build" / "tools" / "sdgen_bench")
    parser.add_argument("--out", type=Path, default=Path("growth"))
    parser.add_argument("--rounds", type=int, default=3)
    args = parser.parse_args()

    points = [(name, value) for name, values in SWEEPS.items() for value in values]
    best: dict[tuple[str, int], dict[str, float]] = {}
    for _ in range(args.rounds):
        for name, value in points:
            result = measure(args, **{**BASE, name: value})
            seconds = {stage: result["stages"][stage]["min"] for stage in ("text", "denoise", "decode", "total")}
            row = {**seconds, "peak_memory_mb": result["peak_memory_mb"]}
            known = best.setdefault((name, value), row)
            best[name, value] = {key: min(known[key], row[key]) for key in row}

    with args.out.with_suffix(".csv").open("w", newline="") as file:
        table = csv.writer(file, lineterminator="\n")
        table.writerow(["sweep", "value", "text", "denoise", "decode", "total", "peak_memory_mb"])
        for (name, value), row in best.items():
            table.writerow([name, value, *(f"{number:.4g}" for number in row.values())])

    figure, axes = plt.subplots(1, len(SWEEPS), figsize=(12, 3.6), layout="constrained")
    for axis, (name, values) in zip(axes, SWEEPS.items(), strict=True):
        for stage in ("denoise", "decode", "total"):
            axis.loglog(values, [best[name, value][stage] for value in values], marker="o", markersize=3, label=stage)
        memory = axis.twinx()
        memory.plot(values, [best[name, value]["peak_memory_mb"] for value in values], color="grey", linestyle=":")
        memory.set_ylim(bottom=0)
        if axis is axes[-1]:
            memory.set_ylabel("peak memory, MB (dotted)")
        axis.set_xlabel(LABELS[name])
        axis.set_xticks(values, [str(value) for value in values], fontsize=7)
        axis.minorticks_off()
        axis.grid(alpha=0.3)
    axes[0].set_ylabel("seconds")
    axes[0].legend()
    figure.savefig(args.out.with_suffix(".png"), dpi=110)


if __name__ == "__main__":
    main()
