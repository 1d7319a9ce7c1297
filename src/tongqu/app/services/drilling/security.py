"""Attacks the user's own gateway with the corpora, in its own pace, and says what got through."""

from __future__ import annotations

import hashlib
import json
import socket
import ssl
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any
from urllib.parse import quote, urlsplit

from tongqu.core.errors import AuthError, ConnectError, InvalidSettingsError, NotFoundError, TongquError
from tongqu.gateway.attacks.benign import benign
from tongqu.gateway.attacks.heads import hostile
from tongqu.gateway.attacks.injections import injections
from tongqu.kit.egress.dial import Egress

if TYPE_CHECKING:
    from tongqu.app.wire import Wire

SECONDS = 10.0
TREND = 20
_MOST = 1 << 20
_PATIENCE = 30


@dataclass(frozen=True)
class Target:
    """A running gateway and one of its APIs that can be read: `path` is `/api/v1/NAME`."""

    url: str
    path: str
    token: str = ""
    field: str = ""
    """A text field to filter by (default: the first one of a row)."""


@dataclass
class Tally:
    """What became of one family of requests. `stopped`: refused for another reason than being an attack (grammar,
    type, unknown field, limit). `passed` are the names of those that were answered, `broke` of those that broke it."""

    family: str
    sent: int = 0
    refused: int = 0
    stopped: int = 0
    passed: list[str] = field(default_factory=list)
    broke: list[str] = field(default_factory=list)

    def document(self) -> dict[str, Any]:
        """As it stands in the report."""
        return {
            "family": self.family, "sent": self.sent, "refused": self.refused, "stopped": self.stopped,
            "passed": len(self.passed), "broke": len(self.broke), "examples": [*self.passed, *self.broke][:10],
        }  # fmt: skip


class Drilling:
    """Runs security drills. `wait` passes seconds; True means stop. `at` is the instant as text."""

    def __init__(self, at: Callable[[], str], wait: Callable[[float], bool], egress: Egress | None = None):
        self._at = at
        self._wait = wait
        self._egress = egress or Egress()

    def run(
        self, target: Target, past: Sequence[Mapping[str, Any]], *, most: int = 1000, ca_file: str = ""
    ) -> dict[str, Any]:
        """The report of at most `most` injections and as many harmless texts, and of all hostile requests. `past` are
        earlier reports of the target. Raises InvalidSettingsError, ConnectError, AuthError, NotFoundError before
        anything hostile is sent."""
        line = _Line(target, self._egress, self._wait, ca_file)
        config = line.begin()
        tallies = [*self._inject(line, most), *self._attack(line)]
        calm, false = self._be_harmless(line, most)
        passed = sum(len(tally.passed) for tally in tallies)
        broke = sum(len(tally.broke) for tally in [*tallies, calm])
        summary = {
            "at": self._at(), "url": target.url, "api": target.path, "field": line.field, "config": config,
            "sent": sum(tally.sent for tally in tallies), "passed": passed, "broke": broke,
            "harmless": calm.sent, "harmless_refused": len(false),
            "ok": passed == 0 and broke == 0 and len(false) * 1000 <= calm.sent and line.alive(),
        }  # fmt: skip
        document = {**summary, "families": [tally.document() for tally in tallies], "refused_texts": false[:20]}
        document["trend"] = [
            {name: one.get(name) for name in ("at", "sent", "passed", "broke", "harmless_refused")}
            for one in [*past[-TREND + 1 :], summary]
        ]
        text = json.dumps(document, ensure_ascii=False, sort_keys=True)
        return {**document, "digest": hashlib.sha256(text.encode()).hexdigest()}

    def _inject(self, line: _Line, most: int) -> Iterator[Tally]:
        corpus = list(injections())
        step = max(1, len(corpus) // max(1, most))
        tallies: dict[str, Tally] = {}
        for one in corpus[::step][:most]:
            tally = tallies.setdefault(one.family, Tally(f"injection: {one.family}"))
            status, body = line.ask(one.text)
            _count(tally, f"{one.disguise}: {one.text[:80]}", status, b"shield.refused" in body)
        yield from tallies.values()

    def _attack(self, line: _Line) -> Iterator[Tally]:
        tallies: dict[str, Tally] = {}
        for one in hostile(line.host, line.target.path):
            tally = tallies.setdefault(one.family, Tally(one.family))
            status = line.send(one.request)
            _count(tally, one.name, status, status in one.refused or status == 0)
        yield from tallies.values()

    def _be_harmless(self, line: _Line, most: int) -> tuple[Tally, list[str]]:
        tally, false = Tally("harmless"), []
        for text in benign(min(most, 1000)):
            status, body = line.ask(text)
            tally.sent += 1
            if status >= 500:
                tally.broke.append(text)
            if b"shield.refused" in body:
                false.append(text)
        return tally, false


def drilled(wire: Wire, target: Target, *, most: int, ca_file: str = "") -> dict[str, Any]:
    """A drill from this project's home, which keeps the report. Without a URL the gateway that runs in this home is
    meant; raises InvalidSettingsError if none does, and what `Drilling.run` raises."""
    from tongqu.store.drills import Drills

    if not target.url:
        target = replace(target, url=_running(wire))
    around = wire.surroundings
    store = Drills.open(wire.home)
    try:
        past = store.last(target.url + target.path, TREND)
        drilling = Drilling(lambda: around.now().isoformat(timespec="seconds"), around.wait)
        document = drilling.run(target, past, most=most, ca_file=ca_file)
        store.add(target.url + target.path, document["at"], {**document, "trend": []})
        return document
    finally:
        store.close()


def _running(wire: Wire) -> str:
    try:
        return str(json.loads(wire.home.serve.read_text(encoding="utf-8"))["url"])
    except (OSError, ValueError, LookupError):
        raise InvalidSettingsError(
            "no gateway runs in this home", path="--url", hint="start one with `tongqu serve`, or name it with --url"
        ) from None


def _count(tally: Tally, name: str, status: int, refused: bool) -> None:
    tally.sent += 1
    if refused:
        tally.refused += 1
    elif status >= 500:
        tally.broke.append(f"{status} {name}")
    elif status >= 400:
        tally.stopped += 1
    else:
        tally.passed.append(f"{status} {name}")


class _Line:
    """Requests to one gateway, each on a connection of its own."""

    def __init__(self, target: Target, egress: Egress, wait: Callable[[float], bool], ca_file: str):
        parts = urlsplit(target.url)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise InvalidSettingsError("the gateway's URL is http:// or https:// and a host", path="--url")
        if not target.path.startswith("/"):
            raise InvalidSettingsError("the API is named by its path: /api/v1/NAME", path="--api")
        self.target = target
        self.host = parts.netloc.rpartition("@")[2]
        self.field = target.field
        self._name, self._port = parts.hostname, parts.port or (443 if parts.scheme == "https" else 80)
        self._tls = ssl.create_default_context(cafile=ca_file or None) if parts.scheme == "https" else None
        self._egress = egress
        self._wait = wait

    def begin(self) -> str:
        """Find a text field to filter by; the configuration that the gateway has."""
        status, headers, body = self._get("?limit=1")
        if status in (401, 403):
            raise AuthError(f"the gateway refuses to read {self.target.path} ({status})", hint="give a good --token")
        if status != 200:
            raise NotFoundError(f"{self.target.path} cannot be read ({status})", path="--api")
        if not self.field:
            try:
                row = (json.loads(body) or [{}])[0]
                self.field = next((str(name) for name, value in row.items() if isinstance(value, str)), "")
            except (ValueError, LookupError, AttributeError):
                self.field = ""
        if not self.field:
            raise InvalidSettingsError(
                "the API shows no row with a text field", path="--field", hint="name one with --field"
            )
        return headers.get("tongqu-config", "")

    def alive(self) -> bool:
        """Whether a good request is still answered."""
        return self._get("?limit=1")[0] == 200

    def ask(self, text: str) -> tuple[int, bytes]:
        """A good request whose filter's value is the text."""
        value = quote(text.encode("utf-8", "replace"), safe="")
        status, _, body = self._get(f"?{quote(self.field)}=eq.{value}&limit=1")
        return status, body

    def send(self, request: bytes) -> int:
        """Bytes as they are; the status of the answer, 0 if the connection was closed without one."""
        for _ in range(_PATIENCE):
            status, headers, _ = self._exchange(request)
            if status != 429 or not self._later(headers):
                return status
        return 429

    def _get(self, query: str) -> tuple[int, dict[str, str], bytes]:
        head = f"GET {self.target.path}{query} HTTP/1.1\r\nHost: {self.host}\r\nConnection: close\r\n"
        head += "Accept: application/json\r\n"
        if self.target.token:
            head += f"Authorization: Bearer {self.target.token}\r\n"
        found: tuple[int, dict[str, str], bytes] = (429, {}, b"")
        for _ in range(_PATIENCE):
            found = self._exchange(f"{head}\r\n".encode())
            if found[0] not in (429, 503) or not self._later(found[1]):
                break
        return found

    def _later(self, headers: Mapping[str, str]) -> bool:
        """Wait as long as the gateway asks for; False if that is too long."""
        seconds = headers.get("retry-after", "")
        return seconds.isdigit() and int(seconds) <= 60 and not self._wait(float(seconds))

    def _exchange(self, request: bytes) -> tuple[int, dict[str, str], bytes]:
        try:
            opened: socket.socket = self._egress.connect(self._name, self._port, SECONDS)
            opened.settimeout(SECONDS)
            if self._tls is not None:
                opened = self._tls.wrap_socket(opened, server_hostname=self._name)
        except (OSError, TongquError) as error:
            raise ConnectError(f"the gateway does not answer at {self.host}", path="--url", hint=str(error)) from error
        received = b""
        with opened:
            with suppress(OSError):  # a gateway that refuses early closes before all is sent
                opened.sendall(request)
            with suppress(OSError):
                while len(received) < _MOST and (piece := opened.recv(65_536)):
                    received += piece
        return _parsed(received)


def _parsed(received: bytes) -> tuple[int, dict[str, str], bytes]:
    head, _, body = received.partition(b"\r\n\r\n")
    first, *lines = head.decode("latin-1").split("\r\n")
    words = first.split(" ", 2)
    if len(words) < 2 or not words[0].startswith("HTTP/") or not words[1].isdigit():
        return 0, {}, b""
    pairs = (line.partition(":") for line in lines)
    return int(words[1]), {name.strip().lower(): value.strip() for name, _, value in pairs}, body
