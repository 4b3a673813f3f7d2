"""Adds what Debian gives to an SBOM of the wheels, and names the program itself (scripts/sbom).

    python tools/sbom.py WHEELS.json SDGEN SBOM.json TABLE.md
"""

from __future__ import annotations

import argparse
import json
import re
import subprocess
from pathlib import Path

# Compiled into the program: headers, and fonts. Its shared libraries are found by ldd.
COMPILED_IN = ("libcli11-dev", "nlohmann-json3-dev", "libstb-dev", "libtomlplusplus-dev", "fonts-dejavu-core", "fonts-droid-fallback")
WHEELS = ("torch", "nvidia-cuda-runtime", "nvidia-cuda-cupti", "open_clip_torch")  # of which parts are in or beside the program

# What scripts/setup takes out of source packages (scripts/locks/sources.txt).
SOURCES = [
    {"type": kind, "bom-ref": f"pypi:{package}", "name": name, "version": version, "purl": f"pkg:pypi/{package}@{version}",
     "licenses": [{"license": {"id": licence}} for licence in its_licences]}
    for kind, package, version, name, its_licences in (
        ("library", "sentencepiece", "0.2.1", "sentencepiece, with protobuf-lite, darts-clone and Abseil",
         ("Apache-2.0", "BSD-3-Clause", "BSD-2-Clause")),
        ("data", "stable-diffusion-cpp-python", "0.4.7", "T5's vocabulary, in stable_diffusion_cpp_python", ("Apache-2.0", "MIT")),
    )
]  # fmt: skip


def output(*command: str) -> str:
    return subprocess.run(command, capture_output=True, text=True, check=False).stdout


def shared_libraries(program: Path) -> set[str]:
    """Debian packages of what the program and its core load."""
    packages = set()
    known = output("ldconfig", "-p")
    opened = re.findall(r"(?:libomp\.so\.5|libavif\.so\.\d+|libjxl\.so\.\S+) .*=> (\S+)", known)  # when they are needed
    loaded = output("ldd", str(program), str(program.parent / "libsdgen_core.so"), *opened)
    for path in [*re.findall(r"=> (/\S+) \(", loaded), *opened]:
        for place in (path, str(Path(path).resolve()), path.removeprefix("/lib/") and f"/usr{path}", path.removeprefix("/usr")):
            if found := output("dpkg-query", "--search", place):
                packages.add(found.split(":")[0])
                break
    return packages


def licences(package: str) -> str:
    """Debian's names for them, from the machine-readable copyright file; of the files' stanzas, not of the packaging's."""
    path = Path(f"/usr/share/doc/{package}/copyright")
    if not path.is_file():
        return "not said"
    names = []
    for stanza in re.split(r"\n\s*\n", path.read_text(errors="replace")):
        files, licence = re.search(r"^Files:\s*(.*)", stanza, re.M), re.search(r"^License:\s*(\S.*)", stanza, re.M)
        if files and licence and not files[1].startswith("debian/") and licence[1] not in names:
            names.append(licence[1].strip())
    return ", ".join(names[:6]) or f"see {path}"


def debian(package: str) -> dict:
    version, architecture = output("dpkg-query", "--show", "--showformat=${Version} ${Architecture}", package).split()
    return {
        "type": "library",
        "bom-ref": f"deb:{package}",
        "name": package,
        "version": version,
        "purl": f"pkg:deb/debian/{package}@{version.replace('+', '%2B')}?arch={architecture}",
        "licenses": [{"license": {"name": licences(package)}}],
    }


def licence_of(component: dict) -> str:
    names = []
    for entry in component.get("licenses", []):
        licence = entry.get("license", {})
        names.append(entry.get("expression") or licence.get("id") or licence.get("name", "").split("\n")[0][:60])
    return ", ".join(dict.fromkeys(name for name in names if name)) or "not said"


def same(name: str) -> str:
    return name.lower().replace("_", "-")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("wheels", type=Path, help="the SBOM of the wheels (JSON)")
    parser.add_argument("program", type=Path, help="the sdgen that is built")
    parser.add_argument("target", type=Path, help="the whole SBOM (JSON)")
    parser.add_argument("table", type=Path, help="what is in or beside the program (Markdown)")
    args = parser.parse_args()
    program = args.program
    bom = json.loads(args.wheels.read_text())
    packages = [*SOURCES, *(debian(name) for name in sorted({*COMPILED_IN, *shared_libraries(program)}))]
    inside = [c for c in bom["components"] if same(c["name"]) in map(same, WHEELS)] + packages
    bom["components"] += packages
    version = output(str(program), "--version").split("\n")[0].removeprefix("sdgen ")
    root = {"type": "application", "bom-ref": "sdgen", "name": "sdgen", "version": version, "licenses": [{"license": {"id": "MIT"}}]}
    bom["metadata"]["component"] = root
    bom["dependencies"] = [d for d in bom.get("dependencies", []) if d["ref"] != "root-component"]
    bom["dependencies"].append({"ref": "sdgen", "dependsOn": [component["bom-ref"] for component in inside]})
    bom["dependencies"] += [{"ref": component["bom-ref"]} for component in packages]
    args.target.write_text(json.dumps(bom, indent=1) + "\n")
    rows = ["| component | version | licence |", "|---|---|---|"]
    rows += [f"| {c['name']} | {c['version']} | {licence_of(c)} |" for c in inside]
    args.table.write_text("\n".join(rows) + "\n")


if __name__ == "__main__":
    main()
