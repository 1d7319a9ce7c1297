"""Holds published APIs to what they promised: compares before a version counts, and says who would be hurt."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

from tongqu.app.project.apis import address
from tongqu.app.project.places import nearest
from tongqu.core.errors import BreakingChangeError, NotFoundError, UnknownNameError
from tongqu.gateway.contract.diff import Difference, compare
from tongqu.gateway.contract.lifecycle import day
from tongqu.gateway.contract.shape import Contract, contract_of, without_source
from tongqu.store.contracts import Address, Contracts
from tongqu.store.runs import instant
from tongqu.store.versions import shown

if TYPE_CHECKING:
    from tongqu.app.project.load import Project
    from tongqu.app.services.publishing import Compiled, Publishing
    from tongqu.store.home import Home

Document = dict[str, Any]
DAYS = 30
"""Consumers of so many days are told of."""


@dataclass(frozen=True)
class Promises:
    """The contracts of one environment. `head` is always the number of the version that counts there (0: none)."""

    home: Home
    env: str
    publishing: Callable[[], Publishing]

    def planned(self, project: Project, head: int, *, offline: bool = False) -> list[Document]:
        """Per live version that would be otherwise what would, and who used lately what breaks. With `offline` the
        sources are not asked, and count as they were."""
        before = self._live(head)
        return self._told(project, before, self._of(project, before, offline=offline)) if before else []

    def check(self, project: Project, head: int, *, accept: bool = False) -> dict[Address, Contract]:
        """What the project promises, to be kept once it counts. Raises BreakingChangeError for what breaks callers of
        live versions, unless that is accepted."""
        before = self._live(head)
        after = self._of(project, before)
        refused = refusal(self._told(project, before, after)) if before and not accept else None
        if refused is not None:
            raise refused
        return after

    def keep(self, config: int, found: Mapping[Address, Contract]) -> None:
        """Keep the contracts of an applied version."""
        if not found and not self.home.contracts.exists():
            return
        store = Contracts.open(self.home)
        try:
            store.keep(self.env, config, instant(datetime.now(UTC)), found)
        finally:
            store.close()

    def keep_again(self, config: int, old: int) -> None:
        """An applied version has the contents, and so the contracts, of an older one."""
        self.keep(config, self._live(old))

    def show(self, name: str, version: str, head: int) -> Document:
        """One live contract, with the clients that used each field lately; the newest version unless said. Raises
        NotFoundError, UnknownNameError."""
        version, found = self._one(name, version, head)
        return {"api": name, "version": version, **found, "consumers": self.consumers(name, version)}

    def difference(self, name: str, old: str, new: str, head: int) -> Document:
        """What changes for a caller of one live version who goes over to another; raises as `show` does."""
        (_, before), (_, after) = self._one(name, old, head), self._one(name, new, head)
        found = compare({**before, "sunset": None}, {**after, "sunset": None})
        return {**self._with_consumers(_document(name, old, found)), "to": new}

    def _live(self, head: int) -> dict[Address, Contract]:
        """The contracts of an applied version; looking makes nothing."""
        if not self.home.contracts.exists():
            return {}
        store = Contracts(self.home.contracts)
        try:
            return store.of(self.env, head)
        finally:
            store.close()

    def _of(
        self, project: Project, before: Mapping[Address, Contract], *, offline: bool = False
    ) -> dict[Address, Contract]:
        """What a project promises. Of a source that cannot be asked the fields count as they were; an API that is new
        and broken, or whose source is away, has no contract yet."""
        compiled = None if offline or not project.apis else asyncio.run(_compiled(self.publishing(), project))
        apis = compiled.publication.apis if compiled is not None else {}
        found: dict[Address, Contract] = {}
        for name, entry in project.apis.items():
            where = address(name, entry)
            if entry.draft is not None:
                continue  # it promises nothing yet
            if where in apis:
                found[where] = contract_of(apis[where])
            elif where in before:
                found[where] = without_source(entry, before[where])
        return found

    def _told(
        self, project: Project, before: Mapping[Address, Contract], after: Mapping[Address, Contract]
    ) -> list[Document]:
        entries = {address(name, entry): name for name, entry in project.apis.items()}
        return [
            {**self._with_consumers(one), "entry": entries.get((one["version"], one["api"]), "")}
            for one in compared(before, after, datetime.now(UTC))
        ]

    def _one(self, name: str, version: str, head: int) -> tuple[str, Contract]:
        live = self._live(head)
        found = {one: told for (one, api), told in live.items() if api == name}
        if not live:
            raise NotFoundError(
                f"no API of {shown(self.env)} was applied yet", hint="tongqu apply keeps what they promise"
            )
        if not found:
            names = sorted({api for _, api in live})
            raise UnknownNameError(f"there is no API {name!r}", hint=nearest(name, names), params={"name": name})
        chosen = version or max(found, key=lambda word: (len(word), word))
        if chosen not in found:
            hint = nearest(chosen, sorted(found))
            raise UnknownNameError(f"there is no version {chosen!r} of {name!r}", hint=hint, params={"name": chosen})
        return chosen, found[chosen]

    def _with_consumers(self, one: Document) -> Document:
        used = self.consumers(one["api"], one["version"]) if one["breaking"] else {}
        return {
            **one,
            "changes": [
                {**change, "consumers": used.get(change["field"], []) if change["breaking"] else []}
                for change in one["changes"]
            ],
        }

    def consumers(self, name: str, version: str) -> dict[str, list[str]]:
        """Clients by the field that they used; under no name those that called at all."""
        from tongqu.store.audit.usage import Usage

        if not self.home.api_usage.exists():
            return {}
        since = (datetime.now(UTC) - timedelta(days=DAYS)).date().isoformat()
        store = Usage(self.home.api_usage)
        try:
            used = store.usage(name, version, since)
        finally:
            store.close()
        found: dict[str, list[str]] = {}
        for client, field in used:
            found.setdefault(field, []).append(client)
        return found


def compared(before: Mapping[Address, Contract], after: Mapping[Address, Contract], now: datetime) -> list[Document]:
    """Per version that differs what does; a version that goes before its sunset breaks whoever calls it."""
    told = []
    for (version, name), old in before.items():
        new = after.get((version, name))
        if new is not None:
            found = compare(old, new)
        elif old["sunset"] is not None and day(old["sunset"]) <= now:
            continue
        else:
            found = [Difference("version.removed", "version", "version", version, None, True)]
        if found:
            told.append(_document(name, version, found))
    return told


def refusal(told: Sequence[Document]) -> BreakingChangeError | None:
    """The error that names every change which breaks callers, and who they are; None if there is none."""
    broken = [one for one in told if one["breaking"]]
    if not broken:
        return None
    lines = [f"{one['api']} {one['version']}: {_sentence(change)}" for one in broken for change in one["changes"]
             if change["breaking"]]  # fmt: skip
    return BreakingChangeError(
        f"callers of live versions would break: {'; '.join(lines)}",
        path=f"apis.{broken[0]['entry'] or broken[0]['api']}",
        hint="publish it as a new version beside the old one, or say --accept-breaking",
        params={"changes": "; ".join(lines)},
    )


async def _compiled(publishing: Publishing, project: Project) -> Compiled:
    compiled = await publishing.compile(project, "files")
    await publishing.close(compiled)
    return compiled


def _document(name: str, version: str, found: Sequence[Difference]) -> Document:
    changes = [one.to_json() for one in found]
    return {"api": name, "version": version, "breaking": any(one.breaking for one in found), "changes": changes}


def _sentence(change: Mapping[str, Any]) -> str:
    users = ", ".join(change["consumers"])
    told = f"{change['at']} ({change['code']}): {change['before']} → {change['after']}"
    return f"{told}, used by {users}" if users else told
