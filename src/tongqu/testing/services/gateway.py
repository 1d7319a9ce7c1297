"""A running `tongqu serve` of a project folder, on a random loopback port."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from threading import Event
from types import TracebackType
from typing import Any, Self

from tongqu.testing.command_line import environment

START_SECONDS = 60.0


@dataclass(frozen=True)
class Answered:
    """An HTTP answer; header names are lower-case."""

    status: int
    headers: Mapping[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        """The body as JSON."""
        return json.loads(self.body)


class Gateway:
    """`with Gateway(folder) as gateway: gateway.url` serves a project's files (`files`), or its applied version. Its
    home is that of `command_line.tongqu(folder, …)`, by which clients are added and versions applied.

    `told` is what it printed when it was up. `ask` calls it; `stop` ends it in order and gives its exit code; `errors`
    is what it said on stderr so far.
    """

    def __init__(
        self,
        folder: Path,
        *arguments: str,
        files: bool = True,
        environ: Mapping[str, str] | None = None,
    ):
        flags = ["--files"] if files else []
        self._command = [sys.executable, "-m", "tongqu", "serve", "--project", str(folder), "--port", "0", "--json"]
        self._command += [*flags, *arguments]
        self._environ = environment(folder, **(environ or {}))
        self.home = Path(self._environ["TONGQU_HOME"])
        self._log = folder / f"serve-{os.getpid()}-{id(self)}.log"
        self._process: subprocess.Popen[bytes]
        self.told: dict[str, Any] = {}
        self.url = ""

    @property
    def pid(self) -> int:
        """Its process."""
        return self._process.pid

    @property
    def errors(self) -> str:
        """What it said on stderr so far."""
        return self._log.read_text(encoding="utf-8", errors="replace")

    def __enter__(self) -> Self:
        with self._log.open("wb") as log:
            self._process = subprocess.Popen(self._command, stdout=subprocess.PIPE, stderr=log, env=self._environ)
        try:
            self.told = self._read()
        except BaseException:
            self._process.kill()
            self._process.wait()
            raise
        self.url = self.told["url"]
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.stop()

    def stop(self, how: signal.Signals = signal.SIGTERM, seconds: float = 30.0) -> int:
        """End it; may be called twice."""
        if self._process.poll() is None:
            self._process.send_signal(how)
        try:
            return self._process.wait(seconds)
        except subprocess.TimeoutExpired:
            self._process.kill()
            return self._process.wait()
        finally:
            if self._process.stdout is not None:
                self._process.stdout.close()

    def ask(
        self, path: str, method: str = "GET", body: Any = None, headers: Sequence[tuple[str, str]] = ()
    ) -> Answered:
        """One call; `body` is bytes or becomes JSON. Refusals are answers too."""
        data = body if body is None or isinstance(body, bytes) else json.dumps(body).encode()
        given = dict(headers)
        if data is not None and "content-type" not in {name.lower() for name in given}:
            given["content-type"] = "application/json"
        request = urllib.request.Request(self.url + path, data, given, method=method)  # noqa: S310  # our own address
        try:
            with urllib.request.urlopen(request, timeout=30) as answer:  # noqa: S310
                return _answered(answer)
        except urllib.error.HTTPError as refusal:
            with refusal:
                return _answered(refusal)

    def until(self, wanted: Any, path: str = "/readyz", seconds: float = 10.0) -> Answered:
        """The first answer for which `wanted(answer)` holds; raises TimeoutError."""
        deadline = time.monotonic() + seconds
        pause = Event()
        while not pause.wait(0.05):
            answer = self.ask(path)
            if wanted(answer):
                return answer
            if time.monotonic() > deadline:
                raise TimeoutError(f"{path} did not become so: {answer.status} {answer.body[:500]!r}\n{self.errors}")
        raise AssertionError("nobody sets it")

    def _read(self) -> dict[str, Any]:
        """The document it prints when it is up."""
        assert self._process.stdout is not None  # it is a pipe
        text = b""
        deadline = time.monotonic() + START_SECONDS
        while line := self._process.stdout.readline():
            text += line
            if line.rstrip() == b"}":
                found: dict[str, Any] = json.loads(text)
                if "url" in found:
                    return found
            if time.monotonic() > deadline:
                break
        raise RuntimeError(f"tongqu serve did not come up: {text.decode()}\n{self.errors}")


def _answered(answer: Any) -> Answered:
    return Answered(answer.status, {name.lower(): value for name, value in answer.headers.items()}, answer.read())
