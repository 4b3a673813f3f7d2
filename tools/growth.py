"""How the cost of a picture grows with steps, size, batch and number of prompts, as a table (CSV) and a plot.

    python tools/growth.py [--model models/default] [--out growth] [--rounds 3] [--bench build/tools/sdgen_bench]
    python tools/growth.py --beside BENCH.json... --out growth     (what tools/bench.py --json has measured at several sizes,
                                                                   and with other --batch-size and --steps)

Writes OUT.csv (seconds, the minimum; MB) and OUT.png. Rows are measured in turn, all rows once a round, so that what else the
machine does meets all alike. Steps, size and batch are of a picture in a process that runs (sdgen_bench); prompts, and the
memory of large pictures with and without --vae-tiling, of whole commands. With --beside: step and decoder over the number of pixels, a step
over the pictures at once, and a picture over its steps, of all contestants in one plot; the medians and the slopes as tables on stdout.
"""

from __future__ import annotations

import argparse
import csv
import json
import math
import os
import subprocess
import tempfile
import time
from itertools import pairwise
from pathlib import Path
from typing import Any

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt

BASE = {"steps": 12, "size": 128, "batch": 1}
SWEEPS = {
    "steps": (1, 2, 5, 10, 20, 50),
    "size": (64, 96, 128, 192, 256, 384, 512, 768, 1024),
    "batch": (1, 2, 4, 8, 16),
    "prompts": (1, 4, 16, 64, 256),
    "whole": (512, 1024, 1536, 2048),
    "tiled": (512, 1024, 1536, 2048),
}
PLOTS = {"steps": "steps", "size": "width and height, pixels", "batch": "pictures at once", "prompts": "prompts of a command"}


def measure(args: argparse.Namespace, steps: int, size: int, batch: int) -> dict[str, Any]:
    command = [str(args.bench), "-m", str(args.model), f"--steps={steps}", f"--width={size}", f"--height={size}", "--scheduler=euler",
               f"--batch-size={batch}", "--runs=2"]  # fmt: skip
    return json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)


def command(args: argparse.Namespace, name: str, value: int) -> dict[str, float]:
    """A whole run of sdgen: what it took from its start to its end."""
    words = [str(args.sdgen), "-m", str(args.model), "-q", "--scheduler", "euler", "--no-manifest", "-o", "{index}.png"]
    lines = "a fox\n" * value if name == "prompts" else "a fox\n"
    if name != "prompts":
        words += ["--steps", "1", "-W", str(value), "-H", str(value), *(["--vae-tiling"] if name == "tiled" else [])]
    with tempfile.TemporaryDirectory() as folder:
        begin = time.perf_counter()
        process = subprocess.Popen([*words, "--prompts", "-"], stdin=subprocess.PIPE, cwd=folder)
        process.stdin.write(lines.encode())
        process.stdin.close()
        _, status, usage = os.wait4(process.pid, 0)
        if status != 0:
            raise SystemExit(f"{' '.join(words)} ended with {status}")
        return {"total": time.perf_counter() - begin, "peak_memory_mb": usage.ru_maxrss / 1024}


# What is drawn with --beside: what differs, its name, and what of a picture is looked at.
BESIDE = (("pixels", "step"), ("pixels", "decode"), ("pictures at once", "step"), ("steps", "total"))


def beside(paths: list[Path], out: Path) -> None:
    """A slope of 1 is time in proportion, of 2 over the pixels what attention takes where it takes all."""
    points = [{"pixels": one["width"] * one["height"], "pictures at once": run["batch_size"], "steps": run["steps"], **one}
              for run in (json.loads(path.read_text()) for path in paths) for one in run["sizes"]]  # fmt: skip
    everyone = dict.fromkeys(name for point in points for name in point["loaded"])
    colours = {name: f"C{i}" for i, name in enumerate(everyone)}
    figure, axes = plt.subplots(1, len(BESIDE), figsize=(16, 4), layout="constrained")
    for axis, (what, stage) in zip(axes, BESIDE, strict=True):
        row = longest_row(points, what)
        values = [one[what] for one in row]
        names = [f"{one['width']}x{one['height']}" if what == "pixels" else str(one[what]) for one in row]
        alike = f"{row[0]['width']}x{row[0]['height']}, " if what != "pixels" else ""
        print(f"| {alike}{stage} over {what} | " + " | ".join(names) + " | slopes |\n|" + "---|" * (len(row) + 2))
        for name in (name for name in row[0]["loaded"] if all(name in one["loaded"] for one in row)):
            seconds = [one["loaded"][name][stage]["median"] for one in row]
            slopes = [math.log(b / a) / math.log(m / n) for (a, b), (n, m) in zip(pairwise(seconds), pairwise(values), strict=True)]
            axis.loglog(values, seconds, marker="o", markersize=3, label=name, color=colours[name])
            print(f"| {name} | " + " | ".join(f"{one:.3g} s" for one in seconds) + " | " + ", ".join(f"{one:.2f}" for one in slopes) + " |")
        print()
        axis.set(xlabel=what, ylabel=f"{alike}{stage}, seconds")
        axis.set_xticks(values, names, fontsize=7)
        axis.minorticks_off()
        axis.grid(alpha=0.3)
        axis.legend()
    figure.savefig(out.with_suffix(".png"), dpi=80)


def longest_row(points: list[dict[str, Any]], what: str) -> list[dict[str, Any]]:
    """The most points that are alike in all else, by their value; of two measured alike the first."""
    others = [key for key in dict(BESIDE) if key != what]
    rows: dict[tuple[int, ...], dict[int, dict[str, Any]]] = {}
    for point in points:
        rows.setdefault(tuple(point[key] for key in others), {}).setdefault(point[what], point)
    longest = max(rows.values(), key=len)
    return [longest[value] for value in sorted(longest)]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    root = Path(__file__).resolve().parents[1]
    parser.add_argument("--model", type=Path, default=root / "models" / "default")
    parser.add_argument("--bench", type=Path, default=root / "build" / "tools" / "sdgen_bench")
    parser.add_argument("--sdgen", type=Path, default=root / "build" / "sdgen")
    parser.add_argument("--out", type=Path, default=Path("growth"))
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--beside", type=Path, nargs="+", metavar="FILE", help="files of tools/bench.py --json")
    args = parser.parse_args()
    if args.beside:
        return beside(args.beside, args.out)

    points = [(name, value) for name, values in SWEEPS.items() for value in values]
    best: dict[tuple[str, int], dict[str, float]] = {}
    for _ in range(args.rounds):
        for name, value in points:
            if name in BASE:
                result = measure(args, **{**BASE, name: value})
                seconds = {stage: result["stages"][stage]["min"] for stage in ("text", "denoise", "decode", "total")}
                row = {**seconds, "peak_memory_mb": result["peak_memory_mb"]}
            else:
                row = command(args, name, value)
            known = best.setdefault((name, value), row)
            best[name, value] = {key: min(known[key], row[key]) for key in row}

    with args.out.with_suffix(".csv").open("w", newline="") as file:
        table = csv.writer(file, lineterminator="\n")
        columns = ["text", "denoise", "decode", "total", "peak_memory_mb"]
        table.writerow(["sweep", "value", *columns])
        for (name, value), row in best.items():
            table.writerow([name, value, *(f"{row[column]:.4g}" if column in row else "" for column in columns)])

    figure, axes = plt.subplots(1, len(PLOTS) + 1, figsize=(17, 3.6), layout="constrained")
    for axis, name in zip(axes, PLOTS, strict=False):
        values = SWEEPS[name]
        for stage in ("denoise", "decode", "total"):
            if stage not in best[name, values[0]]:
                continue
            axis.loglog(values, [best[name, value][stage] for value in values], marker="o", markersize=3, label=stage)
        memory = axis.twinx()
        memory.plot(values, [best[name, value]["peak_memory_mb"] for value in values], color="grey", linestyle=":")
        memory.set_ylim(bottom=0)
        if name == "prompts":
            memory.set_ylabel("peak memory, MB (dotted)")
        axis.set_xlabel(PLOTS[name])
        axis.set_xticks(values, [str(value) for value in values], fontsize=7)
        axis.minorticks_off()
        axis.grid(alpha=0.3)
    for name in ("whole", "tiled"):
        axes[-1].plot(SWEEPS[name], [best[name, value]["peak_memory_mb"] for value in SWEEPS[name]], marker="o", markersize=3,
                      label={"whole": "decoded as a whole", "tiled": "--vae-tiling"}[name])  # fmt: skip
    axes[-1].set(xlabel="width and height, pixels", ylabel="peak memory, MB", xticks=SWEEPS["whole"], ylim=(0, None))
    axes[-1].grid(alpha=0.3)
    axes[-1].legend()
    axes[0].set_ylabel("seconds")
    axes[0].legend()
    figure.savefig(args.out.with_suffix(".png"), dpi=110)


if __name__ == "__main__":
    main()
