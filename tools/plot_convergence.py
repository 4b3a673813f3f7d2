"""Draws how the error of every sampler falls with the network calls, where the truth is known.

    python tools/plot_convergence.py [build/tools/sdgen_trajectories] [--out models/gallery/convergence.png]

The samplers are sdgen's own, run by sdgen_trajectories (tests/core/analytic.h) in float64 on nodes without any table:
deterministic ones against the exact probability flow of a mixture of two normal distributions; of stochastic ones the
distribution that they end with against the true one, for pictures of one normal distribution. lcm has no place here: it
jumps to x0 at every call and relies on a network that was distilled for it.

Left, a whole run over even times, begun and ended as the class does by default; right, what the formulas alone are
worth: nodes even in their own variable, no low order at either end. Prints a table of the slopes.
"""

from __future__ import annotations

import argparse
import json
import math
import subprocess
from pathlib import Path
from typing import Any

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
from PIL import Image

ROOT = Path(__file__).parents[1]
FLOOR = 1e-12  # below it rounding shows
PATHS = {"time": "a whole run", "own": "the formulas alone"}


def slope(row: dict[str, Any], finest: float) -> float:
    """Over the last factor of four in calls up to `finest` that is above the floor."""
    points = [p for p in zip(row["calls"], row["errors"], strict=True) if p[1] > FLOOR and p[0] <= finest]
    first = next(p for p in points if p[0] >= points[-1][0] / 4.1)
    return math.log(first[1] / points[-1][1]) / math.log(points[-1][0] / first[0])


def print_table(rows: list[dict[str, Any]]) -> None:
    print("| row | whole run, to 100 calls | to the end | formulas alone | says |\n|---|---|---|---|---|")
    for name in dict.fromkeys(row["name"] for row in rows):
        time, own = (next(r for r in rows if r["name"] == name and r["path"] == path) for path in PATHS)
        print(f"| {name} | {slope(time, 110):.2f} | {slope(time, math.inf):.2f} | {slope(own, math.inf):.2f} "
              f"| {time['order']:.0f}, {own['order']:.0f} |")  # fmt: skip


def merged(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Rows whose errors are the same to 1 % under one name."""
    kept: list[dict[str, Any]] = []
    for row in rows:
        same = [k for k in kept if k["calls"] == row["calls"]
                and all(math.isclose(a, b, rel_tol=0.01) for a, b in zip(k["errors"], row["errors"], strict=True))]  # fmt: skip
        if same:
            same[0]["name"] += ", " + row["name"]
        else:
            kept.append(dict(row))
    return kept


def draw(rows: list[dict[str, Any]], path: Path) -> None:
    figure, axes = plt.subplots(1, 2, figsize=(11, 5.6), sharey=True, layout="constrained")
    names = list(dict.fromkeys(row["name"] for row in rows))
    colours = [plt.get_cmap(name)(k) for name, count in (("tab10", 10), ("Dark2", 8)) for k in range(count)]
    guides = {"time": {1: 2.0, 2: 6.0}, "own": {1: 2.0, 2: 2.0, 3: 6.0, 4: 60.0}}  # error times calls^order
    for axis, (kind, title) in zip(axes, PATHS.items(), strict=True):
        for row in merged([row for row in rows if row["path"] == kind]):
            points = [p for p in zip(row["calls"], row["errors"], strict=True) if p[1] > FLOOR]
            first = row["name"].split(",")[0]
            axis.loglog(*zip(*points, strict=True), "--" if row["stochastic"] else "-", color=colours[names.index(first)],
                        lw=1.4, marker=".", ms=4, label=f"{row['name']} ({row['order']:.0f})")  # fmt: skip
        for order, scale in guides[kind].items():
            ends = (100, 2000)
            axis.loglog(ends, [scale / n**order for n in ends], ":", color="black", lw=1)
            axis.annotate(f"order {order}", (ends[1] * 1.1, scale / ends[1] ** order), fontsize=8, va="center")
        axis.set(title=title, xlabel="network calls", xlim=(5, 5000), ylim=(1e-12, 1))
        axis.grid(alpha=0.25)
        axis.legend(fontsize=7, loc="lower left", ncol=2, title="row (its order)", title_fontsize=7)
    axes[0].set_ylabel("error at the end, relative (dashed: of the distribution)")
    figure.savefig(path, dpi=100)
    plt.close(figure)
    Image.open(path).convert("RGB").quantize(64, dither=Image.Dither.NONE).save(path, optimize=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("program", type=Path, nargs="?", default=ROOT / "build" / "tools" / "sdgen_trajectories")
    parser.add_argument("--out", type=Path, default=ROOT / "models" / "gallery" / "convergence.png")
    args = parser.parse_args()
    lines = subprocess.run([args.program, "--convergence"], check=True, capture_output=True, text=True).stdout
    rows = [json.loads(line) for line in lines.splitlines()]
    print_table(rows)
    draw([row for row in rows if row["row"]], args.out)
    print(f"{args.out}: {args.out.stat().st_size / 1000:.0f} kB")


if __name__ == "__main__":
    main()
