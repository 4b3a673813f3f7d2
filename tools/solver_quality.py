"""How near the embedded model's pictures come to the exact solution, for every scheduler and number of network calls.

    python tools/solver_quality.py [--rows ROW ...]
    python tools/solver_quality.py --grade

Deterministic schedulers solve one ordinary differential equation, so all have one reference: dpm++2m with 1000 steps from
the same noise (checked against heun with 1000 calls). The distance is the root of the mean squared difference of the
8-bit pictures, in units of 1/255, over 16 prompts with a seed each; pictures, not latents, because they are what a user gets,
and half a unit is where rounding makes any two solvers equal. The model's own guidance scale. Default nodes for each number
of calls, the other sigma schedules where the class has them for some. Writes models/gallery/solver_quality.csv and .png, and
prints tables.

Stochastic schedulers draw other noise at every number of steps, so a distance picture by picture says nothing. With
--grade (which needs `scripts/setup --train`) theirs and the best others' pictures are graded instead, as
tools/grade_default_model.py does it: is the thing right, is the background, of every eleventh thing in both languages.
"""

from __future__ import annotations

import argparse
import csv
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, BinaryIO

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
import numpy as np
from PIL import Image

from reference.schedulers import (
    SCHEDULERS,
    SIGMA_SCHEDULES,
    STOCHASTIC,
    calls_a_step,
    entries,
    sigma_schedules,
    with_keys,
)

ROOT = Path(__file__).parents[1]
BATCH = 8
CALLS = (4, 6, 8, 10, 15, 20, 30, 50)
FEW_CALLS = (6, 10, 20)  # of the sigma schedules that are not the class's default
GRADED_CALLS = (4, 6, 8, 10, 20)
GRADED_EVERY = 11  # every n-th thing
DETERMINISTIC = [name for name in SCHEDULERS if name not in STOCHASTIC]
SCHEDULED = [name for name in DETERMINISTIC if len(sigma_schedules(name)) > 1]
ROWS = (*(name for name in DETERMINISTIC if name not in SCHEDULED), *SCHEDULED)
GRADED = (*STOCHASTIC, "ddim", *with_keys("solver_order"))
REFERENCE = ("dpm++2m", 1000)
PROMPTS = (
    "a red apple on a blue background", "黄色背景上的熊猫", "a rocket on a green background", "紫色背景上的狐狸",
    "a pizza on a pink background", "灰色背景上的蘑菇", "a tiger on a white background", "红色背景上的房子",
    "a bicycle on an orange background", "黑色背景上的星星", "a guitar on a cyan background", "棕色背景上的兔子",
    "a cactus on a yellow background", "蓝色背景上的汉堡", "a soccer ball on a purple background", "绿色背景上的企鹅",
)  # fmt: skip


def steps_for(row: str, calls: int) -> int | None:
    """The most steps that take at most so many calls."""
    if calls_a_step(row) == 2:
        return (calls + 1) // 2
    more = entries(row, 10) - 10
    return calls - more if calls - more >= (4 if more > 1 else 1) else None  # Runge-Kutta's beginning is three steps


@dataclass
class Run:
    """The same pictures with one scheduler and number of steps."""

    scheduler: str
    schedule: str
    steps: int
    asked: list[tuple[str, int]]  # prompts and seeds
    calls: int = 0
    pictures: list[np.ndarray] = field(default_factory=list)
    error: str = ""

    def lines(self) -> Iterable[str]:
        options: dict[str, Any] = {"scheduler": self.scheduler, "steps": self.steps}
        if self.schedule != "default":
            options["sigma_schedule"] = self.schedule
        for prompt, seed in self.asked:
            yield json.dumps({"prompt": prompt, "seed": seed} | options) + "\n"

    def read(self, stream: BinaryIO) -> None:
        for _ in self.asked:
            answer = json.loads(stream.readline())
            if "error" in answer:
                self.error = answer["error"]
                continue
            self.calls, shape = answer["calls"], (answer["height"], answer["width"], 3)
            self.pictures.append(np.frombuffer(stream.read(int(np.prod(shape))), np.uint8).reshape(shape))


def make(runs: list[Run], program: Path, model: Path) -> None:
    """Fills in the pictures."""
    with tempfile.TemporaryFile("w+") as requests:
        for run in runs:
            requests.writelines(run.lines())
        requests.seek(0)
        environment = os.environ | {"OMP_NUM_THREADS": "1"}
        process = subprocess.Popen([program, model, str(BATCH)], stdin=requests, stdout=subprocess.PIPE, env=environment)
        assert process.stdout
        for run in runs:
            run.read(process.stdout)
            print(f"{run.scheduler} {run.schedule} {run.steps} {run.error}", file=sys.stderr, flush=True)
        process.wait()


def make_all(runs: list[Run], program: Path, model: Path, jobs: int) -> None:
    runs = sorted(runs, key=lambda run: -run.steps * len(run.asked))
    with ThreadPoolExecutor(jobs) as pool:
        list(pool.map(lambda k: make(runs[k::jobs], program, model), range(jobs)))


def distance(run: Run, reference: Run) -> float:
    squares = [
        ((a.astype(np.float64) - b) ** 2).mean() for a, b in zip(run.pictures, reference.pictures, strict=False)
    ]
    return float(np.sqrt(np.mean(squares)))


def quality_runs(rows: Iterable[str]) -> list[Run]:
    asked = [(prompt, seed) for seed, prompt in enumerate(PROMPTS)]
    runs = [Run(*REFERENCE[:1], "default", REFERENCE[1], asked), Run("heun", "default", 500, asked[:BATCH])]
    for row in rows:
        for schedule in sigma_schedules(row):
            for calls in CALLS if schedule == "default" else FEW_CALLS:
                if steps := steps_for(row, calls):
                    runs.append(Run(row, schedule, steps, asked))
    return runs


def grades(model: Path) -> list[dict[str, Any]]:
    from default_model.concepts import load_concepts
    from default_model.grade import Judge, cases
    from default_model.render import Renderer
    from grade_default_model import PROGRAM, make_pictures

    concepts = load_concepts()
    judge = Judge(Renderer(concepts))
    table = []
    for row in GRADED:
        for calls in GRADED_CALLS:
            if steps := steps_for(row, calls):
                todo = cases(concepts, GRADED_EVERY, ("one",))
                judge(todo, make_pictures(PROGRAM, model, todo, ["--scheduler", row, "--steps", str(steps)]))
                right = (np.mean([case.things_right for case in todo]), np.mean([case.colour_right for case in todo]))
                table.append({"scheduler": row, "calls": calls, "glyph": right[0], "colour": right[1]})
    return table


def print_table(header: list[str], lines: Iterable[list[str]]) -> None:
    print("| " + " | ".join(header) + " |\n|" + "---|" * len(header))
    for line in lines:
        print("| " + " | ".join(line) + " |")


def cell(table: list[dict[str, Any]], row: str, schedule: str, calls: int) -> str:
    steps = steps_for(row, calls)
    found = [r for r in table if (r["scheduler"], r["sigma_schedule"], int(r["steps"])) == (row, schedule, steps)]
    return f"{float(found[0]['distance']):.1f}" if found else ""


def print_distances(table: list[dict[str, Any]]) -> None:
    print_table(["scheduler", *map(str, CALLS)],
                ([row, *(cell(table, row, "default", n) for n in CALLS)] for row in ROWS))  # fmt: skip
    print()
    print_table(["scheduler", *(f"{kind}, {n}" for n in FEW_CALLS for kind in SIGMA_SCHEDULES)],
                ([row, *(cell(table, row, kind, n) for n in FEW_CALLS for kind in SIGMA_SCHEDULES)] for row in SCHEDULED))  # fmt: skip


def draw(table: list[dict[str, Any]], path: Path) -> None:
    figure, axis = plt.subplots(figsize=(8, 5.4), layout="constrained")
    colours = [plt.get_cmap(name)(k) for name, count in (("tab10", 10), ("Dark2", 8)) for k in range(count)]
    for index, row in enumerate(ROWS):
        found = [r for r in table if (r["scheduler"], r["sigma_schedule"]) == (row, "default")]
        points = sorted((int(r["calls"]), float(r["distance"])) for r in found)
        axis.loglog(*zip(*points, strict=True), color=colours[index], marker="os^vD"[index % 5], ms=4, lw=1.3, label=row)
    axis.set(xlabel="network calls", ylabel="distance to the 1000-step reference, of 255 (RMS)", xticks=CALLS)
    axis.set_xticklabels(map(str, CALLS))
    axis.minorticks_off()
    axis.grid(alpha=0.3)
    axis.legend(fontsize=8, ncol=2)
    figure.savefig(path, dpi=100)
    plt.close(figure)
    Image.open(path).convert("RGB").quantize(64, dither=Image.Dither.NONE).save(path, optimize=True)


def measured(rows: list[str], program: Path, model: Path, jobs: int) -> list[dict[str, Any]]:
    runs = quality_runs(rows)
    make_all(runs, program, model, jobs)
    reference, other = runs[:2]
    print(f"the two references differ by {distance(other, reference):.2f} of 255\n")
    return [{"scheduler": run.scheduler, "sigma_schedule": run.schedule, "steps": run.steps, "calls": run.calls,
             "distance": round(distance(run, reference), 3)} for run in runs[2:] if run.pictures]  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--program", type=Path, default=ROOT / "build" / "tools" / "sdgen_pictures")
    parser.add_argument("--model", type=Path, default=ROOT / "models" / "default")
    parser.add_argument("--grade", action="store_true", help="grade stochastic and some other schedulers instead")
    parser.add_argument("--jobs", type=int, default=2, help="processes of one thread (default: 2)")
    parser.add_argument("--rows", nargs="*", choices=ROWS, default=ROWS, metavar="ROW",
                        help="measure only these; the CSV keeps the others' figures")  # fmt: skip
    parser.add_argument("--csv", type=Path, default=ROOT / "models" / "gallery" / "solver_quality.csv")
    parser.add_argument("--out", type=Path, default=ROOT / "models" / "gallery" / "solver_quality.png")
    args = parser.parse_args()
    if args.grade:
        table = grades(args.model)
        print_table(["scheduler", *map(str, GRADED_CALLS)], (
            [row, *(f"{r['glyph']:.0%}, {r['colour']:.0%}" for r in table if r["scheduler"] == row)] for row in GRADED
        ))  # fmt: skip
        return
    table = []
    if args.csv.exists():
        with args.csv.open(newline="") as file:
            table = [row for row in csv.DictReader(file) if row["scheduler"] not in args.rows]
    if args.rows:
        table += measured(list(args.rows), args.program, args.model, args.jobs)
    print_distances(table)
    draw(table, args.out)
    with args.csv.open("w", newline="") as file:
        writer = csv.DictWriter(file, table[0].keys(), lineterminator="\n")
        writer.writeheader()
        writer.writerows(table)


if __name__ == "__main__":
    main()
