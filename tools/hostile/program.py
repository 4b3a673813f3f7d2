"""Runs of the program in forks of one process that has loaded its libraries (tests/preload/fork_server.cpp): a few
milliseconds each instead of half a second."""

from __future__ import annotations

import os
import resource
import struct
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

_REQUESTS, _RESULTS = 198, 199  # descriptors


@dataclass(frozen=True)
class Outcome:
    """How a run ended."""

    code: int  # exit code; negative: the signal
    out: bytes
    err: str
    peak: int  # bytes
    cpu: float  # seconds
    timed_out: bool


class Program:
    """One server, one run at a time. `preload` goes into LD_PRELOAD after the server, `limits` are resource limits."""

    def __init__(
        self,
        sdgen: Path,
        server: Path,
        logs: Path,
        environment: Mapping[str, str] | None = None,
        preload: Sequence[Path] = (),
        limits: Mapping[int, int] | None = None,
    ) -> None:
        logs.mkdir(parents=True, exist_ok=True)
        self._out, self._err = logs / "stdout", logs / "stderr"
        request, self._requests = os.pipe()
        self._results, result = os.pipe()
        limits = {resource.RLIMIT_CORE: 0, **(limits or {})}

        def prepare() -> None:
            request_copy, result_copy = os.dup(request), os.dup(result)
            os.dup2(request_copy, _REQUESTS)
            os.dup2(result_copy, _RESULTS)
            os.closerange(3, _REQUESTS)
            for kind, most in limits.items():
                resource.setrlimit(kind, (most, most))

        self._process = subprocess.Popen(
            [sdgen],
            env={
                **{k: v for k, v in os.environ.items() if not k.startswith("SDGEN_")},
                "OMP_NUM_THREADS": "1",
                **(environment or {}),
                "SDGEN_FORK_SERVER": "1",
                "LD_PRELOAD": ":".join(map(str, [server, *preload])),
            },
            preexec_fn=prepare,
            close_fds=False,
            stdin=subprocess.DEVNULL,
        )
        os.close(request)
        os.close(result)

    def run(self, words: Sequence[str | bytes], folder: Path, environment: Mapping[str, str] | None = None) -> Outcome:
        """`words` after the program's name; `environment` on top of the server's."""
        changes = [f"{name}={value}" for name, value in (environment or {}).items()]
        fields = [str(len(changes)), *changes, str(folder), str(self._out), str(self._err), "sdgen", *words]
        text = b"".join((field if isinstance(field, bytes) else os.fsencode(field)) + b"\0" for field in fields)
        request = memoryview(struct.pack("<I", len(text)) + text)
        while request:
            request = request[os.write(self._requests, request) :]
        answer = os.read(self._results, 32)
        if len(answer) != 32:
            raise RuntimeError("the fork server has ended")
        status, kilobytes, microseconds, timed_out = struct.unpack("<4q", answer)
        return Outcome(
            os.waitstatus_to_exitcode(status),
            self._out.read_bytes(),
            self._err.read_text(errors="backslashreplace"),
            kilobytes * 1024,
            microseconds / 1e6,
            bool(timed_out),
        )

    def close(self) -> None:
        os.close(self._requests)
        os.close(self._results)
        self._process.wait()
