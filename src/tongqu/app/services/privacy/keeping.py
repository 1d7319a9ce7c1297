"""How long data are kept: legal holds, and the purge of what is over, with its proof in the audit trail."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, Literal

from tongqu.app.services.auditing import operator
from tongqu.app.services.privacy.answering import Privacy, acting, now
from tongqu.app.services.privacy.catalogue import places
from tongqu.app.services.privacy.searching import Due, Searching, Table
from tongqu.core.errors import InvalidSettingsError, NotFoundError, TongquError, UnknownNameError
from tongqu.store.feed import touched
from tongqu.store.subjects import Digests, Hold, Tombstones, held

if TYPE_CHECKING:
    from sqlglot import exp


@dataclass(frozen=True)
class Keeping:
    """Holds and purges of one project; each method gives the document that the command prints."""

    privacy: Privacy

    def holds(self) -> dict[str, Any]:
        """Everything that must stay."""
        return {"holds": [dict(vars(one)) for one in held(self.privacy.wire.home)]}

    def hold(self, told: Sequence[str], dataset: str, reason: str) -> dict[str, Any]:
        """Let a person's rows, or those of a dataset, stay until released: neither erase nor purge touches them."""
        made = [Hold(*name, now(), operator(), reason) for name in self._named(told, dataset)]
        with acting(self.privacy.wire, "privacy.hold", [_word(one) for one in made], reason=reason):
            store = Tombstones.open(self.privacy.wire.home)
            try:
                for one in made:
                    store.hold(one)
            finally:
                store.close()
        return self.holds()

    def release(self, told: Sequence[str], dataset: str, reason: str) -> dict[str, Any]:
        """End holds; raises NotFoundError if there is none."""
        ending = self._named(told, dataset)
        words = [dataset or f"{identity}:{digest}" for identity, digest, dataset in ending]
        with acting(self.privacy.wire, "privacy.release", words, reason=reason):
            store = Tombstones.open(self.privacy.wire.home)
            try:
                for one, word in zip(ending, words, strict=True):
                    if not store.release(*one):
                        raise NotFoundError(f"nothing holds {word}", hint="tongqu privacy holds")
            finally:
                store.close()
        return self.holds()

    def purge(self, at: datetime, *, sure: bool) -> dict[str, Any]:
        """Delete rows, and empty fields, whose time was over at an instant. Without `sure` only what would go is told.

        The proof is the record of this action in the audit trail: of each table what was due, what went, what a hold
        kept and what is left, which must be 0.
        """
        wire = self.privacy.wire
        found = [place for place in places(wire.project) if place.entry.retention is not None]
        searching = Searching(wire.ends, lambda error: wire.scrubber.problem(error.problem()))
        ended: list[dict[str, Any]] = []
        problems: list[Mapping[str, Any]] = []

        async def work() -> None:
            async with searching.tables(found) as (tables, unreachable):
                problems.extend(unreachable)
                for table in tables:
                    try:
                        ended.extend(await self._ended(table, at, sure=sure))
                    except TongquError as error:
                        problems.append(searching.problem(error))

        with acting(wire, "privacy.purge", [], of=at.isoformat(), sure=sure) as noted:
            asyncio.run(work())
            touched(wire.home, sorted({one["table"] for one in ended if one["purged"]}), "run")
            noted["tables"] = ended
        left = any(one["left"] for one in ended) if sure else False
        return {"ok": not problems and not left, "done": sure, "at": at.isoformat(), "tables": ended,
                "problems": problems}  # fmt: skip

    async def _ended(self, table: Table, at: datetime, *, sure: bool) -> list[dict[str, Any]]:
        told = table.place.entry.retention
        assert told is not None  # noqa: S101  asked for such only
        params: dict[str, Any] = {}
        kept = await self._kept(table, params)
        plans: list[tuple[Literal["delete", "update"], str, int, list[str]]] = []
        for word, days in told.classes.items():
            names = [n for n in table.place.personal if n in table.dataset.columns
                     and (field := table.place.entry.fields.get(n)) is not None and field.class_ == word]  # fmt: skip
            if names:
                plans.append(("update", word, days, names))
        if told.days is not None:
            plans.append(("delete", "rows", told.days, []))
        made = []
        for verb, what, days, names in plans:
            plain = await table.due(told.since, at - timedelta(days=days), names, kept)
            due = Due(table, plain.over, kept, {**plain.params, **params})
            count, protected = await due.rows(), await due.protected()
            purged = await table.change(verb, names, due) if sure and count else 0
            made.append({"table": f"{table.place.connection}/{table.place.table}", "what": what, "days": days,
                         "due": count, "purged": purged, "held": protected,
                         "left": await due.rows() if sure else count})  # fmt: skip
        return made

    async def _kept(self, table: Table, params: dict[str, Any]) -> exp.Expr | None:
        """The condition of rows that a hold protects; None if nothing here is held."""
        from sqlglot import exp

        holds = held(self.privacy.wire.home)
        if any(one.dataset == table.place.meaning for one in holds if one.dataset):
            return exp.Boolean(this=True)
        return await table.protected(holds, Digests.open(self.privacy.wire.home).of, params)

    def _named(self, told: Sequence[str], dataset: str) -> list[tuple[str, str, str]]:
        if bool(told) == bool(dataset):
            raise InvalidSettingsError("a hold is of a person or of a dataset", path="--subject",
                                       hint="--subject employee=E7, or --dataset NAME")  # fmt: skip
        if dataset:
            if dataset not in self.privacy.wire.project.dictionary:
                raise UnknownNameError(f"there is no dataset {dataset!r}", path="--dataset", params={"name": dataset},
                                       hint=", ".join(self.privacy.wire.project.dictionary))  # fmt: skip
            return [("", "", dataset)]
        names = self.privacy.names(self.privacy.subjects(told))
        return [(identity, digest, "") for identity, _, digest in (name.partition(":") for name in names)]


def _word(one: Hold) -> str:
    return one.dataset or f"{one.identity}:{one.digest}"


def instant(text: str) -> datetime:
    """A day or an instant; now for nothing. Raises InvalidSettingsError."""
    if not text:
        return datetime.now(UTC)
    try:
        made = datetime.fromisoformat(text)
    except ValueError:
        raise InvalidSettingsError(f"{text!r} is no day or time", path="--at", hint="2026-01-31") from None
    return made.astimezone(UTC) if made.tzinfo else made.replace(tzinfo=UTC)
