"""Writes scripts/locks/*.txt: every wheel that scripts/setup installs, with its version and SHA-256.

    python tools/pin_wheels.py [SET...]

pip is asked what it would install (a dry run: it reads PyPI's metadata and installs nothing), on Linux x86-64 and Python
3.11, 3.12 and 3.13. setup then installs with --require-hashes, so that no other file than these can come. The licences in
the comments are what the packages say of themselves.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from pathlib import Path

SCRIPTS = Path(__file__).parents[1] / "scripts"
PYTHONS = ("3.11", "3.12", "3.13")
PLATFORMS = (*(f"manylinux_2_{minor}_x86_64" for minor in range(28, 4, -1)), "manylinux2014_x86_64", "manylinux2010_x86_64",
             "manylinux1_x86_64", "linux_x86_64")  # fmt: skip
ALONE = "--no-deps"
PARITY = str(SCRIPTS / "requirements-parity.txt")
TORCH = "torch==2.11.0"

# What scripts/setup installs, as pip's words.
SETS = {
    # libtorch_cpu.so itself links two of CUDA's libraries.
    "build": [ALONE, TORCH, "nvidia-cuda-runtime==13.0.96", "nvidia-cuda-cupti==13.0.85"],
    "cuda": [ALONE, "nvidia-cuda-nvcc==13.0.88", "nvidia-cuda-crt==13.0.88", "nvidia-nvvm==13.0.88",
             "nvidia-cuda-cccl==13.0.85"],  # the compiler, of libtorch's CUDA
    "vocabulary": [ALONE, "open_clip_torch==3.3.0"],
    "test": [ALONE, "clang-format==14.0.6", "ruff==0.17.6"],
    "parity": [ALONE, "-r", PARITY],
    "train": ["--constraint", PARITY, "matplotlib==3.11.2"],
    # beside what "parity" has: tools/bench_openvino.py
    "openvino": [ALONE, "openvino==2026.4.1", "nncf==3.4.0", "openvino-telemetry==2025.2.0", "cloudpickle==3.1.3", "joblib==1.6.0",
                 "narwhals==2.29.0", "ninja==1.13.2", "pydot==4.0.1", "scikit-learn==1.9.1", "tabulate==0.10.0",
                 "threadpoolctl==3.8.0"],
    "wheel": ["scikit-build-core==1.1.2", "wheel==0.48.0", "setuptools==80.9.0"],  # setuptools: scripts/setup's source packages
    "sbom": ["cyclonedx-bom==7.5.0"],
}


def licence(metadata: dict) -> str:
    """One line; some packages put the whole text where its name belongs."""
    named = [c.split(" :: ")[-1] for c in metadata.get("classifier", []) if c.startswith("License :: ") and "::" in c[11:]]
    said = metadata.get("license_expression") or metadata.get("license") or ""
    if len(said) > 60 or "\n" in said or not said:
        said = ", ".join(named) or said.strip().split("\n")[0][:60] or "not said"
    return said


def report(words: list[str], python: str, folder: Path) -> list[dict]:
    out = folder / "report.json"
    command = [sys.executable, "-m", "pip", "install", "--disable-pip-version-check", "--quiet", "--dry-run", "--ignore-installed",
               "--report", out, "--target", folder / "none", "--only-binary", ":all:", "--implementation", "cp", "--python-version", python]
    command += [word for platform in PLATFORMS for word in ("--platform", platform)]
    subprocess.run([*map(str, command), *words], check=True)
    return json.loads(out.read_text())["install"]


def main() -> None:
    (SCRIPTS / "locks").mkdir(exist_ok=True)
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("sets", nargs="*", metavar="SET", help=f"of {', '.join(SETS)}; default: all")
    chosen = parser.parse_args().sets or [*SETS]
    if unknown := set(chosen) - set(SETS):
        parser.error(f"no such set: {', '.join(sorted(unknown))}")
    for name in chosen:
        hashes: dict[str, set[str]] = {}
        pythons: dict[str, list[str]] = {}
        licences: dict[str, str] = {}
        for python in PYTHONS:
            with tempfile.TemporaryDirectory() as folder:
                for wheel in report(SETS[name], python, Path(folder)):
                    metadata = wheel["metadata"]
                    package = f"{metadata['name']}=={metadata['version']}"
                    hashes.setdefault(package, set()).add(wheel["download_info"]["archive_info"]["hashes"]["sha256"])
                    pythons.setdefault(package, []).append(python)
                    licences[package] = licence(metadata)
        lines = ["# Written by tools/pin_wheels.py."]
        for package in sorted(hashes, key=str.lower):
            lines.append(f"# {licences[package]}")
            if len(pythons[package]) < len(PYTHONS):  # another version for the others, or none
                marker = " or ".join(f'python_version == "{python}"' for python in pythons[package])
                start = f"{package} ; {marker}"
            else:
                start = package
            lines.append(" \\\n".join([start, *(f"    --hash=sha256:{h}" for h in sorted(hashes[package]))]))
        (SCRIPTS / "locks" / f"{name}.txt").write_text("\n".join(lines) + "\n")
        print(f"{name}: {len(hashes)} packages, {sum(map(len, hashes.values()))} wheels")


if __name__ == "__main__":
    main()
