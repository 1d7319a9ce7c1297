"""The audit trail of a home: shown, verified, exported; and the calls of one API."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tongqu.app.services.sheets import written
from tongqu.core.errors import AuditError, InvalidSettingsError
from tongqu.store.home import Home
from tongqu.store.scrub import Scrubber

if TYPE_CHECKING:
    from tongqu.app.project.load import Project
    from tongqu.gateway.audit.settings import AuditEntry

COLUMNS = ("at", "kind", "who", "what", "on", "api", "version", "outcome", "status", "rows", "reason", "address", "id",
           "trace")  # fmt: skip
"""What of a record has a column of its own in CSV."""
_AGO = re.compile(r"(\d{1,5})([smhd])")
_SECONDS = {"s": 1, "m": 60, "h": 3600, "d": 86_400}


@dataclass(frozen=True)
class Auditing:
    """The audit trail of one home. Every method gives the document that the command prints; looking creates nothing."""

    home: Home
    scrubber: Scrubber

    def show(self, limit: int, **wanted: str) -> dict[str, Any]:
        """The newest records first. `since` and `until` are times, or how long ago: `90m`, `2d`."""
        from tongqu.store.audit.reading import newest

        if not self.home.audit.is_dir():
            return {"records": []}
        with _readable(self.home):
            return {"records": newest(self._place(), _wanted(wanted), limit)}

    def calls(self, api: str, limit: int, **wanted: str) -> dict[str, Any]:
        """The newest calls of an API first: accepted ones, and refused ones as counts; `client` is an id or a name."""
        client = wanted.pop("client", "")
        who = client if not client or ":" in client or client == "anonymous" else f"client:{client}"
        found = self.show(limit, api=api, who=who, **wanted)
        return {"api": api, "calls": [one for one in found["records"] if one["kind"] in ("call", "refused")]}

    def usage(self, api: str, version: str) -> dict[str, Any]:
        """Who used which field of a version of an API, when last and in how many calls."""
        from tongqu.store.audit.usage import usage

        with _readable(self.home):
            found = usage(self.home, api, version)
        uses = [{"client": client, "field": field, "last": used.last, "count": used.count}
                for (client, field), used in found.items()]  # fmt: skip
        return {"api": api, "version": version, "uses": uses}

    def verify(self) -> dict[str, Any]:
        """Whether every record is as it was written: `ok records first_bad chains gaps`."""
        from tongqu.store.audit.verify import verify

        if not self.home.audit.is_dir():
            return {"ok": True, "records": 0, "first_bad": None, "chains": 0, "gaps": []}
        with _readable(self.home):
            return verify(self._place()).to_json()

    def export(self, file: Path, **wanted: str) -> dict[str, Any]:
        """Write records, oldest first, into a new file of mode 0600: as CSV where its name ends with `.csv`, else as
        JSON lines. That it was done is audited."""
        from tongqu.store.audit.reading import every
        from tongqu.store.audit.trail import Trail

        chosen = _wanted(wanted)
        with _readable(self.home):
            trail = Trail.open(self.home)
            try:
                of = {name: value for name, value in wanted.items() if value}
                with trail.action(operator(), "audit.export", str(file), of=of) as told:
                    handle = os.open(file, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600)
                    with os.fdopen(handle, "w", encoding="utf-8", newline="") as stream:
                        count = written(every(trail.place, chosen), stream, COLUMNS if file.suffix == ".csv" else ())
                    told["records"] = count
            finally:
                trail.close()
        return {"file": str(file), "records": count}

    def every(self, **wanted: str) -> Iterator[dict[str, Any]]:
        """All such records, oldest first within a chain; they are not verified."""
        from tongqu.store.audit.reading import every

        if self.home.audit.is_dir():
            with _readable(self.home):
                yield from every(self._place(), _wanted(wanted))

    def _place(self) -> Any:
        from tongqu.store.audit.trail import place_of

        return place_of(self.home, make=False)


def settings(home: Home, scrubber: Scrubber, project: Project) -> AuditEntry:
    """The section `audit` of a project with its references resolved; raises SecretError."""
    from tongqu.app.services.secrets import looked_up
    from tongqu.app.services.secrets import vault as opened
    from tongqu.gateway.audit.settings import AuditEntry
    from tongqu.store.references import References

    references = References(
        secrets=home.secrets,
        folder=project.folder,
        scrubber=scrubber,
        stored=lambda name: looked_up(home, scrubber, name),
        vault=lambda name: opened(scrubber).value(name),
    )
    entry = AuditEntry.parse(references.resolve(dict(project.audit), "audit"), "audit")
    for sink in entry.sinks.values():
        scrubber.add_settings(sink)
    return entry


def operator() -> str:
    """Who sits at the command line, for the trail: the account, and the name that was given under it."""
    from tongqu.app.services.versioning import person

    who = person()
    return f"operator:{who.account}" if who.actor == who.account else f"operator:{who.account}/{who.actor}"


def _wanted(told: Mapping[str, str]) -> Any:
    from tongqu.store.audit.reading import Wanted

    times = {name: instant_of(told[name], name) for name in ("since", "until") if told.get(name)}
    return Wanted(**{**told, **times})


def instant_of(text: str, name: str) -> str:
    """The instant that an option means: a time, or how long ago (`90m`, `2d`); raises InvalidSettingsError."""
    from tongqu.store.runs import instant

    ago = _AGO.fullmatch(text)
    try:
        if ago:
            return instant(datetime.now(UTC) - timedelta(seconds=int(ago[1]) * _SECONDS[ago[2]]))
        at = datetime.fromisoformat(text.replace("Z", "+00:00"))
    except (ValueError, OverflowError):
        raise InvalidSettingsError(
            f"--{name} {text!r} is no time", path=f"--{name}", hint="2026-03-01, 2026-03-01T12:00 or 90m, 24h, 7d",
            params={"key": name},
        ) from None  # fmt: skip
    return instant(at if at.tzinfo else at.astimezone())


@contextmanager
def _readable(home: Home) -> Iterator[None]:
    import sqlite3

    try:
        yield
    except FileExistsError as error:
        raise AuditError(f"there is already a file {error.filename}", hint="name a new file") from error
    except (OSError, sqlite3.Error) as error:
        raise AuditError(f"the audit trail in {home.audit} cannot be used: {error}") from error
