"""Compares sdgen's pictures with diffusers', sample by sample.

    python tools/parity.py --sdgen build/sdgen [--all] [--sample SEED] [--filter REGEX] [--keep DIR] [--json FILE]
                           [--model FOLDER]

Builds tiny random models, runs the program and diffusers 0.42.1 on the same requests (CPU, float32), and wants every
8-bit sample within 1 of the reference's (src/cli/README.md, "The same picture as diffusers"). It also checks that a wrong seed,
prompt, scale or step would fail that comparison. Cases of one model and equal adapters are the lines of one batch file.

Without --all or --filter it takes a sample, which turns with every commit (reference/sample.py): a case at least for
every model and form of file, every option in every pipeline, every value of an option and every adapter (traits of
reference/parity_cases.py), and a twentieth of the other cases; of the mistakes to be noticed every one on some model, and a
twentieth of the others.

With --model the given diffusers folder is compared instead. --keep DIR with --json DIR/pictures.json is what
tools/metadata_check.py reads. Ends with the line `parity: N passed, N failed[, N skipped]`; exit 1 when a case failed.
"""

from __future__ import annotations

import argparse
import multiprocessing
import os
import re
import shutil
import sys
import tempfile
import time
import warnings
from collections.abc import Hashable, Iterator
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import groupby
from pathlib import Path

os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")
os.environ.setdefault("HF_HUB_DISABLE_PROGRESS_BARS", "1")
warnings.filterwarnings("ignore", category=FutureWarning)  # diffusers' on outdated scheduler configs

import torch  # noqa: E402
from diffusers import DiffusionPipeline  # noqa: E402

from reference import image_files, sample  # noqa: E402
from reference.compel_check import COMPEL_MODELS, check_compel  # noqa: E402
from reference.dit import dit_model_cases  # noqa: E402
from reference.model_store import ModelStore  # noqa: E402
from reference.parity_case import ParityCase  # noqa: E402
from reference.parity_cases import model_cases, parity_cases, traits  # noqa: E402
from reference.parity_models import MODELS  # noqa: E402
from reference.parity_run import Outcome, Sdgen, group, judge, save_json, table  # noqa: E402
from reference.pictures import backbone, is_xl, load_pipeline, takes_text  # noqa: E402
from reference.sensitivity import check_mistake, mistakes_of  # noqa: E402
from reference.unconditional import unconditional_model_cases  # noqa: E402

SHARE = 0.05  # of the cases that show nothing new
CASES = 40  # or a few more, that one process does in a turn


@dataclass
class Task:
    """What a process does with a model in a turn."""

    model: str
    cases: list[ParityCase]
    mistakes: list[str] = field(default_factory=list)
    whole: bool = False  # also what is checked once for a model


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sdgen", type=Path, default=Path(__file__).parents[1] / "build" / "sdgen")
    parser.add_argument("--filter", default="", metavar="REGEX", help="only cases whose MODEL/NAME matches")
    parser.add_argument("--mistakes", action="store_true", help="with --filter: also those that the models of these cases have to show")
    parser.add_argument("--keep", type=Path, metavar="DIR", help="leave models and pictures in this folder")
    parser.add_argument("--json", type=Path, metavar="FILE", help="all outcomes with their commands")
    parser.add_argument("--model", type=Path, metavar="FOLDER", help="compare on this diffusers folder")
    parser.add_argument("--threads", type=int, default=1, help="threads of either program (default: 1)")
    parser.add_argument("--jobs", type=int, default=2, help="processes, each with its own run of sdgen (default: 2)")
    parser.add_argument("--list", action="store_true", help="print the cases and end")
    sample.add_arguments(parser)
    return parser.parse_args()


@contextmanager
def workplace(keep: Path | None) -> Iterator[Path]:
    """A folder for models and pictures, deleted at the end unless it is to be kept."""
    if keep is not None:
        for part in ("models", "pictures", "inputs"):
            shutil.rmtree(keep / part, ignore_errors=True)
        keep.mkdir(parents=True, exist_ok=True)
        yield keep.resolve()
    else:
        with tempfile.TemporaryDirectory(prefix="sdgen-parity-") as folder:
            yield Path(folder)


def own_size(pipe: DiffusionPipeline) -> tuple[int, int]:
    size, factor = backbone(pipe).config.sample_size, pipe.vae_scale_factor
    height, width = (size, size) if isinstance(size, int) else size
    return width * factor, height * factor


def turns(cases: list[ParityCase]) -> Iterator[list[ParityCase]]:
    """So many that two processes have something to do. Neighbours stay together."""
    part: list[ParityCase] = []
    for case in cases:
        if len(part) >= CASES and not (case.always and part[-1].always):
            yield part
            part = []
        part.append(case)
    yield part


class Worker:
    """A process: its models and its program."""

    def __init__(self, args: argparse.Namespace, work: Path) -> None:
        self.sdgen = Sdgen(args.sdgen.resolve(), args.threads)
        self.store = ModelStore(work / "models", {spec.name: spec for spec in MODELS}, args.model,
                                args.sdgen.resolve())  # fmt: skip
        self.pictures = work / "pictures"
        self.model: str | None = None

    def build(self, model: str) -> dict[str, None]:
        """Makes the folder; returns the mistakes that are to be noticed with the model."""
        return dict.fromkeys(mistakes_of(model, self.store.locate(model)))

    def run(self, task: Task) -> list[Outcome]:
        """sdgen draws while this thread makes the references."""
        model, store = task.model, self.store
        if model != self.model:
            store.release()
            self.model = model
        groups: dict[Hashable, list[ParityCase]] = {}
        for case in task.cases:  # the models are made here, before a thread needs them
            groups.setdefault(group(case, store.locate), []).append(case)
        with ThreadPoolExecutor(1) as pool:
            runs = [(cases, pool.submit(self.draw, cases)) for cases in groups.values()]
            found = [check_mistake(model, name, store) for name in task.mistakes]
            if task.whole:
                found += check_compel(model, store.pipeline(model)) if model in COMPEL_MODELS else []
            for cases, run in runs:
                for case, outcome in zip(cases, run.result(), strict=True):
                    judge(outcome, case, store, self.output(case))
                    found.append(outcome)
        return found

    def output(self, case: ParityCase) -> Path:
        return self.pictures / (case.model or "model") / f"{case.form}-{case.name}"

    def draw(self, cases: list[ParityCase]) -> list[Outcome]:
        """Lines of one run; a case alone is a command line."""
        if len(cases) == 1:
            command = self.sdgen.command(cases[0], self.store.locate, self.output(cases[0]))
            return [self.sdgen.run(cases[0], command, self.output(cases[0]))]
        return self.sdgen.run_lines(cases, self.store.locate, [self.output(case) for case in cases])

    def layouts(self, place: tuple[str, str]) -> Outcome:
        """diffusers' converters make the model's folder of the single file."""
        model, form = place
        problems = self.store.layout_problems(model, form)
        more = f" and {len(problems) - 1} more" if len(problems) > 1 else ""
        return Outcome(f"{model}/layout-{form}", error=problems[0] + more if problems else "")


_worker: Worker


def _prepare(args: argparse.Namespace, work: Path) -> None:
    global _worker
    _worker = Worker(args, work)


def _build(model: str) -> dict[str, None]:
    return _worker.build(model)


def _layouts(place: tuple[str, str]) -> Outcome:
    return _worker.layouts(place)


def _run(task: Task) -> list[Outcome]:
    return _worker.run(task)


def compare_models(args: argparse.Namespace, work: Path, cases: dict[str, list[ParityCase]], seed: str | None) -> list[Outcome]:
    """All cases, model by model."""
    image_files.keep_in(work / "inputs")
    forms = sorted({(case.model, case.form) for wanted in cases.values() for case in wanted if case.form != "folder"})
    outcomes: list[Outcome] = []
    fork = multiprocessing.get_context("fork")  # torch and diffusers are there at once
    with ProcessPoolExecutor(args.jobs, fork, _prepare, (args, work)) as pool:
        mistakes = [(model, name) for model, names in zip(cases, pool.map(_build, cases), strict=True) for name in names]
        wanted = sample.take(mistakes, seed, SHARE, name="/".join, traits=lambda mistake: (mistake[1],))
        if args.mistakes:
            wanted = mistakes
        elif args.filter:
            wanted = []
        else:
            print(f"parity: {sample.told(seed, wanted, len(mistakes), 'mistakes')}", flush=True)
        tasks = []
        for model, own in cases.items():
            names = [name for other, name in wanted if other == model]
            first, *others = turns(own)
            tasks.append(Task(model, first, names, whole=not args.filter))
            tasks += [Task(model, part) for part in others]
        found = zip(tasks, pool.map(_run, tasks), strict=True)
        for model, results in groupby(found, key=lambda result: result[0].model):
            own = [outcome for _, part in results for outcome in part]
            bad = sum(not outcome.passed for outcome in own)
            print(f"{model or args.model}: {len(own) - bad} passed, {bad} failed", flush=True)
            outcomes += own
        outcomes += pool.map(_layouts, forms)
    return outcomes


def choose_cases(args: argparse.Namespace, seed: str | None) -> dict[str, list[ParityCase]]:
    """The cases to run, by model."""
    if args.model is not None:
        pipe = load_pipeline(args.model)
        if type(pipe).__name__ == "DiTPipeline":
            every = dit_model_cases("")
        elif takes_text(pipe):
            every = model_cases(*own_size(pipe), is_xl(pipe))
        else:
            every = unconditional_model_cases("", type(pipe).__name__ == "DDIMPipeline")
    else:
        every = parity_cases()
    chosen: dict[str, list[ParityCase]] = {}
    matching = [case for case in every if re.search(args.filter, case.label)]
    for case in sample.take(matching, seed, SHARE, name=lambda case: case.label, traits=traits):
        chosen.setdefault(case.model, []).append(case)
    count = [case for group in chosen.values() for case in group]
    print(f"parity: {sample.told(seed, count, len(matching))}", flush=True)
    return chosen


def main() -> int:
    args = arguments()
    torch.set_num_threads(args.threads)
    seed = None if args.model is not None else sample.seed_of(args)
    cases = choose_cases(args, seed)
    if args.list:
        print("\n".join(case.label for group in cases.values() for case in group))
        return 0
    if not args.sdgen.is_file():
        print(f"parity: {args.sdgen} is not there; build it or name it with --sdgen", file=sys.stderr)
        return 2

    known = Sdgen(args.sdgen.resolve(), args.threads).schedulers()
    left_out = [case for group in cases.values() for case in group if case.needs not in {None, *known}]
    cases = {model: [case for case in group if case not in left_out] for model, group in cases.items()}
    start = time.monotonic()
    with workplace(args.keep) as work:
        outcomes = compare_models(args, work, cases, seed)
    failures = [outcome for outcome in outcomes if not outcome.passed]
    if args.json is not None:
        save_json(args.json, outcomes)
    if failures:
        print(table(failures))
    for case in left_out:
        print(f"parity: skipped {case.label}: sdgen does not list the scheduler {case.needs}")
    largest = max((outcome.maximum for outcome in outcomes if not outcome.error), default=0)
    print(f"parity: largest difference {largest} of 255, {time.monotonic() - start:.0f} s")
    skipped = f", {len(left_out)} skipped" if left_out else ""
    print(f"parity: {len(outcomes) - len(failures)} passed, {len(failures)} failed{skipped}")
    return 1 if failures or not outcomes else 0


if __name__ == "__main__":
    sys.exit(main())
