#!/usr/bin/env python3
"""How a run fares that is not alone on the machine.

    python tools/fairness.py build/sdgen [--beside OTHER_SDGEN] [--rounds 5] [-- SDGEN OPTION...]

The same command alone, twice at once, and beside a busy loop, in turn, and with --beside the command of another build alone.
What is between -- and the end goes to sdgen (default: eight pictures of the embedded model). Prints medians in seconds and
their ratio to the time alone. Two at once cannot take less than twice the time.
"""

from __future__ import annotations

import argparse
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

BUSY = [sys.executable, "-c", "while True: pass"]


def seconds(commands: list[list[str]]) -> float:
    begin = time.perf_counter()
    running = [subprocess.Popen(command, stdout=subprocess.DEVNULL) for command in commands]
    codes = [process.wait() for process in running]
    if any(codes):
        raise SystemExit(f"{commands[0]} failed")
    return time.perf_counter() - begin


def beside_a_loop(command: list[str]) -> float:
    loop = subprocess.Popen(BUSY)
    try:
        return seconds([command])
    finally:
        loop.kill()
        loop.wait()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("sdgen", type=Path)
    parser.add_argument("--beside", type=Path, help="another sdgen, whose time alone is measured too")
    parser.add_argument("--rounds", type=int, default=5)
    words = sys.argv[1:]
    split = words.index("--") if "--" in words else len(words)
    args = parser.parse_args(words[:split])
    more = words[split + 1 :] or ["-b", "8"]
    with tempfile.TemporaryDirectory() as folder:

        def command(program: Path, run: int) -> list[str]:
            return [str(program.resolve()), "-p", "a fox", "-s", "1", "-q", "--no-manifest", "--overwrite", "-o",
                    f"{folder}/{run}-{{index}}.png", *more]  # fmt: skip

        ways = {"alone": lambda: seconds([command(args.sdgen, 0)]),
                "two at once": lambda: seconds([command(args.sdgen, run) for run in range(2)]),
                "beside a busy loop": lambda: beside_a_loop(command(args.sdgen, 0))}  # fmt: skip
        if args.beside:
            ways["alone, the other build"] = lambda: seconds([command(args.beside, 0)])
        times: dict[str, list[float]] = {way: [] for way in ways}
        for way in ways:
            ways[way]()  # what is cold is not counted
        for _ in range(args.rounds):
            for way, run in ways.items():
                times[way].append(run())
    alone = statistics.median(times["alone"])
    for way, values in times.items():
        print(f"{way:24} {statistics.median(values):7.2f} s  {statistics.median(values) / alone:5.2f} x")


if __name__ == "__main__":
    main()
