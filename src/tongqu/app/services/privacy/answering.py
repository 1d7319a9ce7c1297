"""What is done about persons: catalogue, search, package, erasure, breach query and the record of processing."""

from __future__ import annotations

import asyncio
import json
import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tongqu.app.services.auditing import Auditing, operator
from tongqu.app.services.privacy.catalogue import catalogue, path, places
from tongqu.app.services.privacy.searching import Searching, Subject, Table
from tongqu.core.errors import AccessError, TongquError, UnknownNameError
from tongqu.store.feed import touched
from tongqu.store.subjects import Digests, Tombstone, Tombstones, erased, held

if TYPE_CHECKING:
    from tongqu.app.project.model import PurposeEntry
    from tongqu.app.wire import Wire
    from tongqu.store.audit.usage import Used

_ACTIONS = ("delete", "clear")


@dataclass(frozen=True)
class Privacy:
    """Answers for one project. Every method gives the document that the command prints; what is done about a person is
    in the audit trail by a keyed digest, never by its value."""

    wire: Wire

    def catalogue(self) -> dict[str, Any]:
        """Every personal field, who sees it where, and what is missing to search or erase."""
        return catalogue(self.wire.project)

    def find(self, told: Sequence[str]) -> dict[str, Any]:
        """Where rows of a person stand, and how many."""
        subjects = self.subjects(told)

        async def ask(table: Table) -> dict[str, Any] | None:
            count = await table.count(subjects)
            return None if count is None else {"rows": count, "fields": table.place.personal,
                                               "erase": table.place.entry.erase or ""}  # fmt: skip

        with acting(self.wire, "privacy.find", self.names(subjects)) as noted:
            found, problems = asyncio.run(self._each(ask))
            noted["rows"] = sum(one["rows"] for one in found)
        gone = self._gone(subjects)
        return {"ok": not problems, "subject": self.names(subjects), "places": found, "erased": gone,
                "rows": sum(one["rows"] for one in found), "problems": [*problems, *self._unsearchable()]}  # fmt: skip

    def export(self, told: Sequence[str], file: Path) -> dict[str, Any]:
        """Write all rows of a person into a new file of mode 0600: JSON with the title and class of every field, for
        whoever asks for their data (GDPR art. 15 and 20, PIPL art. 45). Fields of class `secret` are left out."""
        subjects = self.subjects(told)

        async def ask(table: Table) -> dict[str, Any] | None:
            rows = await table.rows(subjects)
            if not rows:
                return None
            entry = table.place.entry
            fields = {}
            for name in rows[0]:
                meaning = entry.fields.get(name)
                title = (meaning.title.get("zh") or meaning.title.get("en") or meaning.description) if meaning else ""
                fields[name] = {"title": title, "class": (meaning.class_ if meaning else None) or "internal"}
            title = entry.title.get("zh") or entry.title.get("en") or ""
            return {"title": title, "fields": fields, "rows": rows}

        with acting(self.wire, "privacy.export", self.names(subjects)) as noted:
            found, problems = asyncio.run(self._each(ask))
            package = {"subject": dict(_pairs(subjects)), "made": now(), "places": found}
            handle = os.open(file, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600)
            with os.fdopen(handle, "w", encoding="utf-8") as stream:
                json.dump(package, stream, ensure_ascii=False, indent=2, default=str)
            rows = sum(len(one["rows"]) for one in found)
            noted |= {"file": str(file), "rows": rows}
        return {"ok": not problems, "subject": self.names(subjects), "file": str(file), "places": len(found),
                "rows": rows, "problems": [*problems, *self._unsearchable()]}  # fmt: skip

    def erase(self, told: Sequence[str], reason: str, *, sure: bool) -> dict[str, Any]:
        """Erase a person from every published table as the dictionary says, and remember the digest, so that no
        pipeline brings the rows back. Without `sure` only what would be done is told, with how many spellings of the
        person (case, spaces at the end) stand in each table.

        The tombstone is written before the first row goes; doing it again does what is left. `left` is how many rows
        still name the person in each table afterwards.
        """
        subjects = self.subjects(told)
        names = self.names(subjects)
        holds = held(self.wire.home)
        stays = {one.dataset for one in holds if one.dataset}
        if sure and any(f"{one.identity}:{one.digest}" in names for one in holds):
            raise AccessError("a legal hold protects this person", hint="tongqu privacy holds")
        digest = Digests.open(self.wire.home).of

        async def protected(table: Table) -> dict[str, Any] | None:
            kept = 0 if table.place.entry.erase == "keep" else await table.held(subjects, holds, digest)
            return {"rows": kept} if kept else None

        async def ask(table: Table) -> dict[str, Any] | None:
            count = await table.count(subjects)
            if count is None:
                return None
            action = "held" if table.place.meaning in stays else _action(table)
            done = 0
            spellings = await table.spellings(subjects) if count else {}
            if sure and action in _ACTIONS and count:
                done = await table.erase(subjects, names[0].rpartition(":")[2][:12])
            left = await table.count(subjects) if sure else count
            return {"action": action, "rows": count, "erased": done, "left": left, "spellings": spellings}

        with acting(self.wire, "privacy.erase" if sure else "privacy.find", names, reason=reason) as noted:
            if sure and any(one.identity for one in holds) and asyncio.run(self._each(protected))[0]:
                raise AccessError("a legal hold protects this person", hint="tongqu privacy holds")
            if sure:
                self._bury(subjects, reason)
            found, problems = asyncio.run(self._each(ask))
            changed = [f"{one['connection']}/{one['table']}" for one in found if one["erased"]]
            touched(self.wire.home, changed, "run")
            noted |= {"tables": changed, "rows": sum(one["erased"] for one in found)}
        open_ = [one for one in found if one["left"] and one["action"] != "keep"] if sure else []
        undecided = [one for one in found if one["action"] in ("undecided", "refused", "held")]
        notes = [_undone(one) for one in undecided]
        return {"ok": not problems and not open_ and not (sure and undecided), "subject": names, "done": sure,
                "places": found, "problems": [*problems, *notes, *self._unsearchable()]}  # fmt: skip

    def tombstones(self) -> dict[str, Any]:
        """Who was erased, by digest."""
        if not self.wire.home.tombstones.exists():
            return {"tombstones": []}
        store = Tombstones(self.wire.home.tombstones)
        try:
            return {"tombstones": [dict(vars(one)) for one in store.all()]}
        finally:
            store.close()

    def breach(self, client: str, told: Sequence[str], since: str, until: str) -> dict[str, Any]:
        """Which persons a client was given rows of between two times, or which clients were given rows of a person.

        Persons are named by their values where a published table still holds them; `unnamed` are digests of others.
        """
        subjects = self.subjects(told)
        wanted = {name.rpartition(":")[2] for name in self.names(subjects)}
        who = client if not client or ":" in client or client == "anonymous" else f"client:{client}"
        read: dict[str, dict[str, Any]] = {}
        clients: dict[str, dict[str, Any]] = {}
        calls = 0
        trail = Auditing(self.wire.home, self.wire.scrubber)
        for record in trail.every(kind="call", who=who, since=since, until=until):
            given = set(record.get("subjects", ()))
            if not given or (wanted and not given & wanted):
                continue
            calls += 1
            _count(clients.setdefault(record["who"], _nobody()), record)
            for digest in given & wanted if wanted else given:
                _count(read.setdefault(digest, _nobody()), record)
        named, problems = asyncio.run(self._named(set(read))) if read else ({}, [])
        persons = [{**named[digest], "digest": digest, **_shown(told)} for digest, told in sorted(read.items())
                   if digest in named]  # fmt: skip
        unnamed = [{"digest": digest, **_shown(told)} for digest, told in sorted(read.items()) if digest not in named]
        with acting(self.wire, "privacy.breach", self.names(subjects), client=who, since=since, until=until) as noted:
            noted["persons"] = len(read)
        return {"client": who, "since": since, "until": until, "calls": calls, "persons": persons,
                "unnamed": unnamed, "clients": [{"client": name, **_shown(told)} for name, told in clients.items()],
                "problems": problems}  # fmt: skip

    def record(self) -> dict[str, Any]:
        """The record of processing (GDPR art. 30, PIPL art. 54 and 55): of every API that gives personal data what for,
        whose, which kinds, to whom, how protected, and how often it was really called."""
        from tongqu.store.audit.usage import usage

        project = self.wire.project
        told = {one["client_id"]: one for one in self.wire.callers().list()["clients"]}
        shown = catalogue(project)["fields"]
        activities = []
        for name, entry in project.apis.items():
            address = path(name, entry)
            fields = [one for one in shown if any(api["path"] == address for api in one["apis"])]
            if not fields:
                continue
            meaning = project.dictionary.get(entry.source.as_ or entry.source.dataset or "")
            version, api = address.split("/")[2:]
            uses = usage(self.wire.home, api, version)
            personal = {one["field"] for one in fields}
            purposes = {p for one in fields for api in one["apis"] if api["path"] == address for p in api["purposes"]}
            recipients = [_recipient(client, uses, personal, told) for client in dict.fromkeys(c for c, _ in uses)]
            purposes |= {purpose for one in recipients for purpose in one["purposes"]}
            activities.append({
                "api": address, "title": entry.title.get("zh") or entry.title.get("en") or "",
                "description": entry.description, "owner": entry.owner or (meaning.owner if meaning else None) or "",
                "purposes": [_purpose(one, project.purposes) for one in sorted(purposes)],
                "persons": sorted(meaning.subject) if meaning else [],
                "fields": [{"field": one["field"], "title": one["title"], "class": one["class"]} for one in fields],
                "masks": {one["field"]: api["mask"] for one in fields for api in one["apis"]
                          if api["path"] == address and api["mask"]},
                "erase": (meaning.erase if meaning else None) or "",
                "source": f"{entry.source.connection}/{entry.source.dataset or '(query)'}",
                "recipients": recipients,
            })  # fmt: skip
        return {"project": project.name, "at": now(), "activities": activities}

    async def _each(self, ask: Any) -> tuple[list[dict[str, Any]], list[Mapping[str, Any]]]:
        searching = self._searching()
        found = [place for place in places(self.wire.project) if place.entry.subject]
        async with searching.tables(found) as (tables, unreachable):
            told, problems = await searching.each(tables, ask)
        return told, [*unreachable, *problems]

    async def _named(self, digests: set[str]) -> tuple[dict[str, dict[str, Any]], list[Mapping[str, Any]]]:
        """Who the digests are, of those that still stand in a table."""
        named: dict[str, dict[str, Any]] = {}
        known = Digests.open(self.wire.home)

        async def ask(table: Table) -> None:
            for identity in table.fields():
                for value in await table.persons(identity):
                    digest = known.of(identity, value)
                    if digest in digests:
                        named[digest] = {"identity": identity, "value": value}

        _, problems = await self._each(ask)
        return named, problems

    def _searching(self) -> Searching:
        wire = self.wire

        def problem(error: TongquError) -> Mapping[str, Any]:
            return wire.scrubber.problem(error.problem())

        return Searching(wire.ends, problem)

    def subjects(self, told: Sequence[str]) -> list[Subject]:
        """Persons as the command names them; raises UnknownNameError for an identity that no dataset has."""
        subjects = [Subject.read(one) for one in told]
        known = sorted({i for entry in self.wire.project.dictionary.values() for i in entry.subject})
        for one in subjects:
            if one.identity not in known:
                raise UnknownNameError(f"no dataset has the identity {one.identity!r}", path="--subject",
                                       hint=f"identities: {', '.join(known) or 'none: datasets.NAME.subject'}",
                                       params={"name": one.identity})  # fmt: skip
        return subjects

    def names(self, subjects: Sequence[Subject]) -> list[str]:
        """The same as `identity:digest`."""
        digests = Digests.open(self.wire.home)
        return [f"{one.identity}:{digests.of(one.identity, one.value)}" for one in subjects]

    def _gone(self, subjects: Sequence[Subject]) -> bool:
        found = erased(self.wire.home)
        names = (name.partition(":") for name in self.names(subjects))
        return any(digest in found.get(identity, ()) for identity, _, digest in names)

    def _bury(self, subjects: Sequence[Subject], reason: str) -> None:
        store = Tombstones.open(self.wire.home)
        try:
            at = now()
            names = (name.partition(":") for name in self.names(subjects))
            store.put([Tombstone(identity, digest, at, operator(), reason) for identity, _, digest in names])
        finally:
            store.close()

    def _unsearchable(self) -> list[Mapping[str, str]]:
        return [note for note in catalogue(self.wire.project)["problems"] if note["code"] != "privacy.undecided"]


@contextmanager
def acting(wire: Wire, what: str, names: Sequence[str], **more: Any) -> Iterator[dict[str, Any]]:
    """Around what is done about a person, for the trail; raises AuditError where it cannot be noted."""
    trail = wire.trail()
    try:
        with trail.action(
            operator(), what, " ".join(names), **{key: told for key, told in more.items() if told}
        ) as noted:
            yield noted
    finally:
        trail.close()


def _pairs(subjects: Sequence[Subject]) -> list[tuple[str, str]]:
    return [(one.identity, one.value) for one in subjects]


def now() -> str:
    """RFC 3339 in UTC, to the second."""
    return datetime.now(UTC).isoformat(timespec="seconds").replace("+00:00", "Z")


def _action(table: Table) -> str:
    """What erasing does here: `delete`, `clear`, `keep`, `undecided`, or `refused` where a field cannot be emptied."""
    told = table.place.entry.erase
    if told is None:
        return "undecided"
    return "refused" if told == "clear" and table.unclearable() else told


def _undone(one: Mapping[str, Any]) -> dict[str, str]:
    where = f"{one['connection']}/{one['table']}"
    if one["action"] == "undecided":
        message, hint = f"nobody said what erasing does to rows of {where}", "erase: delete, clear or keep"
    elif one["action"] == "held":
        message, hint = f"a legal hold protects the rows of {where}", "tongqu privacy holds"
    else:
        message, hint = f"a personal field of {where} can neither be empty nor hold a word", "erase: delete or keep"
    return {"path": where, "code": f"privacy.{one['action']}", "message": message, "hint": hint, "level": "error"}


def _nobody() -> dict[str, Any]:
    return {"calls": 0, "first": "", "last": "", "apis": set(), "fields": set()}


def _count(told: dict[str, Any], record: Mapping[str, Any]) -> None:
    at = str(record["at"])
    told["calls"] += 1
    told["first"] = min(told["first"] or at, at)
    told["last"] = max(told["last"], at)
    told["apis"].add(f"/api/{record['version']}/{record['api']}")
    told["fields"].update(record.get("fields", ()))


def _shown(told: Mapping[str, Any]) -> dict[str, Any]:
    return {**told, "apis": sorted(told["apis"]), "fields": sorted(told["fields"])}


def _recipient(
    client: str, uses: Mapping[tuple[str, str], Used], personal: set[str], told: Mapping[str, Mapping[str, Any]]
) -> dict[str, Any]:
    """One who called: how often, when last, and which personal fields it was given in how many calls."""
    known = told.get(client.removeprefix("client:"), {})
    calls = uses.get((client, ""))
    fields = {field: used.count for (who, field), used in uses.items() if who == client and field in personal}
    return {
        "client": client, "calls": calls.count if calls else 0, "last": calls.last if calls else "", "fields": fields,
        "purposes": list(known.get("purposes", ())), "region": str(known.get("attributes", {}).get("region", "")),
    }  # fmt: skip


def _purpose(name: str, purposes: Mapping[str, PurposeEntry]) -> dict[str, str]:
    entry = purposes.get(name)
    if entry is None:
        return {"name": name, "title": "", "basis": "", "keep": ""}
    return {"name": name, "title": entry.title.get("zh") or entry.title.get("en") or entry.description,
            "basis": entry.basis, "keep": entry.keep}  # fmt: skip
