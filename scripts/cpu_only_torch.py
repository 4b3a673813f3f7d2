"""Lets the CUDA build of torch start without CUDA's libraries (3 GB), for work on the CPU.

scripts/setup puts this into site-packages with a .pth line that imports it whenever Python starts. libtorch_python.so
links ten CUDA libraries. The dynamic linker takes a library that is loaded under the wanted name already, so empty ones
will do, as long as functions are looked up when they are first called rather than when torch is loaded.
A call into CUDA then ends the process with "symbol lookup error"; torch makes none while no NVIDIA driver is found.
"""

import ctypes
import os
import sys
from pathlib import Path

sys.setdlopenflags(os.RTLD_LAZY)
for stub in Path(sys.prefix, "lib", "cuda-stubs").iterdir():
    ctypes.CDLL(str(stub))
