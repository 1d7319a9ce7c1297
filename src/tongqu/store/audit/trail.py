"""The audit trail of a home: management actions in one shared chain, the calls of each process in one of its own.

The shared chain `main` also says which chains began, how they ended, how far they were each minute (anchors), what was
lost when a process was killed (gaps), and which days were removed after their time (purges).
"""

from __future__ import annotations

import fcntl
import os
import socket
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from threading import RLock
from typing import Any

from tongqu.core.errors import AuditError, TongquError
from tongqu.kit import lasting
from tongqu.store.audit.chain import Chain, Place, torn
from tongqu.store.audit.line import PROFILES, SCHEMES, Link, encoded, usable
from tongqu.store.home import Home
from tongqu.store.runs import instant

MAIN = "main"
LEAST_DAYS = 180
"""How long records are kept at least (网络安全法 art. 21: logs for six months); nobody can remove them earlier."""
KEY_VARIABLE = "TONGQU_AUDIT_KEY"


@dataclass(frozen=True)
class Keeping:
    """How the trail is kept. `keep_days` below LEAST_DAYS is refused by `Trail.open`."""

    profile: str = ""
    """Empty: the hash that the trail was last written with, SHA-256 for a new one."""
    keep_days: int = LEAST_DAYS


def place_of(home: Home, profile: str = "", environ: Mapping[str, str] = os.environ, *, make: bool = True) -> Place:
    """Where a home's trail is, with its key: `$TONGQU_AUDIT_KEY` (64 hex digits), else the file `audit.key`, which is
    made with mode 0600 unless `make` is false. Raises AuditError."""
    scheme = PROFILES[profile] if profile else _last_scheme(home)
    usable(scheme)
    return Place(home.audit, _key(home, environ, make=make), scheme)


class Trail:
    """Writes a home's audit trail; safe for several threads and processes. All methods raise AuditError where the
    trail cannot be written or was changed; what they return from is on disk."""

    def __init__(self, place: Place, clock: Callable[[], datetime], keep_days: int = LEAST_DAYS):
        if keep_days < LEAST_DAYS:
            raise AuditError(
                f"audit records are kept at least {LEAST_DAYS} days, not {keep_days}", hint=f"keep_days: {LEAST_DAYS}"
            )
        self.place = place
        self._clock = clock
        self._keep_days = keep_days
        self._main: Chain | None = None
        self._lock = RLock()

    @classmethod
    def open(
        cls, home: Home, keeping: Keeping = Keeping(), clock: Callable[[], datetime] = lambda: datetime.now(UTC)
    ) -> Trail:
        """The trail of a home, which is made if it is not there."""
        try:
            home.ensure()
            return cls(place_of(home, keeping.profile), clock, keeping.keep_days)
        except OSError as error:
            raise AuditError(f"the audit trail cannot be written: {error}", path=str(home.audit)) from error

    def keep(self, keeping: Keeping) -> None:
        """Keep records so from the next one on. Raises AuditError as `open` does; then nothing has changed."""
        if keeping.keep_days < LEAST_DAYS:
            raise AuditError(f"audit records are kept at least {LEAST_DAYS} days, not {keeping.keep_days}")
        if keeping.profile:
            usable(PROFILES[keeping.profile])
            self.place.scheme = PROFILES[keeping.profile]
        self._keep_days = keeping.keep_days

    def note(self, kind: str, **record: Any) -> Link:
        """Commit one record to the shared chain."""
        with self._alone() as main:
            return self._noted(main, kind, record)

    @contextmanager
    def action(self, who: str, what: str, on: str = "", **more: Any) -> Iterator[dict[str, Any]]:
        """Around a management action: that it begins is on disk before it does, and its outcome before this returns.

        What the block puts into the dict it is given (never values of rows, never secrets) goes into the second record,
        whose outcome is `done` or the code of the error. `reason` and `address` are usual names in `more`.
        """
        begun = self.note("action", who=who, what=what, on=on, outcome="begun", **more)
        told: dict[str, Any] = {}
        outcome = "failed"
        try:
            yield told
            outcome = "done"
        except TongquError as error:
            outcome = error.code
            raise
        finally:
            self.note("action", who=who, what=what, on=on, outcome=outcome, begun=begun.seq, **told)

    def begin(self, name: str) -> Chain:
        """A new chain for this process. Chains whose process was killed are closed with a record of the gap, and days
        whose time is over are removed."""
        with self._alone() as main:
            for chain in self._abandoned(main):
                self._noted(main, "gap", chain)
            made = Chain(self.place, name)
            self._noted(main, "begin", {"chain": name, "pid": os.getpid(), "host": socket.gethostname()})
            at = main.link
            self._purge(main)
        made.append(self._today(), [self.body("begin", main=list(at))], sync_head=True)
        return made

    def anchor(self, chain: Chain) -> None:
        """Tie a process's chain and the shared one to each other: each then names the other's newest hash."""
        at = self.note("anchor", chain=chain.name, seq=chain.link.seq, hash=chain.link.hash)
        chain.append(self._today(), [self.body("anchor", main=list(at))], sync_head=True)

    def end(self, chain: Chain) -> None:
        """Close a chain; nothing can be added to it any more."""
        chain.append(self._today(), [self.body("end")], sync_head=True)
        self.note("end", chain=chain.name, seq=chain.link.seq, hash=chain.link.hash)
        self.place.close(chain.name)
        chain.close()

    def purge(self) -> Sequence[str]:
        """Remove the days whose time is over; the days that were removed."""
        with self._alone() as main:
            return self._purge(main)

    def remove(self, day: str) -> None:
        """Remove the days up to and with `day`; refused (AuditError) if one of them must still be kept."""
        if day >= (oldest := self._oldest_kept()):
            raise AuditError(
                f"records of {day} must be kept until {self._keep_days} days have passed",
                hint=f"days before {oldest} can be removed",
            )
        with self._alone() as main:
            self._purge(main, before=(datetime.fromisoformat(day) + timedelta(days=1)).date().isoformat())

    def body(self, kind: str, **record: Any) -> bytes:
        """A record of now as the bytes that a chain takes."""
        return encoded({"at": instant(self._clock()), "kind": kind, **record})

    def close(self) -> None:
        """Release the files; may be called twice."""
        with self._lock:
            if self._main:
                self._main.close()
            self._main = None

    @contextmanager
    def _alone(self) -> Iterator[Chain]:
        with self._lock:
            try:
                self._main = self._main or Chain(self.place, MAIN, shared=True)
                self._main.lock()
            except OSError as error:
                raise AuditError(f"the audit trail cannot be written: {error}", path=str(self.place.folder)) from error
            try:
                if self._main.torn:
                    self._noted(self._main, "gap", {"chain": MAIN, "torn": self._main.torn})
                yield self._main
            finally:
                self._main.unlock()

    def _noted(self, main: Chain, kind: str, record: Mapping[str, Any]) -> Link:
        return main.append(self._today(), [self.body(kind, **record)], sync_head=True)

    def _abandoned(self, main: Chain) -> Iterator[dict[str, Any]]:
        """The chains that nobody holds and that were not closed: how far each one reaches."""
        from tongqu.store.audit.reading import last_of

        for name in self.place.chains():
            if name == main.name or self.place.closed(name):
                continue
            with suppress(FileNotFoundError, BlockingIOError):
                handle = os.open(self.place.head(name), os.O_RDWR | os.O_CLOEXEC)
                try:
                    fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    found = last_of(self.place, name)
                    yield {"chain": name, **found.link._asdict(), "torn": torn(self.place, name), "last": found.at,
                           "lost": "up to 0.2 s before it was killed"}  # fmt: skip
                    self.place.close(name)
                finally:
                    os.close(handle)

    def _purge(self, main: Chain, before: str = "") -> Sequence[str]:
        oldest = before or self._oldest_kept()
        days = [day for day in self.place.days() if day < oldest]
        if not days:
            return []
        from tongqu.store.audit.reading import day_ends

        upto = {name: found for name in self.place.chains() if (found := day_ends(self.place, name, days))}
        self._noted(main, "purge", {"before": oldest, "days": days, "chains": upto})
        for day in days:
            folder = self.place.folder / day
            for path in folder.iterdir():
                path.unlink()
            folder.rmdir()
        for name in self.place.chains():
            if not self.place.segments(name) and name in upto and name != MAIN:
                self.place.head(name).unlink(missing_ok=True)
        return days

    def _today(self) -> str:
        return self._clock().astimezone(UTC).date().isoformat()

    def _oldest_kept(self) -> str:
        return (self._clock().astimezone(UTC) - timedelta(days=self._keep_days)).date().isoformat()


def _last_scheme(home: Home) -> str:
    try:
        with (home.audit / "heads" / MAIN).open("rb") as stream:
            found = stream.read(2).decode("ascii", "replace")
    except OSError:
        found = ""
    return found if found in SCHEMES else PROFILES["standard"]


def _key(home: Home, environ: Mapping[str, str], *, make: bool) -> bytes:
    origin = f"${KEY_VARIABLE}"
    text = environ.get(KEY_VARIABLE, "").strip()
    if not text:
        origin = str(home.audit_key)
        if not home.audit_key.exists() and not make:
            raise AuditError(f"the key of the audit trail is not there: {origin}", hint=f"give it by ${KEY_VARIABLE}")
        fresh = os.urandom(32).hex().encode() + b"\n"
        text = lasting.put_first(home.audit_key, fresh).decode("ascii", "replace").strip()
    try:
        key = bytes.fromhex(text)
    except ValueError:
        key = b""
    if len(key) != 32:
        raise AuditError(f"the key in {origin} is not 64 hex digits", hint="openssl rand -hex 32")
    return key
