"""Trains the embedded model on pictures that it renders itself, and exports it as a diffusers folder.

    python tools/train_default_model.py --out models/default --work build/train --minutes-unet 80

Needs Debian's fonts-noto-color-emoji and unicode-cldr-core and the pinned Python packages (see models/README.md). Uses
CUDA when there is one. Three stages: the autoencoder; text encoder and UNet together; the decoder once more on frozen
latents. Each is resumable: run the same command again and it goes on from the last checkpoint in the work folder, and
does not repeat what is done. A file named STOP in the work folder ends the running stage early. `--only` runs one
stage, so that two of them can run beside each other; `--export-only` exports what there is, also while another process
trains.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import torch

from default_model.autoencoder import normalise_latents, refine_decoder, train_autoencoder
from default_model.concepts import load_concepts
from default_model.diffusion import POOL_START, LatentPool, train_networks
from default_model.export import export
from default_model.fit import FitOptions, save_atomic, worker_count
from default_model.render import Renderer
from default_model.tokens import Tokens, train_tokenizer

STAGES = {"vae": 30.0, "unet": 80.0, "decoder": 20.0}  # and their minutes


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True, help="folder of the exported model")
    parser.add_argument("--work", type=Path, default=Path("build/train"), help="checkpoints and logs")
    for stage, minutes in STAGES.items():
        parser.add_argument(f"--minutes-{stage}", type=float, default=minutes, metavar="N", help=f"default {minutes}")
        parser.add_argument(f"--steps-{stage}", type=int, metavar="N", help="a number of steps in place of minutes")
    parser.add_argument("--only", choices=STAGES, help="do this stage alone; it needs what the stages before it left")
    parser.add_argument("--export-only", action="store_true", help="export the last checkpoints, do no stage")
    parser.add_argument("--seed", type=int, default=0)
    return parser.parse_args()


def fit_options(args: argparse.Namespace, stage: str, **options: float | int) -> FitOptions:
    """The stage's budget: in steps where they are given, else in minutes; nothing where the stage is not to run."""
    if args.export_only or args.only not in (None, stage):
        return FitOptions(minutes=0, **options)
    steps = getattr(args, f"steps_{stage}")
    if steps:
        return FitOptions(steps=steps, **options)
    return FitOptions(minutes=getattr(args, f"minutes_{stage}"), **options)


def prepare_latents(pool: LatentPool, work: Path) -> None:
    """Fills the pool and normalises the autoencoder's latents by it; or reads what an earlier run made."""
    pool_file, autoencoder_file = work / "latents.pt", work / "autoencoder-normal.pt"
    if not autoencoder_file.exists():
        pool.grow(POOL_START)
        start = pool.latents[:POOL_START]
        mean, std = start.mean((0, 2, 3), keepdim=True), start.std((0, 2, 3), keepdim=True)
        normalise_latents(pool.autoencoder, start)
        start.sub_(mean).div_(std)
        save_atomic(pool.autoencoder.state_dict(), autoencoder_file)
        pool.save(pool_file)
    pool.autoencoder.load_state_dict(torch.load(autoencoder_file, weights_only=True))
    if not pool_file.exists():
        pool.grow(POOL_START)
        pool.save(pool_file)
    pool.load(pool_file)


def main() -> None:
    args = arguments()
    args.work.mkdir(parents=True, exist_ok=True)
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    concepts = load_concepts()
    renderer = Renderer(concepts)
    workers = worker_count(device)

    options = fit_options(args, "vae", workers=workers, learning_rate=1.2e-3, warmup_steps=50)
    autoencoder, summary = train_autoencoder(renderer, concepts, options, args.work, device, args.seed)
    print("vae", json.dumps(summary), flush=True)
    if args.only == "vae":
        return

    tokenizer_file = args.work / "spiece.model"
    if not tokenizer_file.exists():
        train_tokenizer(concepts, tokenizer_file)
    pool = LatentPool(renderer, concepts, autoencoder, device, args.seed)
    prepare_latents(pool, args.work)
    print("pictures in the pool:", len(pool.facts), flush=True)

    options = fit_options(args, "unet", workers=workers, learning_rate=1e-3, warmup_steps=100)
    networks, summary = train_networks(pool, Tokens(tokenizer_file), options, args.work)
    print("unet", json.dumps(summary), flush=True)

    options = fit_options(args, "decoder", workers=workers, learning_rate=6e-4, warmup_steps=50, ema=0.99)
    summary = refine_decoder(autoencoder, renderer, concepts, options, args.work, device, args.seed)
    print("decoder", json.dumps(summary), flush=True)
    if args.only is None:
        print(args.out, export(autoencoder, networks, tokenizer_file, args.out), "bytes", flush=True)


if __name__ == "__main__":
    main()
