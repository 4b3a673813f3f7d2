#!/usr/bin/env python3
"""Checks that nothing which the program loads defines a name that libtorch defines for itself.

    python tools/exported_names.py build/sdgen build/libsdgen.so ...

The loader gives a process one object for a name, whatever two libraries mean by it. Debian's libsentencepiece and libc10 both
have FLAGS_minloglevel, of 32 bytes and of 4: the constructor of the first wrote over the flags that lie behind the second, and
errors of libtorch ended the program. Reads the dynamic symbols of the files and of all libraries that they load. Weak ones are
meant to be shared: C++'s inline functions.
"""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

TORCH = re.compile(r"lib(c10|torch)\w*\.so")
RUN_TIME = re.compile(r"libstdc\+\+\.so")  # of C++: libtorch has parts of it inside


def output(*command: str) -> str:
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout


def defined(library: Path) -> set[str]:
    lines = (line.split() for line in output("nm", "--dynamic", "--defined-only", str(library)).splitlines())
    return {name.split("@")[0] for _, kind, name in (line for line in lines if len(line) == 3) if kind in "TDBRG"}


def main() -> int:
    if len(sys.argv) < 2:
        print(__doc__)
        return 2
    files = {Path(name).resolve() for name in sys.argv[1:]}
    for file in list(files):
        files |= {Path(path).resolve() for path in re.findall(r"=> (/\S+) \(", output("ldd", str(file)))}
    torch = {file: defined(file) for file in sorted(files) if TORCH.match(file.name)}
    others = {file: defined(file) for file in sorted(files) if file not in torch and not RUN_TIME.match(file.name)}
    if not torch or sum(map(len, torch.values())) < 1000:
        print(f"names: {len(torch)} libraries of libtorch were found among {len(files)}")
        return 1
    shared = [(name, file, its) for its, names in torch.items() for file, own in others.items() for name in sorted(names & own)]
    for name, file, its in shared:
        print(f"{name} is defined by {file} and by {its}: a process has one of it")
    print(f"names: {sum(map(len, others.values()))} of {len(others)} files, {len(shared)} of them are libtorch's as well")
    return 1 if shared else 0


if __name__ == "__main__":
    sys.exit(main())
