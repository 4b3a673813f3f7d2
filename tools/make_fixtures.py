"""Writes tests/fixtures: what diffusers and transformers answer on tiny random models and toy networks.

    python tools/make_fixtures.py [--only tiny-sd tiny-ddpm layers gradients schedulers pictures images repaint encodings quantization encoders] [--missing] [--out tests/fixtures]

Needs the pinned Python reference (scripts/setup --parity). The C++ tests read the files and need no Python. The same
versions on the same kind of machine write the same bytes; tests/fixtures/README.md says what each file holds.
"""

from __future__ import annotations

import argparse
import shutil
from pathlib import Path

import torch

from reference.encoder_fixtures import write_encoder_fixtures
from reference.encoding_fixtures import write_encoding_fixtures
from reference.gradient_fixtures import write_gradient_fixtures
from reference.image_fixtures import write_image_fixtures
from reference.layer_fixtures import write_layer_fixtures
from reference.picture_fixtures import UNCONDITIONAL_PICTURES, write_picture_fixtures
from reference.quantization_fixtures import write_quantization_fixtures
from reference.repaint_fixtures import write_repaint_fixtures
from reference.scheduler_fixtures import write_scheduler_fixtures
from reference.tiny import ModelSpec, build_model
from reference.unconditional import TINY_DDPM

PARTS = ("tiny-sd", "tiny-ddpm", "layers", "gradients", "schedulers", "pictures", "images", "repaint", "encodings", "quantization", "encoders")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=Path(__file__).parents[1] / "tests" / "fixtures")
    parser.add_argument("--only", nargs="+", choices=PARTS, default=PARTS)
    parser.add_argument("--missing", action="store_true", help="of the layers, only those that have no file yet")
    args = parser.parse_args()
    torch.set_num_threads(1)

    if "tiny-sd" in args.only:
        shutil.rmtree(args.out / "tiny-sd", ignore_errors=True)
        build_model(args.out / "tiny-sd", ModelSpec("tiny-sd"))
    if "tiny-ddpm" in args.only:
        shutil.rmtree(args.out / "tiny-ddpm", ignore_errors=True)
        TINY_DDPM.build(args.out / "tiny-ddpm")
    if "layers" in args.only:
        if not args.missing:
            shutil.rmtree(args.out / "layers", ignore_errors=True)
        write_layer_fixtures(args.out / "layers", missing=args.missing)
    if "gradients" in args.only:
        write_gradient_fixtures(args.out / "layers", args.out / "gradients.safetensors")
    if "schedulers" in args.only:
        write_scheduler_fixtures(args.out / "schedulers.safetensors")
    if "pictures" in args.only:
        write_picture_fixtures(args.out / "tiny-sd", args.out / "pictures.safetensors")
        write_picture_fixtures(args.out / "tiny-ddpm", args.out / "pictures-ddpm.safetensors", UNCONDITIONAL_PICTURES)
    if "images" in args.only:
        write_image_fixtures(args.out / "images")
    if "repaint" in args.only:
        write_repaint_fixtures(args.out / "repaint.safetensors")

    if "encodings" in args.only:
        write_encoding_fixtures(args.out / "encodings.safetensors")
    if "quantization" in args.only:
        write_quantization_fixtures(args.out / "quantization.safetensors")
    if "encoders" in args.only:
        write_encoder_fixtures(args.out / "encoders.safetensors")

    for path in sorted(args.out.iterdir()):
        files = [path] if path.is_file() else [file for file in path.rglob("*") if file.is_file()]
        print(f"{sum(file.stat().st_size for file in files):>9} {path.name}")


if __name__ == "__main__":
    main()
