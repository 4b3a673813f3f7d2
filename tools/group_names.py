#!/usr/bin/env python3
"""Checks that files which are compiled as one (CMakeLists.txt, "Groups of files") mean by a name what they mean alone.

    python tools/group_names.py build

In a group, a file sees the anonymous namespaces of those before it: a constant or a function there would be taken, without
a word, for one of the same name in a header. So a name in an anonymous namespace must be in no other of its group, and in
no header with the same or an outer namespace; functions may share a name where no call could mean both, by the number of
their arguments. Reads the lines as clang-format leaves them: declarations begin in the first column.
"""

from __future__ import annotations

import json
import re
import sys
from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path

SOURCES = Path(__file__).resolve().parent.parent
ANYTHING = range(10**6)  # what is no function clashes with every number of arguments


@dataclass(frozen=True)
class Name:
    name: str
    space: str  # "sdgen::cli"
    hidden: bool  # in an anonymous namespace
    where: str
    arguments: range  # how many a call may have


def without_templates(text: str) -> str:
    """`text` without what is in <>."""
    while (shorter := re.sub(r"<[^<>()]*(\([^()]*\))?[^<>()]*>", "", text)) != text:
        text = shorter
    return text


def argument_range(text: str) -> range:
    """Of the parameters after the first "(" of `text`."""
    depth, parameters, current = 0, [], ""
    for c in text[text.index("(") :]:
        depth += (c in "([{") - (c in ")]}")
        if depth == 0:
            break
        if c == "," and depth == 1:
            parameters.append(current)
            current = ""
        else:
            current += c
    parameters.append(current.lstrip("("))
    parameters = [p for p in parameters if p.strip()]
    if any("..." in p for p in parameters):
        return ANYTHING
    return range(sum("=" not in p for p in parameters), len(parameters) + 1)


def names_of(path: Path) -> list[Name]:
    found: list[Name] = []
    spaces: list[str] = []
    lines = path.read_text().splitlines()
    for i, line in enumerate(lines):
        if opened := re.match(r"(?:inline )?namespace ?([\w:]*) ?\{$", line):
            spaces.append(opened[1])
        elif line.startswith("}  // namespace"):
            spaces.pop()
        elif spaces and re.match(r"[A-Za-z_\[]", line) and not line.startswith(("template", "namespace", "public:", "extern")):
            statement = line
            for more in lines[i + 1 : i + 8]:
                if statement.endswith((";", "{", "}")):
                    break
                statement += " " + more.strip()
            head = without_templates(re.sub(r"\[\[\w+\]\] |alignas\(\w+\) ", "", statement))
            space = "::".join(s for s in spaces if s)
            where = f"{path.relative_to(SOURCES)}:{i + 1}"

            def add(name: str, arguments: range, space: str = space, where: str = where) -> None:
                found.append(Name(name, space, "" in spaces, where, arguments))

            if kind := re.match(r"(?:struct|class|enum(?: class)?|union) (\w+)(?! *;)(?:[ :{]|$)", head):
                add(kind[1], ANYTHING)
            elif alias := re.match(r"using (\w+) =", head):
                add(alias[1], ANYTHING)
            elif head.startswith(("using", "friend", "static_assert")):
                continue
            elif function := re.match(r"[^={(]*?([\w:]+)\(", head):
                if "::" not in function[1]:  # else it is declared elsewhere
                    add(function[1], argument_range(head[function.start(1) :]))
            else:
                for variable in re.findall(r"(\w+)(?:\[[^\]]*\])?(?= ?[={;])", head.split("//")[0])[:1]:
                    add(variable, ANYTHING)
    return found


def clash(a: Name, b: Name) -> bool:
    return max(a.arguments.start, b.arguments.start) < min(a.arguments.stop, b.arguments.stop)


def main() -> int:
    if len(sys.argv) != 2:
        print(__doc__)
        return 2
    # Not what is in the folder: groups of an earlier layout stay there.
    commands = json.loads((Path(sys.argv[1]) / "compile_commands.json").read_text())
    groups = sorted({Path(command["file"]) for command in commands if "/Unity/unity_" in command["file"]})
    public = defaultdict(list)
    for header in sorted(SOURCES.glob("src/**/*.h")) + sorted(SOURCES.glob("include/**/*.h")):
        for name in names_of(header):
            public[name.name].append(name)
    clashes, hidden = [], 0
    for group in groups:
        files = [Path(path) for path in re.findall(r'#include "([^"]+)"', group.read_text())]
        seen = defaultdict(list)
        for file in files:
            own = [name for name in names_of(file) if name.hidden]
            hidden += len(own)
            for name in own:
                for other in seen[name.name]:
                    inside = f"{name.space}::".startswith(f"{other.space}::") or f"{other.space}::".startswith(f"{name.space}::")
                    if inside and clash(name, other):
                        clashes.append((name, other))
                for other in public[name.name]:
                    if f"{name.space}::".startswith(f"{other.space}::") and clash(name, other):
                        clashes.append((name, other))
            for name in own:
                seen[name.name].append(name)
    for name, other in clashes:
        print(f"{name.where}: '{name.name}' is also in {other.where}: give one of them another name")
    print(f"groups: {len(groups)}, with {hidden} names in anonymous namespaces, {len(clashes)} of them twice")
    return 1 if clashes or (groups and not hidden) else 0


if __name__ == "__main__":
    sys.exit(main())
