"""Lets sdgen's calls to the system fail, takes its memory away, and kills it, and looks at what is left.

    python tools/faults.py --sdgen build/sdgen [--only calls|memory|kills|files] [--filter REGEX] [--kills N]

calls   the k-th open, fstat, read, pread, write, fsync, ftruncate, rename, link, mmap or posix_memalign fails, for k = 1,
        2, ... until none does (tests/preload/faults.cpp), while a model is loaded and while pictures are saved
memory  a limit of addresses (ulimit -v), in steps from what the start needs to what the run needs
kills   kill -9 at random moments of a batch, then the same command again: the set must equal an undisturbed one
files   models that are cut, emptied, replaced or deleted while they are read, and while codes are used where they lie

The exit code must be the fault's own (3 input, 4 output, 5 memory) with one line that says what, or 0 with all that was
asked for; never a signal, a half file, a temporary one, or a manifest with half a line. Closes with "N passed, N failed".
"""

from __future__ import annotations

import argparse
import json
import os
import random
import re
import resource
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from functools import partial
from pathlib import Path

from hostile.fault_cases import BASE, LOAD_FAULTS, LOADS, ONE, SAVE_FAULTS, SAVES, Fault, Scenario, make_inputs
from hostile.program import Outcome, Program

ROOT = Path(__file__).parents[1]
MODEL = ROOT / "tests" / "fixtures" / "tiny-sd"
MANY = 40  # so many calls fail one by one, of the rest every seventh


class Checks:
    """Counts, and says what failed."""

    def __init__(self) -> None:
        self.passed: Counter[str] = Counter()
        self.failed = 0

    def add(self, group: str, name: str, problems: list[str], outcome: Outcome | None = None) -> None:
        if not problems:
            self.passed[group] += 1
            return
        self.failed += 1
        said = f"\n    exit {outcome.code}: {outcome.err[:500].strip()}" if outcome else ""
        print(f"FAILED {name}: {'; '.join(problems)}{said}", flush=True)


class Place:
    """Folders: inputs, the program's own, a cache; and the pictures of undisturbed runs."""

    def __init__(self, args: argparse.Namespace, top: Path) -> None:
        self.sdgen: Path = args.sdgen
        self.top, self.given, self.own, self.cache = top, top / "given", top / "own", top / "cache"
        self.report = top / "struck"
        self.given.mkdir()
        make_inputs(args.sdgen, MODEL, self.given)
        environment = {"HOME": str(top), "XDG_CACHE_HOME": str(self.cache)}
        self.program = Program(args.sdgen, args.server, top / "logs", environment, [args.faults], {resource.RLIMIT_CPU: 60})
        self._right: dict[str, dict[str, bytes]] = {}

    def clear(self, scenario: Scenario) -> None:
        for folder in (self.own, self.cache):
            shutil.rmtree(folder, ignore_errors=True)
            folder.mkdir()
        self.report.unlink(missing_ok=True)
        for name in scenario.existing:
            (self.own / name).write_text("mine")

    def words(self, scenario: Scenario) -> list[str]:
        return [word.replace("GIVEN", str(self.given)) for word in scenario.words]

    def run(self, scenario: Scenario, environment: dict[str, str]) -> Outcome:
        self.clear(scenario)
        return self.program.run(self.words(scenario), self.own, environment)

    def right(self, scenario: Scenario) -> dict[str, bytes]:
        """The files of an undisturbed run."""
        if scenario.name not in self._right:
            outcome = self.run(scenario, {})
            if outcome.code != 0:
                raise RuntimeError(f"{scenario.name} fails undisturbed: {outcome.err}")
            self._right[scenario.name] = files(self.own)
        return self._right[scenario.name]


def files(folder: Path) -> dict[str, bytes]:
    return {path.name: content(path) for path in sorted(folder.iterdir())}


def content(path: Path) -> bytes:
    """Of a manifest what does not depend on the clock, line by line and in any order."""
    if path.suffix != ".jsonl":
        return path.read_bytes()
    lines = []
    for line in path.read_bytes().splitlines(keepends=True):
        if not line.endswith(b"\n"):
            return b"half a line: " + line
        entry = json.loads(line)
        entry.pop("timings", None)
        lines.append(json.dumps(entry, sort_keys=True))
    return "\n".join(sorted(lines)).encode()


def wrong_files(left: dict[str, bytes], right: dict[str, bytes], existing: dict[str, bytes]) -> list[str]:
    """What is not as an undisturbed run would have left it, or as it was before."""
    wrong = []
    for name, data in left.items():
        if name.endswith(".jsonl"):
            if not set(data.splitlines()) <= set(right.get(name, b"").splitlines()):
                wrong.append(f"{name} tells something else")
        elif data not in (right.get(name), existing.get(name)):
            wrong.append(f"{name} of {len(data)} bytes is left")
    return wrong


def message_problems(outcome: Outcome) -> list[str]:
    errors = [line for line in outcome.err.splitlines() if line.startswith("sdgen: ") and not re.match("sdgen: (model|warning:|seed|LoRA) ", line)]
    errors = [line for line in errors if not re.match(r"sdgen: (\d+ of \d+ pictures|1 picture|\d+ pictures|pictures? .*: step )", line)]
    return [] if len(errors) == 1 else [f"{len(errors)} lines of error: {errors[:3]}"]


def try_calls(place: Place, checks: Checks, wanted: str) -> None:
    for group, scenarios, faults in (("load", LOADS, LOAD_FAULTS), ("save", SAVES, SAVE_FAULTS)):
        for scenario in scenarios:
            for fault in faults:
                label = f"{group}/{scenario.name}/{fault.call}-{fault.where.lower()}-{fault.error}-{fault.mode}"
                if re.search(wanted, label):
                    fail_each(place, checks, group, label, scenario, fault)


def fail_each(place: Place, checks: Checks, group: str, label: str, scenario: Scenario, fault: Fault) -> None:
    right = place.right(scenario)
    folder = {"GIVEN": place.given, "OWN": place.own, "CACHE": place.cache}.get(fault.where, Path("/"))
    existing = dict.fromkeys(scenario.existing, b"mine")
    which = 1
    while True:
        plan = f"{fault.call} {which} {fault.error} {fault.mode} {folder} {place.report}"
        outcome = place.run(scenario, {"SDGEN_FAULT": plan})
        left = files(place.own)
        struck = place.report.exists()
        problems = wrong_files(left, right, existing)
        if outcome.timed_out:
            problems.append("did not end")
        elif outcome.code == 0:
            problems += [f"{name} is missing" for name in right if left.get(name) != right[name]]
        elif not struck or outcome.code not in fault.codes:
            problems.append(f"exit code {outcome.code}, expected {sorted(fault.codes)} or 0")
        else:
            problems += message_problems(outcome)
        checks.add(group, f"{label}-{which}", problems, outcome)
        if not struck:
            return
        which += 1 if which < MANY else 7


def try_memory(place: Place, checks: Checks, steps: int = 40) -> None:
    """From the addresses that the program has before it does anything, to as many as the run needs."""
    scenario = Scenario("memory", [*ONE, "-o", "x.png", "-W", "256", "-H", "256"])
    right = place.right(scenario)
    start = addresses(place)

    def outcome_at(limit: int) -> Outcome:
        place.clear(scenario)
        environment = {**os.environ, "OMP_NUM_THREADS": "1", "HOME": str(place.top), "XDG_CACHE_HOME": str(place.cache)}
        process = subprocess.Popen(
            [place.sdgen, *place.words(scenario)], cwd=place.own, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE,
            preexec_fn=lambda: (resource.setrlimit(resource.RLIMIT_AS, (limit, limit)), resource.setrlimit(resource.RLIMIT_CORE, (0, 0))))
        try:
            _, err = process.communicate(timeout=120)
        except subprocess.TimeoutExpired:
            process.kill()
            return Outcome(process.wait(), b"", "", 0, 0.0, True)
        return Outcome(process.returncode, b"", err.decode(errors="replace"), 0, 0.0, False)

    enough = start + (64 << 20)
    while outcome_at(enough).code != 0:
        enough += 64 << 20
    for step in range(steps):
        limit = start + (enough - start) * (step + 1) // steps
        outcome = outcome_at(limit)
        left = files(place.own)
        problems = wrong_files(left, right, {})
        if outcome.timed_out:
            problems.append("did not end")
        elif outcome.code == 0:
            problems += [f"{name} is missing" for name in right if left.get(name) != right[name]]
        elif outcome.code != 5:
            problems.append(f"exit code {outcome.code}, expected 5 or 0")
        else:
            problems += message_problems(outcome)
        checks.add("memory", f"memory/{limit >> 20} MB", problems, outcome)
    print(f"faults: memory: from {start >> 20} to {enough >> 20} MB of addresses")


def addresses(place: Place) -> int:
    """How many bytes of addresses `sdgen --version` needs."""
    low, high = 64 << 20, 1 << 40
    while high - low > 1 << 20:
        middle = (low + high) // 2
        ended = subprocess.run([place.sdgen, "--version"], capture_output=True, check=False,
                               preexec_fn=partial(resource.setrlimit, resource.RLIMIT_AS, (middle, middle)))
        low, high = (low, middle) if ended.returncode == 0 else (middle, high)
    return high


def try_kills(place: Place, checks: Checks, kills: int) -> None:
    """Each batch is killed at moments spread over its life until `kills` are done, then finished and compared."""
    jobs = place.top / "many.txt"
    jobs.write_text("".join(f"picture {i} of a fox --steps {1 + i % 3}\n" for i in range(30)))
    words = [*BASE, "--prompts", str(jobs), "--skip-existing", "--preview-every", "1", "--batch-size", "2", "-o", "./", "-q"]
    command = [place.sdgen, *(word.replace("GIVEN", str(place.given)) for word in words)]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "HOME": str(place.top), "XDG_CACHE_HOME": str(place.cache)}

    def start() -> subprocess.Popen[bytes]:
        return subprocess.Popen(command, cwd=place.own, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)

    place.clear(Scenario("kills", words))
    began = time.monotonic()
    if start().wait() != 0:
        raise RuntimeError("the batch fails undisturbed")
    took = time.monotonic() - began
    right = files(place.own)
    chance = random.Random(0)
    done = 0
    while done < kills:
        place.clear(Scenario("kills", words))
        killed = 0
        while done < kills and killed < 10:
            process = start()
            time.sleep(chance.uniform(0.1, 1.0) * min(took, 3.0))
            process.send_signal(signal.SIGKILL)
            if process.wait() == 0:
                break  # it was done before
            killed += 1
            done += 1
            hidden = [path.name for path in place.own.iterdir() if path.name.startswith(".sdgen-")]
            left = {name: data for name, data in files(place.own).items() if ".preview." not in name and not name.endswith(".jsonl")}
            problems = wrong_files(left, right, {}) + ([f"left {hidden}"] if hidden else [])
            checks.add("kills", f"kill/{done}", problems)
        process = start()
        _, err = process.communicate()
        left = files(place.own)
        problems = [f"{name} differs" for name in {*left, *right} if left.get(name) != right.get(name)]
        checks.add("resumed", f"kill/resumed-{done}", problems, Outcome(process.returncode, b"", err.decode(), 0, 0.0, False))


def try_files(place: Place, checks: Checks, rounds: int = 30) -> None:
    """A file of the model changes while the model is read, or, where its codes are used in place, while it draws: later
    in every round."""
    for model, steps, delay in (("model", "1", 0.002), ("coded", "100", 0.006)):
        scenario = Scenario(f"files-{model}", ["-m", f"GIVEN/{model}", *BASE[2:], "-p", "a fox", "--steps", steps, "--no-metadata", "-o", "x.png"])
        harm_files(place, checks, scenario, place.given / model / "unet/diffusion_pytorch_model.safetensors", [delay * i for i in range(rounds)])


def harm_files(place: Place, checks: Checks, scenario: Scenario, weights: Path, delays: list[float]) -> None:
    right = place.right(scenario)
    good = weights.read_bytes()

    def cut() -> None:
        os.truncate(weights, len(good) // 3)

    def empty() -> None:
        os.truncate(weights, 0)

    def replace() -> None:
        other = weights.with_name("other")
        other.write_bytes(b"not weights at all")
        other.replace(weights)

    def shrink_and_grow() -> None:
        os.truncate(weights, 100)
        os.truncate(weights, len(good))

    for harm in (cut, empty, replace, shrink_and_grow, weights.unlink):
        for round_, delay in enumerate(delays):
            weights.unlink(missing_ok=True)
            weights.write_bytes(good)
            timer = threading.Timer(delay, harm)
            timer.start()
            outcome = place.run(scenario, {})
            timer.join()
            # A file that is replaced or deleted when it is open stays as it was; zeros in it are numbers, too.
            codes = {0, 3, 5} if harm is shrink_and_grow else {0, 3}
            problems = [] if outcome.code in codes else [f"exit code {outcome.code}, expected one of {sorted(codes)}"]
            if harm is not shrink_and_grow:
                problems += wrong_files(files(place.own), right, {})
            if outcome.code != 0:
                problems += message_problems(outcome)
            checks.add("files", f"files/{weights.parents[1].name}/{harm.__name__}-{round_}", problems, outcome)
    weights.write_bytes(good)


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sdgen", type=Path, default=ROOT / "build" / "sdgen")
    parser.add_argument("--only", choices=["calls", "memory", "kills", "files"])
    parser.add_argument("--filter", default="", metavar="REGEX", help="of the calls only those whose name matches")
    parser.add_argument("--kills", type=int, default=20, help="how often the batch is killed (default: 20)")
    args = parser.parse_args()
    args.sdgen = args.sdgen.resolve()
    preload = args.sdgen.parent / "tests"
    args.server, args.faults = preload / "libsdgen_fork_server.so", preload / "libsdgen_faults.so"
    return args


def main() -> int:
    args = arguments()
    checks = Checks()
    start = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="sdgen-faults-") as folder:
        place = Place(args, Path(folder))
        parts = {
            "calls": lambda: try_calls(place, checks, args.filter),
            "memory": lambda: try_memory(place, checks),
            "kills": lambda: try_kills(place, checks, args.kills),
            "files": lambda: try_files(place, checks),
        }
        for name, part in parts.items():
            if args.only in (None, name):
                part()
        place.program.close()
    for group, count in checks.passed.items():
        print(f"faults: {group}: {count} passed")
    print(f"faults: {time.monotonic() - start:.0f} s")
    print(f"faults: {checks.passed.total()} passed, {checks.failed} failed")
    return 1 if checks.failed or not checks.passed else 0


if __name__ == "__main__":
    sys.exit(main())
