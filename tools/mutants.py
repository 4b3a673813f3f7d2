"""Applies small deliberate faults to the sources, one at a time, and looks whether the tests see them.

    python tools/mutants.py [--only REGEX] [--list] [--dirty] [--keep] [--table FILE] [--work DIR] [--markdown FILE]

The faults are in tools/mutants.toml: a file, its text before and after, and the suites that guard it: base:FILTER,
core:FILTER and program:FILTER are C++ tests by googletest's filter, parity:REGEX are cases of tools/parity.py. A fault is
caught when one of its suites fails, crashes or does not end. All suites have to be green without a fault, before the first and again at the end, so that neither a broken
nor a flaky test counts.

It works in a git worktree of its own (build/mutants, or --work DIR), which stays there for the next time, on the sources of
HEAD; with --dirty on those of the working tree. Results are kept in DIR/results.jsonl: a run that was ended goes on where it
was. They hold for the same sources only; --keep also takes what was caught at another commit by an unchanged row.

Closes with "N passed, N failed", where passed means caught.
"""

from __future__ import annotations

import argparse
import fcntl
import hashlib
import json
import os
import platform
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import tomllib
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from pathlib import Path

ROOT = Path(__file__).parents[1]
TABLE = ROOT / "tools" / "mutants.toml"
PROGRAMS = {"base": "base_tests", "core": "core_tests", "program": "program_tests"}
# What has to be built again after a fault: program_tests itself only starts the program.
REBUILT = {"base": ["base_tests"], "core": ["core_tests"], "program": ["sdgen"], "parity": ["sdgen"]}
LEAST_OF_A_ROOM = 2
FROM_CACHE = ["SDGEN_TORCH", "SDGEN_CLIP_VOCABULARY", "SDGEN_SENTENCEPIECE", "CMAKE_CXX_COMPILER"]  # settings of the checkout's own build


@dataclass(frozen=True)
class Mutant:
    id: str
    file: str
    fault: str
    before: str
    after: str
    suites: tuple[str, ...]
    missed: bool = False  # by the tests that were there when the row was written
    needs: str = ""  # a flag of /proc/cpuinfo without which the faulty line does not run

    @property
    def room(self) -> str:
        parts = Path(self.file).parts
        return parts[1] if len(parts) > 2 else "src"

    @property
    def digest(self) -> str:
        row = {key: value for key, value in asdict(self).items() if key not in ("missed", "needs")}
        return hashlib.sha256(json.dumps(row).encode()).hexdigest()[:16]


@dataclass(frozen=True)
class Result:
    id: str
    row: str  # the row's digest
    sources: str  # digest of everything that is compiled
    commit: str
    verdict: str  # caught, NOT CAUGHT, or what is wrong with the row
    by: str  # the test that failed first
    seconds: float

    @property
    def caught(self) -> bool:
        return self.verdict == "caught"


@dataclass(frozen=True)
class Outcome:
    red: bool
    tests: int  # that ran
    by: str


class Broken(Exception):
    """Something that is no fault of a mutant: it ends the run."""


def read_table(path: Path) -> list[Mutant]:
    rows = tomllib.loads(path.read_text())["mutant"]
    mutants = [Mutant(**row | {"suites": tuple(row["suites"])}) for row in rows]
    for name, count in Counter(m.id for m in mutants).items():
        if count > 1:
            raise Broken(f"{path.name}: {name} is there {count} times")
    for m in mutants:
        for suite in m.suites:
            if suite.partition(":")[0] not in REBUILT:
                raise Broken(f"{path.name}: {m.id}: '{suite}' is not WHAT:FILTER with one of {', '.join(REBUILT)}")
    return sorted(mutants, key=lambda m: m.file)  # the next fault and the end of the last compile together


def git(folder: Path, *words: str) -> str:
    return subprocess.run(["git", "-C", folder, *words], check=True, stdout=subprocess.PIPE, text=True).stdout


class Place:
    """The worktree, with its build."""

    def __init__(self, folder: Path, dirty: bool, jobs: int) -> None:
        self.folder, self.build, self.jobs = folder, folder / "build", jobs
        self.commit = git(ROOT, "rev-parse", "HEAD").strip()
        if not (folder / ".git").exists():
            git(ROOT, "worktree", "prune")
            git(ROOT, "worktree", "add", "--quiet", "--detach", str(folder), self.commit)
        git(folder, "checkout", "--quiet", "--force", "--detach", self.commit)  # also takes back what a killed run left
        git(folder, "clean", "--quiet", "-d", "--force", "src", "include", "tests")
        if dirty:
            self._copy_working_tree()
            self.commit += "-dirty"
        self.sources = self._digest()
        self.build.mkdir(exist_ok=True)
        venv = ROOT / "build" / "venv"
        if venv.exists() and not (self.build / "venv").exists():
            (self.build / "venv").symlink_to(venv.resolve())

    def _copy_working_tree(self) -> None:
        listed = git(ROOT, "ls-files", "-z", "--cached", "--others", "--exclude-standard").split("\0")
        for name in filter(None, listed):
            mine, other = ROOT / name, self.folder / name
            if not mine.exists():
                other.unlink(missing_ok=True)
            elif mine.is_file() and (not other.exists() or mine.read_bytes() != other.read_bytes()):
                other.parent.mkdir(parents=True, exist_ok=True)
                shutil.copyfile(mine, other)

    def _digest(self) -> str:
        digest = hashlib.sha256()
        paths = [self.folder / "CMakeLists.txt"]
        for top in ("src", "include", "tests"):
            paths += sorted(p for p in (self.folder / top).rglob("*") if p.is_file())
        for path in paths:
            digest.update(f"{path.relative_to(self.folder)}\0".encode() + path.read_bytes())
        return digest.hexdigest()[:16]

    def configure(self) -> None:
        options = ["-DCMAKE_BUILD_TYPE=Release", "-DBUILD_TESTING=ON", "-DSDGEN_NVCC=SDGEN_NVCC-NOTFOUND"]
        cache = ROOT / "build" / "CMakeCache.txt"
        for line in cache.read_text().splitlines() if cache.exists() else []:
            name, _, value = line.partition("=")
            if name.partition(":")[0] in FROM_CACHE:
                options.append(f"-D{name}={value}")
        command = ["cmake", "-S", str(self.folder), "-B", str(self.build), "-G", "Ninja", *options]
        done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        if done.returncode != 0:
            raise Broken(f"cmake fails:\n{done.stdout}")

    def make(self, targets: list[str]) -> str:
        """Builds; returns what the compiler said where it failed."""
        command = ["ninja", "-C", str(self.build), f"-j{self.jobs}", *targets]
        done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        return done.stdout[-4000:] if done.returncode != 0 else ""

    @contextmanager
    def with_fault(self, mutant: Mutant) -> Iterator[None]:
        path = self.folder / mutant.file
        text = path.read_bytes()
        try:
            path.write_bytes(text.replace(mutant.before.encode(), mutant.after.encode()))
            yield
        finally:
            path.write_bytes(text)

    def run(self, suite: str, limit: float) -> Outcome:
        """A suite, shared among processes, up to its first failure."""
        program, _, tests = suite.partition(":")
        if program == "parity":
            shared, kind = 1, Parity
            command = [str(self.build / "venv" / "bin" / "python"), str(self.folder / "tools" / "parity.py")]
            command += ["--sdgen", str(self.build / "sdgen"), "--filter", tests, "--jobs", str(self.jobs)]
        else:
            shared, kind = self.jobs, Shard
            command = [str(self.build / "tests" / PROGRAMS[program]), f"--gtest_filter={tests or '*'}"]
            command += ["--gtest_fail_fast", "--gtest_color=no"]
        with tempfile.TemporaryDirectory(prefix="sdgen-mutants-", ignore_cleanup_errors=True) as scratch:
            shards = [kind(command, i, shared, Path(scratch), self.build / "tests") for i in range(shared)]
            end = time.monotonic() + limit
            try:
                while time.monotonic() < end:
                    running = [s for s in shards if s.process.poll() is None]
                    if any(s.process.returncode for s in shards) or not running:
                        break
                    time.sleep(0.05)
                else:
                    return Outcome(True, 1, f"{running[0].last_test()} (did not end)")
            finally:
                for shard in shards:
                    shard.end()
            red = next((s for s in shards if s.failed()), None)
            return Outcome(red is not None, sum(s.tests_run() for s in shards), red.first_failure() if red else "")


class Shard:
    """One of the processes that share a suite, in a process group of its own with all that it starts."""

    def __init__(self, command: list[str], index: int, count: int, scratch: Path, folder: Path) -> None:
        self.log = scratch / f"log{index}"
        own = scratch / f"tmp{index}"
        own.mkdir()
        environment = os.environ | {
            "OMP_NUM_THREADS": "1",
            "GOMP_SPINCOUNT": "1000",
            "GTEST_TOTAL_SHARDS": str(count),
            "GTEST_SHARD_INDEX": str(index),
            "TEST_TMPDIR": f"{own}/",
            "TMPDIR": str(own),
            "HF_HUB_OFFLINE": "1",
        }
        with self.log.open("wb") as log:
            self.process = subprocess.Popen(
                command, env=environment, cwd=folder, stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True
            )
        self.ended_itself = False

    def end(self) -> None:
        self.ended_itself = self.process.poll() is not None
        with suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()

    def text(self) -> str:
        return self.log.read_text(errors="replace")

    def failed(self) -> bool:
        """By a test or by a crash; a program that the system cannot start says nothing about a fault."""
        if not self.ended_itself or self.process.returncode == 0:
            return False
        if self.process.returncode > 0 and not self.first_failures():
            raise Broken(f"{self.process.args[0]} ended with status {self.process.returncode}:\n{self.text()[-2000:]}")
        return True

    def tests_run(self) -> int:
        text = self.text()
        return text.count("[       OK ]") + text.count("[  FAILED  ]")

    def last_test(self) -> str:
        names = re.findall(r"^\[ RUN      \] (\S+)", self.text(), re.MULTILINE)
        return names[-1] if names else "no test"

    def first_failure(self) -> str:
        if self.process.returncode < 0:
            return f"{self.last_test()} (signal {-self.process.returncode})"
        return self.first_failures()[0]

    def first_failures(self) -> list[str]:
        return re.findall(r"^\[  FAILED  \] ([^\s,]+)", self.text(), re.MULTILINE)


class Parity(Shard):
    """tools/parity.py, which shares its cases among processes itself."""

    def counts(self) -> tuple[int, int]:
        """Cases that passed and that failed."""
        found = re.findall(r"^parity: (\d+) passed, (\d+) failed$", self.text(), re.MULTILINE)
        return (int(found[-1][0]), int(found[-1][1])) if found else (0, 0)

    def tests_run(self) -> int:
        return sum(self.counts())

    def last_test(self) -> str:
        return "a case"

    def first_failures(self) -> list[str]:
        failed = self.counts()[1]
        return [f"{failed} of {self.tests_run()} cases"] if failed else []


class Results:
    """What is known already, and a file that it is added to."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.known = [Result(**json.loads(line)) for line in path.read_text().splitlines()] if path.exists() else []

    def find(self, mutant: Mutant, sources: str, keep: bool) -> Result | None:
        for result in reversed(self.known):
            if result.row == mutant.digest and (result.sources == sources or (keep and result.caught)):
                return result
        return None

    def add(self, result: Result) -> None:
        self.known.append(result)
        with self.path.open("a") as file:
            file.write(json.dumps(asdict(result)) + "\n")


def outdated(place: Place, mutant: Mutant) -> str:
    path = place.folder / mutant.file
    if not path.exists():
        return f"{mutant.file} is not there: the row is out of date"
    count = path.read_text().count(mutant.before)
    if count != 1:
        return f"the text before is {count} times in {mutant.file}, expected once: the row is out of date"
    return "the text after is the text before" if mutant.before == mutant.after else ""


def without_faults(place: Place, suites: list[str]) -> dict[str, float]:
    """Runs the suites on the sources as they are, and gives the seconds of each."""
    programs = sorted({suite.partition(":")[0] for suite in suites})
    targets = [target for p in programs for target in (*REBUILT[p], *filter(None, [PROGRAMS.get(p)]))]
    if problem := place.make(targets):
        raise Broken(f"the sources do not build without a fault:\n{problem}")
    seconds = {}
    for suite in suites:
        start = time.monotonic()
        outcome = place.run(suite, limit=900)
        seconds[suite] = time.monotonic() - start
        if outcome.red:
            raise Broken(f"{suite} fails without a fault, at {outcome.by}")
        if outcome.tests == 0:
            raise Broken(f"{suite} runs no test")
        print(f"{seconds[suite]:7.1f} s  {outcome.tests:4d} tests  {suite}", flush=True)
    return seconds


def judge(place: Place, mutant: Mutant, seconds: dict[str, float]) -> tuple[str, str]:
    """The verdict, and the test that failed."""
    with place.with_fault(mutant):
        for suite in mutant.suites:
            program = suite.partition(":")[0]
            if problem := place.make(REBUILT[program]):
                print(problem, file=sys.stderr)
                return "does not compile", ""
            # Long beyond what a busy machine makes of it: only what hangs does not end.
            outcome = place.run(suite, limit=180 + 10 * seconds[suite])
            if outcome.red:
                return "caught", f"{program}: {outcome.by}"
    return "NOT CAUGHT", ""


def still_green(place: Place, results: list[Result]) -> None:
    """The tests that caught something must pass without a fault once more."""
    tests: dict[str, set[str]] = {}
    for result in results:
        if result.caught:
            program, _, name = result.by.partition(": ")
            tests.setdefault(program, set()).add(name.partition(" (")[0])
    suites = [f"{program}:{':'.join(sorted(names))}" for program, names in tests.items() if program in PROGRAMS]
    if suites:
        print("Without a fault again, the tests that failed:")
        without_faults(place, suites)


def markdown(mutants: list[Mutant], results: dict[str, Result], minutes: float | None, commit: str) -> str:
    caught = sum(r.caught for r in results.values())
    took = f", {minutes:.0f} minutes" if minutes is not None else ""
    missed = sum(m.missed for m in mutants)
    lines = [
        f"{caught} of {len(mutants)} caught; {time.strftime('%Y-%m-%d')}, {cpu_name()}, {os.cpu_count()} cores{took}, {commit[:12]}.",
        f"*New*: one of the {missed} that were not caught when they were first tried, and the test that was written for it.",
        "",
        "| room | file | fault | caught by |",
        "|---|---|---|---|",
    ]
    for m in sorted(mutants, key=lambda m: (m.room, m.file)):
        result = results.get(m.id)
        by = "not run" if result is None else result.by if result.caught else f"**{result.verdict}**"
        by += " *new*" if m.missed else ""
        name = m.file.removeprefix("src/").removeprefix(m.room + "/")
        lines.append(f"| {m.room} | {name} | {m.fault.replace('|', chr(92) + '|')} | {by} |")
    return "\n".join(lines) + "\n"


def cpu_name() -> str:
    found = re.search(r"^model name\s*: (.*)$", Path("/proc/cpuinfo").read_text(), re.MULTILINE)
    return found.group(1) if found else platform.machine()


def processor_has(flag: str) -> bool:
    return not flag or re.search(rf"^flags\s*:.*\b{flag}\b", Path("/proc/cpuinfo").read_text(), re.MULTILINE) is not None


def thin_rooms(mutants: list[Mutant]) -> list[str]:
    rooms = {p.name for p in (ROOT / "src").iterdir() if p.is_dir()} | {"src"}
    counts = Counter(m.room for m in mutants)
    return [f"{room}: {counts[room]} faults" for room in sorted(rooms) if counts[room] < LEAST_OF_A_ROOM]


def end_by_signal(number: int, _: object) -> None:
    raise SystemExit(128 + number)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", default="", metavar="REGEX", help="faults whose id, file or words match")
    parser.add_argument("--list", action="store_true", help="say what there is, and what no longer fits, and end")
    parser.add_argument("--dirty", action="store_true", help="the working tree's sources instead of HEAD's")
    parser.add_argument("--keep", action="store_true", help="what was caught at another commit stays caught")
    parser.add_argument("--table", type=Path, default=TABLE, metavar="FILE", help="other faults than those of tools/mutants.toml")
    parser.add_argument("--work", type=Path, default=ROOT / "build" / "mutants", metavar="DIR", help="the worktree")
    parser.add_argument("--jobs", type=int, default=os.cpu_count(), metavar="N", help="compilers and test processes at a time")
    parser.add_argument("--markdown", type=Path, metavar="FILE", help="also write the table of results")
    args = parser.parse_args()

    everything = read_table(args.table)
    mutants = [m for m in everything if re.search(args.only, f"{m.id} {m.file} {m.fault}")]
    if args.list:
        fit = {m.id: (ROOT / m.file).exists() and (ROOT / m.file).read_text().count(m.before.strip("\n")) == 1 for m in mutants}
        for m in mutants:
            print(f"{m.id:32} {m.file:34} {m.fault}{'' if fit[m.id] else ': FAILED, its text is not there once'}")
        return 0 if all(fit.values()) else 1
    for m in [m for m in mutants if not processor_has(m.needs)]:
        print(f"left out {m.id}: this processor has no {m.needs}")
        mutants.remove(m)
    if not mutants:
        raise Broken(f"no fault matches '{args.only}'")
    failed = thin_rooms(everything) if args.table == TABLE and not args.only else []
    for problem in failed:
        print(f"FAILED {problem}, expected {LEAST_OF_A_ROOM}")

    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(number, end_by_signal)
    start = time.monotonic()
    args.work.parent.mkdir(parents=True, exist_ok=True)
    with open(f"{args.work}.lock", "w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise Broken(f"{args.work}: another run works there") from None
        place = Place(args.work.resolve(), args.dirty, args.jobs)
        known = Results(args.work / "results.jsonl")
        results = {m.id: r for m in mutants if (r := known.find(m, place.sources, args.keep))}
        open_rows = [m for m in mutants if m.id not in results]
        print(f"{len(mutants)} faults, {len(results)} of them known from earlier runs; commit {place.commit}")

        sound = []
        for m in open_rows:
            if problem := outdated(place, m):
                results[m.id] = Result(m.id, m.digest, place.sources, place.commit, problem, "", 0)
            else:
                sound.append(m)
        if sound:
            place.configure()
            print("Without a fault:")
            seconds = without_faults(place, sorted({suite for m in sound for suite in m.suites}))
        for m in sound:
            begin = time.monotonic()
            verdict, by = judge(place, m, seconds)
            took = round(time.monotonic() - begin, 1)
            result = Result(m.id, m.digest, place.sources, place.commit, verdict, by, took)
            results[m.id] = result
            known.add(result)
            print(f"{verdict:10} {took:6.1f} s  {m.id:32} {by}", flush=True)
        if sound:
            still_green(place, [results[m.id] for m in sound])

    minutes = (time.monotonic() - start) / 60
    for m in mutants:
        if not results[m.id].caught:
            failed.append(m.id)
            print(f"FAILED {m.id}: {results[m.id].verdict}: {m.file}: {m.fault}")
    if args.markdown:
        args.markdown.write_text(markdown(mutants, results, minutes if len(sound) == len(mutants) else None, place.commit))
    print(f"{minutes:.1f} minutes")
    print(f"{len(mutants) - sum(not r.caught for r in results.values())} passed, {len(failed)} failed")
    return 1 if failed else 0


if __name__ == "__main__":
    try:
        sys.exit(main())
    except Broken as problem:
        print(f"mutants.py: {problem}", file=sys.stderr)
        sys.exit(2)
