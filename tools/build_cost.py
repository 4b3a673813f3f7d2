#!/usr/bin/env python3
"""Compares what building the program costs at several commits: user seconds of `ninja sdgen` from nothing.

    python tools/build_cost.py                      # 54902d5 and HEAD
    python tools/build_cost.py v1 v2 --rounds 3

Each commit is checked out into a worktree of its own and configured with the same options, libtorch and compiler. The
commits take turns, so that other work on the machine meets all of them. Prints the user seconds of every build and of the
ten units that take longest, and at last how each commit compares with the first.
"""

from __future__ import annotations

import argparse
import os
import platform
import resource
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parent.parent


def user_seconds() -> float:
    """Of all child processes that have ended, and of theirs."""
    return resource.getrusage(resource.RUSAGE_CHILDREN).ru_utime


def compile_unit(log: str, command: list[str]) -> int:
    """Stands before the compiler: runs it and writes down what it took."""
    code = subprocess.run(command).returncode
    if "-o" in command:
        with open(log, "a") as lines:  # one write of one line: units that end at once do not mix
            lines.write(f"{user_seconds():.2f} {command[command.index('-o') + 1]}\n")
    return code


@dataclass
class Commit:
    name: str
    tree: Path
    seconds: list[float] = field(default_factory=list)  # of each round
    units: list[tuple[float, str]] = field(default_factory=list)  # of the last round, the longest first


def run(command: list, log: Path, **options) -> None:
    with log.open("w") as out:
        code = subprocess.run(command, stdout=out, stderr=subprocess.STDOUT, **options).returncode
    if code != 0:
        end = "\n".join(log.read_text().splitlines()[-20:])
        raise SystemExit(f"{' '.join(map(str, command))}: exit status {code}\n{end}")


def build(commit: Commit, args: argparse.Namespace) -> None:
    folder = commit.tree / "build"
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    units = folder / "units.txt"
    launcher = ";".join([sys.executable, "-S", "-E", str(Path(__file__).resolve()), "--unit", str(units)])
    configure = ["cmake", "-S", commit.tree, "-B", folder, "-G", "Ninja", "-DCMAKE_BUILD_TYPE=Release",
                 "-DBUILD_TESTING=OFF", "-DSDGEN_NVCC=SDGEN_NVCC-NOTFOUND", f"-DSDGEN_TORCH={args.torch}",
                 f"-DCMAKE_CXX_COMPILER_LAUNCHER={launcher}", *args.option]  # fmt: skip
    run(configure, folder / "configure.log")
    before, start = user_seconds(), time.monotonic()
    run(["ninja", "-C", folder, "-j", str(args.jobs), "sdgen"], folder / "build.log")
    commit.seconds.append(user_seconds() - before)
    lines = (line.split(" ", 1) for line in units.read_text().splitlines())
    commit.units = sorted(((float(seconds), name) for seconds, name in lines), reverse=True)
    print(f"{commit.name}: {commit.seconds[-1]:.1f} s of user time, {time.monotonic() - start:.1f} s with {args.jobs} jobs, "
          f"{len(commit.units)} units", flush=True)  # fmt: skip


def cpu_name() -> str:
    lines = Path("/proc/cpuinfo").read_text().splitlines()
    return next((line.split(": ", 1)[1] for line in lines if line.startswith("model name")), platform.machine())


def git(*arguments: str) -> str:
    return subprocess.run(["git", "-C", REPOSITORY, *arguments], check=True, capture_output=True, text=True).stdout.strip()


def main() -> int:
    if sys.argv[1:2] == ["--unit"]:
        return compile_unit(sys.argv[2], sys.argv[3:])
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("commits", nargs="*", default=["54902d5", "HEAD"])
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--jobs", type=int, default=len(os.sched_getaffinity(0)))
    parser.add_argument("--torch", type=Path, help="folder of the torch wheel; default: build/venv's")
    parser.add_argument("--option", action="append", default=[], help="for cmake, like --option=-DSDGEN_UNITY=OFF")
    args = parser.parse_args()
    if args.torch is None:
        found = sorted(REPOSITORY.glob("build/venv/lib/python3*/site-packages/torch"))
        if not found:
            parser.error("no build/venv with torch: run scripts/setup, or give --torch")
        args.torch = found[0]
    args.torch = args.torch.resolve()

    with tempfile.TemporaryDirectory(prefix="sdgen-build-cost-") as scratch:
        commits = [Commit(git("rev-parse", "--short", name), Path(scratch) / str(i))
                   for i, name in enumerate(args.commits)]  # fmt: skip
        compiler = subprocess.run(["c++", "--version"], capture_output=True, text=True).stdout.splitlines()[0]
        print(f"{time.strftime('%Y-%m-%d')}, {cpu_name()}, {compiler}", flush=True)
        try:
            for commit in commits:
                git("worktree", "add", "--detach", "--force", str(commit.tree), commit.name)
            for _ in range(args.rounds):
                for commit in commits:
                    build(commit, args)
        finally:
            for commit in commits:
                if commit.tree.exists():
                    git("worktree", "remove", "--force", str(commit.tree))
    for commit in commits:
        print(f"\n{commit.name}: the units that take longest, user seconds")
        for seconds, name in commit.units[:10]:
            print(f"  {seconds:6.2f}  {name}")
    print()
    first = statistics.mean(commits[0].seconds)
    for commit in commits:
        mean = statistics.mean(commit.seconds)
        print(f"{commit.name}: {mean:.1f} s, {mean / first:.2f} of {commits[0].name}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
