"""Counts what ctest ran, and fails skips that tests/skips.txt does not allow.

    python3 tests/summary.py RESULTS JUNIT

RESULTS is the folder of GoogleTest's XML files, one for each of ctest's entries (tests/suites.cmake), JUNIT the file of
`ctest --output-junit`. Prints failures and skips, and closes with "N passed, N failed, N skipped". Python alone.
"""

import os
import re
import shutil
import sys
import xml.etree.ElementTree as ElementTree
from pathlib import Path

# Conditions of tests/skips.txt, by the entry of ctest that skipped.
CONDITIONS = {
    "no-gpu": lambda entry: not Path("/proc/driver/nvidia/version").exists(),
    "no-avx512": lambda entry: entry.endswith("-avx2") or "avx512bw" not in Path("/proc/cpuinfo").read_text(),
    "no-vnni": lambda entry: entry.endswith("-avx2") or "avx512_vnni" not in Path("/proc/cpuinfo").read_text(),
    "no-exif-tools": lambda entry: not (shutil.which("exiftool") and shutil.which("exiv2")),
    "not-root": lambda entry: os.geteuid() != 0,
}


def allowed_skips() -> list[tuple[str, re.Pattern[str]]]:
    """(condition, expression) of each line."""
    lines = (line.split() for line in Path(__file__).with_name("skips.txt").read_text().splitlines())
    return [(words[0], re.compile(words[1])) for words in lines if words and words[0] != "#"]


def main() -> int:
    results, junit = Path(sys.argv[1]), Path(sys.argv[2])
    allowed = allowed_skips()
    passed = skipped = 0
    failures: list[str] = []
    for entry in ElementTree.parse(junit).getroot().iter("testcase"):
        name = entry.get("name", "")
        failed = entry.get("status") == "fail"
        file = results / (name.replace("/", "-") + ".xml")
        if not file.exists():  # not GoogleTest's, or it crashed
            passed += not failed
            if failed:
                failures.append(name)
            continue
        before = len(failures)
        for test in ElementTree.parse(file).getroot().iter("testcase"):
            label = f"{test.get('classname')}.{test.get('name')}"
            skip = test.find("skipped")
            if test.find("failure") is not None:
                failures.append(f"{name}: {label}")
            elif skip is None:
                passed += 1
            elif any(CONDITIONS[when](name) and expression.fullmatch(label) for when, expression in allowed):
                skipped += 1
            else:
                why = (skip.get("message") or "").splitlines()[-1:]
                failures.append(f"{name}: {label} was skipped, which tests/skips.txt does not allow here: {why}")
        if failed and len(failures) == before:
            failures.append(f"{name} ended badly")
    for failure in failures:
        print(f"FAILED: {failure}")
    print(f"{passed} passed, {len(failures)} failed" + (f", {skipped} skipped" if skipped else ""))
    return bool(failures)


if __name__ == "__main__":
    sys.exit(main())
