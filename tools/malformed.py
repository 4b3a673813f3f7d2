"""Gives sdgen thousands of malformed inputs, one at a time, and looks at what it does.

    python tools/malformed.py --sdgen build/sdgen [--all] [--sample SEED] [--filter REGEX] [--jobs N] [--list] [--show]

Models, LoRAs, ControlNets, learned words, pictures, prompts, batch files and configurations that are cut, wrong, huge or
made to harm (tools/hostile). Each case is made in a temporary folder. sdgen must end with exit code 2 or 3 (0 where the
thing is legal after all) and one line that names the file and what is wrong with it, within 5 s of CPU and 1 GB, without
a signal, and leave no files. Without --all or --filter a part of the cases is tried, five of each group at least,
which turns with every commit (reference/sample.py). Closes with "N passed, N failed".

For a build with sanitizers pass --limit 0, since they reserve more addresses than any limit allows.
"""

from __future__ import annotations

import argparse
import re
import resource
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from itertools import islice
from pathlib import Path
from queue import SimpleQueue
from threading import Lock, Thread

from hostile import (
    adapter_cases,
    comparison_cases,
    config_cases,
    convert_cases,
    folder_cases,
    gguf_cases,
    picture_cases,
    prompt_cases,
    quantization_cases,
    safetensors_cases,
    text_file_cases,
    transformer_cases,
    transformer_control_cases,
    transformer_lora_cases,
)
from hostile.case import Case, clear, problems
from hostile.program import Program
from reference import sample

ROOT = Path(__file__).parents[1]
MODEL = ROOT / "tests" / "fixtures" / "tiny-sd"
SHARE = 0.12
EACH = 5  # of a group


def all_cases() -> Iterator[Case]:
    yield from safetensors_cases.cases(MODEL)
    yield from config_cases.cases(ROOT)
    yield from text_file_cases.cases(ROOT)
    yield from adapter_cases.cases(MODEL)
    yield from transformer_cases.cases(MODEL)
    yield from transformer_lora_cases.cases(MODEL)
    yield from transformer_control_cases.cases()
    yield from gguf_cases.cases(MODEL)
    yield from quantization_cases.cases()
    yield from convert_cases.cases(MODEL)
    yield from picture_cases.cases(MODEL)
    yield from comparison_cases.cases(MODEL)
    yield from folder_cases.cases(MODEL)
    yield from prompt_cases.cases(MODEL)


def group(case: Case) -> str:
    """All but the last part of the name, of three or more the first two."""
    parts = case.name.split("/")
    return "/".join(parts[: max(1, min(2, len(parts) - 1))])


class Suite:
    """Hands cases to workers, each with a server and folders of its own, and counts."""

    def __init__(self, args: argparse.Namespace, cases: Sequence[Case], top: Path) -> None:
        self._args, self._top = args, top
        self._cases = iter(cases)
        self._lock = Lock()
        self._errors: SimpleQueue[str] = SimpleQueue()
        self.passed: Counter[str] = Counter()
        self.failed = 0
        self.exits: Counter[int] = Counter()
        self.slowest = self.largest = self.cpu = 0.0

    def run(self) -> None:
        workers = [Thread(target=self._work, args=(i,)) for i in range(self._args.jobs)]
        for worker in workers:
            worker.start()
        for worker in workers:
            worker.join()
        while not self._errors.empty():
            print(self._errors.get())

    def _next(self) -> list[Case]:
        with self._lock:
            return list(islice(self._cases, 8))

    def _work(self, number: int) -> None:
        top = self._top / str(number)
        limits = {resource.RLIMIT_CPU: 60, resource.RLIMIT_FSIZE: 1 << 30}
        if self._args.limit:
            limits[resource.RLIMIT_AS] = self._args.limit << 20
        environment = {"HOME": str(top), "XDG_CACHE_HOME": str(top / "cache")}
        program = Program(self._args.sdgen, self._args.server, top / "logs", environment, limits=limits)
        try:
            while cases := self._next():
                for case in cases:
                    self._try(case, program, top)
        except Exception as error:  # of this script: no case may be lost unseen
            self._errors.put(f"the suite itself failed: {type(error).__name__}: {error}")
            with self._lock:
                self.failed += 1
        finally:
            program.close()

    def _try(self, case: Case, program: Program, top: Path) -> None:
        given, own = top / "in", top / "own"
        clear(given)
        clear(own)
        case.make(given)
        outcome = program.run(case.arguments(given), own)
        if outcome.timed_out:  # the whole machine may have been stopped
            clear(own)
            outcome = program.run(case.arguments(given), own)
        left = [path.relative_to(own).as_posix() for path in own.rglob("*")]
        found = problems(case, outcome, left)
        with self._lock:
            self.slowest = max(self.slowest, outcome.cpu)
            self.cpu += outcome.cpu
            self.largest = max(self.largest, outcome.peak)
            self.exits[outcome.code] += 1
            if found:
                self.failed += 1
                print(f"FAILED {case.name}: {'; '.join(found)}\n    {outcome.err[:600].strip()}", flush=True)
            else:
                self.passed[group(case)] += 1
                if self._args.show:
                    print(f"{case.name}: {outcome.code} {outcome.cpu:.2f} s\n    {outcome.err[:400].strip()}", flush=True)


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sdgen", type=Path, default=ROOT / "build" / "sdgen")
    parser.add_argument("--server", type=Path, help="libsdgen_fork_server.so (default: in tests/ beside sdgen)")
    parser.add_argument("--filter", default="", metavar="REGEX", help="only cases whose name matches")
    parser.add_argument("--jobs", type=int, default=2, help="runs at a time (default: 2)")
    parser.add_argument("--limit", type=int, default=4096, help="MB of addresses a run may have (default: 4096; 0: any)")
    parser.add_argument("--list", action="store_true", help="print the cases' names and end")
    parser.add_argument("--show", action="store_true", help="print what the program said")
    sample.add_arguments(parser)
    args = parser.parse_args()
    args.sdgen = args.sdgen.resolve()
    args.server = (args.server or args.sdgen.parent / "tests" / "libsdgen_fork_server.so").resolve()
    return args


def main() -> int:
    args = arguments()
    start, seed = time.monotonic(), sample.seed_of(args)
    every = [case for case in all_cases() if re.search(args.filter, case.name)]
    cases = sample.take(every, seed, SHARE, name=lambda case: case.name, traits=lambda case: [group(case)], at_least=EACH)
    if args.list:
        print("\n".join(case.name for case in cases))
        return 0
    print(f"malformed: {sample.told(seed, cases, len(every))}", flush=True)
    del every  # a gigabyte
    with tempfile.TemporaryDirectory(prefix="sdgen-malformed-") as folder:
        suite = Suite(args, cases, Path(folder))
        suite.run()
    for name, count in sorted(suite.passed.items()):
        print(f"malformed: {name}: {count} passed")
    exits = ", ".join(f"{count} with exit code {code}" for code, count in sorted(suite.exits.items()))
    print(f"malformed: {exits}; at most {suite.slowest:.1f} s of CPU, {suite.largest / 1e6:.0f} MB; {suite.cpu:.0f} s of CPU in all, {time.monotonic() - start:.0f} s")
    print(f"malformed: {sum(suite.passed.values())} passed, {suite.failed} failed")
    return 1 if suite.failed or not suite.passed else 0


if __name__ == "__main__":
    sys.exit(main())
