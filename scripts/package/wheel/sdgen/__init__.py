"""The program sdgen as a wheel: `sdgen` on the path becomes bin/sdgen of this folder."""

import os
import sys
from importlib.util import find_spec
from pathlib import Path

HERE = Path(__file__).resolve().parent


def main() -> None:
    # The program looks for libtorch in torch/ beside this folder. It may be elsewhere: one of the two in a user's folder.
    if not (HERE.parent / "torch/lib/libtorch_cpu.so").exists():
        torch = find_spec("torch")
        if torch is None or torch.origin is None:
            sys.exit("sdgen: the package torch is not installed: pip install torch==2.11.0")
        known = [os.environ["LD_LIBRARY_PATH"]] if os.environ.get("LD_LIBRARY_PATH") else []
        os.environ["LD_LIBRARY_PATH"] = ":".join([str(Path(torch.origin).parent / "lib"), *known])
    os.execv(HERE / "bin/sdgen", ["sdgen", *sys.argv[1:]])
