"""What the processes of tools/bench.py's contestants have in common."""

from __future__ import annotations

import json
import sys
from typing import Any


def serve(rival: Any) -> None:
    """Says what loading took, then answers each line of stdin, a method's name and whole numbers, with a line of JSON."""
    print(json.dumps({"load": rival.load}), flush=True)
    for line in sys.stdin:
        what, *numbers = line.split()
        print(json.dumps(getattr(rival, what)(*map(int, numbers))), flush=True)
