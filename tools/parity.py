"""Compares sdgen's pictures with diffusers', sample by sample.

    python tools/parity.py --sdgen build/sdgen [--filter REGEX] [--keep DIR] [--json FILE] [--model FOLDER]

Builds tiny random models, runs the program and diffusers 0.42.1 on the same requests (CPU, float32), and wants every
8-bit sample within 1 of the reference's (src/cli/README.md, "The same picture as diffusers"). It also checks that a wrong seed,
prompt, scale or step would fail that comparison. With --model the given diffusers folder is compared instead. Ends with
the line `parity: N passed, N failed`; exit 1 when a case failed.
"""

from __future__ import annotations

import argparse
import os
import re
import shutil
import sys
import tempfile
import time
import warnings
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")
os.environ.setdefault("HF_HUB_DISABLE_PROGRESS_BARS", "1")
warnings.filterwarnings("ignore", category=FutureWarning)  # diffusers' on outdated scheduler configs

import torch  # noqa: E402
from diffusers import DiffusionPipeline  # noqa: E402

from reference.compel_check import COMPEL_MODELS, check_compel  # noqa: E402
from reference.model_store import ModelStore  # noqa: E402
from reference.parity_case import ParityCase  # noqa: E402
from reference.parity_cases import model_cases, parity_cases  # noqa: E402
from reference.parity_models import MODELS  # noqa: E402
from reference.parity_run import Outcome, Sdgen, judge, save_json, table  # noqa: E402
from reference.pictures import is_xl, load_pipeline, takes_text  # noqa: E402
from reference.sensitivity import check_sensitivity  # noqa: E402
from reference.unconditional import unconditional_model_cases  # noqa: E402


@dataclass
class Job:
    case: ParityCase
    output: Path


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sdgen", type=Path, default=Path(__file__).parents[1] / "build" / "sdgen")
    parser.add_argument("--filter", default="", metavar="REGEX", help="only cases whose MODEL/NAME matches")
    parser.add_argument("--keep", type=Path, metavar="DIR", help="leave models and pictures in this folder")
    parser.add_argument("--json", type=Path, metavar="FILE", help="all outcomes with their commands")
    parser.add_argument("--model", type=Path, metavar="FOLDER", help="compare on this diffusers folder")
    parser.add_argument("--threads", type=int, default=1, help="threads of either program (default: 1)")
    parser.add_argument("--jobs", type=int, default=2, help="runs of sdgen at a time (default: 2)")
    parser.add_argument("--list", action="store_true", help="print the cases and end")
    return parser.parse_args()


@contextmanager
def workplace(keep: Path | None) -> Iterator[Path]:
    """A folder for models and pictures, deleted at the end unless it is to be kept."""
    if keep is not None:
        shutil.rmtree(keep / "pictures", ignore_errors=True)
        keep.mkdir(parents=True, exist_ok=True)
        yield keep
    else:
        with tempfile.TemporaryDirectory(prefix="sdgen-parity-") as folder:
            yield Path(folder)


def own_size(pipe: DiffusionPipeline) -> tuple[int, int]:
    size, factor = pipe.unet.config.sample_size, pipe.vae_scale_factor
    height, width = (size, size) if isinstance(size, int) else size
    return width * factor, height * factor


def compare_models(args: argparse.Namespace, work: Path, cases: dict[str, list[ParityCase]]) -> list[Outcome]:
    """All cases, model by model. sdgen runs in the pool while this thread makes the references."""
    outcomes: list[Outcome] = []
    store = ModelStore(work / "models", {spec.name: spec for spec in MODELS}, args.model)
    sdgen = Sdgen(args.sdgen.resolve(), args.threads)
    with ThreadPoolExecutor(args.jobs) as pool:
        for model, wanted in cases.items():
            jobs = [Job(case, work / "pictures" / (model or "model") / f"{case.form}-{case.name}") for case in wanted]
            runs = []
            for job in jobs:  # the models are made here, before a thread needs them
                command = sdgen.command(job.case, store.locate, job.output)
                runs.append(pool.submit(sdgen.run, job.case, command, job.output))
            found = layout_outcomes(store, model, {case.form for case in wanted})
            found += check_sensitivity(model or str(args.model), store) if not args.filter else []
            found += check_compel(model, store.pipeline(model)) if model in COMPEL_MODELS and not args.filter else []
            found += [finish(job, run, store) for job, run in zip(jobs, runs, strict=True)]
            bad = sum(not outcome.passed for outcome in found)
            print(f"{model or args.model}: {len(found) - bad} passed, {bad} failed", flush=True)
            outcomes += found
            store.release()
    return outcomes


def layout_outcomes(store: ModelStore, model: str, forms: set[str]) -> list[Outcome]:
    """One outcome a single file: diffusers' converters make the model's folder of it."""
    outcomes = []
    for form in sorted(forms - {"folder"}):
        problems = store.layout_problems(model, form)
        more = f" and {len(problems) - 1} more" if len(problems) > 1 else ""
        outcomes.append(Outcome(f"{model}/layout-{form}", error=problems[0] + more if problems else ""))
    return outcomes


def finish(job: Job, run: Future[Outcome], store: ModelStore) -> Outcome:
    outcome = run.result()
    judge(outcome, job.case, store, job.output)
    return outcome


def choose_cases(args: argparse.Namespace) -> dict[str, list[ParityCase]]:
    """The cases to run, by model."""
    if args.model is not None:
        pipe = load_pipeline(args.model)
        if takes_text(pipe):
            every = model_cases(*own_size(pipe), is_xl(pipe))
        else:
            every = unconditional_model_cases("", type(pipe).__name__ == "DDIMPipeline")
    else:
        every = parity_cases()
    chosen: dict[str, list[ParityCase]] = {}
    for case in every:
        if re.search(args.filter, case.label):
            chosen.setdefault(case.model, []).append(case)
    return chosen


def main() -> int:
    args = arguments()
    torch.set_num_threads(args.threads)
    cases = choose_cases(args)
    if args.list:
        print("\n".join(case.label for group in cases.values() for case in group))
        return 0
    if not args.sdgen.is_file():
        print(f"parity: {args.sdgen} is not there; build it or name it with --sdgen", file=sys.stderr)
        return 2

    known = Sdgen(args.sdgen.resolve(), args.threads).schedulers()
    left_out = [case.label for group in cases.values() for case in group if case.needs not in {None, *known}]
    cases = {model: [case for case in group if case.label not in left_out] for model, group in cases.items()}
    start = time.monotonic()
    with workplace(args.keep) as work:
        outcomes = compare_models(args, work, cases)
    failures = [outcome for outcome in outcomes if not outcome.passed]
    if args.json is not None:
        save_json(args.json, outcomes)
    if failures:
        print(table(failures))
    largest = max((outcome.maximum for outcome in outcomes if not outcome.error), default=0)
    if left_out:
        print(f"parity: left out, for sdgen does not list their schedulers: {', '.join(left_out)}")
    print(f"parity: largest difference {largest} of 255, {time.monotonic() - start:.0f} s")
    print(f"parity: {len(outcomes) - len(failures)} passed, {len(failures)} failed")
    return 1 if failures or not outcomes else 0


if __name__ == "__main__":
    sys.exit(main())
