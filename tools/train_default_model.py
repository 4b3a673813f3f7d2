"""Trains the embedded model on pictures that it renders itself, and exports it as a diffusers folder.

    python tools/train_default_model.py --out models/default --work build/train --minutes-unet 80

Needs what `scripts/setup --train` installs, and a C++ compiler on a CPU. Uses CUDA when there is one, bfloat16 on both.
Four stages: the autoencoder; the text encoder alone, which learns names; text encoder and UNet together; the decoder once more
on frozen latents. Each is resumable: run the same command again and it goes on from the last checkpoint in the work folder,
and does not repeat what is done. A file named STOP in the work folder ends the running stage early. `--only` runs one stage;
`--export-only` exports what there is, also while another process trains the UNet. `--start FOLDER` begins each stage with the
weights of an exported model instead of random ones (`--start models/default --rate 0.4 --minutes-vae 0 --minutes-names 0 --minutes-unet
0 --minutes-decoder 6` trains its decoder alone). Logs are CSV files in the work folder; `--plot FILE` draws them.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import sys
from functools import partial
from pathlib import Path

import numpy as np
import torch

from default_model.autoencoder import normalise_latents, refine_decoder, train_autoencoder
from default_model.concepts import load_concepts
from default_model.diffusion import SHARES, LatentPool, Networks, train_networks
from default_model.export import draw, export, load_parameters, practise
from default_model.fit import FitOptions, save_atomic
from default_model.grade import Case, Judge, grade_small
from default_model.known_words import known_words, write_known_words
from default_model.plot import plot
from default_model.render import Renderer
from default_model.scenes import PICTURE
from default_model.tokens import Tokens, train_tokenizer

MALLOC = {"mmap_max": 0, "trim_threshold": 1 << 34}
GRADED = 16  # every n-th thing is graded at a checkpoint
NORMALISED_BY = 2016  # pictures whose latents' mean and deviation become 0 and 1
# And their minutes. The decoder's second training makes pictures more like the glyphs, and the autoencoder worse: none unless asked.
STAGES = {"vae": 60.0, "names": 3.0, "unet": 110.0, "decoder": 0.0}


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True, help="folder of the exported model")
    parser.add_argument("--work", type=Path, default=Path("build/train"), help="checkpoints and logs")
    for stage, minutes in STAGES.items():
        parser.add_argument(f"--minutes-{stage}", type=float, default=minutes, metavar="N", help=f"default {minutes}")
        parser.add_argument(f"--steps-{stage}", type=int, metavar="N", help="a number of steps in place of minutes")
    parser.add_argument("--only", choices=STAGES, help="do this stage alone; it needs what the stages before it left")
    parser.add_argument("--export-only", action="store_true", help="export the last checkpoints, do no stage")
    parser.add_argument("--start", type=Path, metavar="FOLDER", help="an exported model to begin with")
    parser.add_argument("--rate", type=float, default=1.0, metavar="F", help="factor of all learning rates; with --start 0.4 or so")
    parser.add_argument("--plot", type=Path, metavar="PNG", help="draw the logs")
    parser.add_argument("--seed", type=int, default=0)
    return parser.parse_args()


def fit_options(args: argparse.Namespace, stage: str, **options: float | int) -> FitOptions:
    """The stage's budget: in steps where they are given, else in minutes; nothing where the stage is not to run."""
    options["learning_rate"] *= args.rate
    if args.export_only or args.only not in (None, stage):
        return FitOptions(minutes=0, **options)
    steps = getattr(args, f"steps_{stage}")
    if steps is not None:
        return FitOptions(steps=steps, **options)
    return FitOptions(minutes=getattr(args, f"minutes_{stage}"), **options)


def normalise(pool: LatentPool, work: Path) -> None:
    """Normalises a trained autoencoder's latents over the first pictures of the pool; or reads what an earlier run made."""
    path = work / "autoencoder-normal.pt"
    if not path.exists():
        batches = [range(start, start + 48) for start in range(0, NORMALISED_BY, 48)]
        latents = [pool.encode([pool.scene(index) for index in batch]) for batch in batches]
        normalise_latents(pool.autoencoder, torch.cat(latents))
        save_atomic(pool.autoencoder.state_dict(), path)
    pool.autoencoder.load_state_dict(torch.load(path, weights_only=True))


def keep_memory() -> None:
    """Starts the program again with an allocator that keeps what large activations leave: faulting it in afresh for every
    operator takes a third of a step on a CPU. glibc reads its tunables at the start alone."""
    if "GLIBC_TUNABLES" not in os.environ:
        os.environ["GLIBC_TUNABLES"] = ":".join(f"glibc.malloc.{key}={value}" for key, value in MALLOC.items())
        os.execv(sys.executable, [sys.executable, *sys.orig_argv[1:]])


def main() -> None:
    args = arguments()
    keep_memory()
    args.work.mkdir(parents=True, exist_ok=True)
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    concepts = load_concepts()
    renderer = Renderer(concepts)

    options = fit_options(args, "vae", learning_rate=2.5e-3, warmup_steps=50)
    start = load_parameters(args.start) if args.start else {}
    autoencoder, summary = train_autoencoder(renderer, options, args.work, device, args.seed, start.get("vae"))
    print("vae", json.dumps(summary), flush=True)
    if args.only == "vae":
        return
    if not summary["done"] and (summary["steps"] or not args.start):
        raise SystemExit("the autoencoder is not trained yet, and all else depends on it")

    tokenizer_file = args.work / "spiece.model"
    if not tokenizer_file.exists():
        if args.start:
            shutil.copy(args.start / "tokenizer" / "spiece.model", tokenizer_file)
        else:
            train_tokenizer(concepts, tokenizer_file)
    tokens = Tokens(tokenizer_file)
    pools = {size: LatentPool(renderer, concepts, autoencoder, device, args.seed, args.work, size) for size in SHARES}
    if summary["steps"]:  # else it is the one to start with, whose latents are normal
        normalise(pools[PICTURE], args.work)
    judge = Judge(renderer)

    def grade(networks: Networks) -> dict[str, float]:
        return grade_small(concepts, judge, lambda *asked: draw(autoencoder, networks, tokens, *asked), GRADED)

    options = fit_options(args, "unet", learning_rate=2e-3, warmup_steps=100, ema=0.999, checkpoint_s=400)
    naming = fit_options(args, "names", learning_rate=2e-3, warmup_steps=50, ema=0.99)
    networks, summary = train_networks(pools, tokens, device, args.seed, naming, options, args.work, grade, start.get("networks"))
    print("unet", json.dumps(summary), flush=True)
    if not (summary["steps"] or args.start or args.only):
        raise SystemExit("text encoder and UNet are not trained yet")

    options = fit_options(args, "decoder", learning_rate=1.5e-3, warmup_steps=50, ema=0.995)
    drawn = partial(practise, networks, tokens, concepts)
    summary = refine_decoder(autoencoder, drawn, renderer, options, args.work, device, args.seed)
    print("decoder", json.dumps(summary), flush=True)
    if args.plot:
        plot(args.work, args.plot)
    if args.only is None:
        print(args.out, export(autoencoder, networks, tokenizer_file, args.out), "bytes", flush=True)

        def drawn_cases(todo: list[Case]) -> list[np.ndarray]:
            return list(draw(autoencoder, networks, tokens, [case.prompt for case in todo], [case.seed for case in todo]))

        write_known_words(args.out, known_words(concepts, judge, drawn_cases))


if __name__ == "__main__":
    main()
