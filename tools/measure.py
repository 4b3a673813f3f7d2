"""Makes the measurements of tools/README.md again, one after the other, and keeps what each printed.

    python tools/measure.py [--only REGEX] [--out build/measured] [--models FOLDER] [--list]

Full-size random models are made in FOLDER when they are first wanted (9 GB). A file for each measurement begins with the
date, the machine, the commit and the command. One that is there for this commit already is not made again. Needs
scripts/setup --parity --train, a quiet machine, and about two hours on two cores. Closes with "N passed, N failed".
"""

from __future__ import annotations

import argparse
import datetime
import os
import re
import shlex
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[1]


@dataclass(frozen=True)
class Measurement:
    name: str
    command: str  # {sd15}, {sdxl}: folders of random models; {out}: a folder for files


MEASUREMENTS = (
    Measurement("step-embedded", "tools/bench.py models/default --together --sizes 128 256 --steps 20"),
    Measurement("step-sd15", "tools/bench.py {sd15} --sizes 512 --steps 4 --process-rounds 1 "
                "--rivals bfloat16-channels_last bfloat16-channels_last-compiled float32"),
    Measurement("step-sdxl", "tools/bench.py {sdxl} --sizes 1024 --rounds 1 --steps 3 --process-rounds 0 "
                "--rivals bfloat16-channels_last"),
    Measurement("loading", "tools/load_bench.py {sd15} {sdxl}"),
    Measurement("batch", "tools/batch_bench.py build/sdgen --pictures 1000"),
    Measurement("fairness", "tools/fairness.py build/sdgen"),
    Measurement("growth", "tools/growth.py --out {out}/growth"),
    Measurement("solvers", "tools/solver_quality.py --csv {out}/solver_quality.csv --out {out}/solver_quality.png"),
    Measurement("full-size-pictures", "tools/full_size_parity.py"),
    Measurement("build", "tools/build_cost.py"),
)  # fmt: skip


def machine() -> str:
    info = Path("/proc/cpuinfo").read_text()
    model = re.search(r"^model name\s*: (.*)$", info, re.MULTILINE)
    return f"{model[1] if model else 'unknown CPU'}, {len(os.sched_getaffinity(0))} cores"


def commit() -> str:
    return subprocess.run(["git", "-C", ROOT, "rev-parse", "HEAD"], capture_output=True, text=True, check=True).stdout.strip()


def random_model(name: str, folder: Path) -> Path:
    made = folder / name
    if not made.exists():
        subprocess.run([sys.executable, ROOT / "tools/make_random_model.py", name, made], check=True)
    return made


def measure(row: Measurement, out: Path, models: Path) -> bool:
    """Runs one; its file appears when it went well."""
    file = out / f"{row.name}.txt"
    if file.exists():
        print(f"{row.name}: there already ({file})")
        return True
    words = row.command.format(out=out, **{name: random_model(name, models) for name in ("sd15", "sdxl") if f"{{{name}}}" in row.command})
    begin = time.monotonic()
    found = subprocess.run([sys.executable, *shlex.split(words)], cwd=ROOT, stdout=subprocess.PIPE, text=True)
    print(f"{row.name}: {time.monotonic() - begin:.0f} s\n{found.stdout}", flush=True)
    if found.returncode == 0:
        heading = f"{datetime.date.today()}, {machine()}, commit {commit()}\npython {words}\n\n"
        file.write_text(heading + found.stdout)
    return found.returncode == 0


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", default="", metavar="REGEX")
    parser.add_argument("--out", type=Path, default=ROOT / "build" / "measured", help="a folder (default: build/measured)")
    parser.add_argument("--models", type=Path, default=ROOT / "build" / "random-models")
    parser.add_argument("--list", action="store_true", help="print names and commands")
    args = parser.parse_args()
    rows = [row for row in MEASUREMENTS if re.search(args.only, row.name)]
    if args.list:
        print("\n".join(f"{row.name}: python {row.command}" for row in rows))
        return 0
    out = (args.out / commit()[:9]).resolve()
    out.mkdir(parents=True, exist_ok=True)
    passed = sum([measure(row, out, args.models.resolve()) for row in rows])
    print(f"{passed} passed, {len(rows) - passed} failed")
    return passed != len(rows)


if __name__ == "__main__":
    sys.exit(main())
