"""Turns the APIs of a project into what is served: sources opened, fields described, rules compiled, all or nothing."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime, tzinfo
from typing import TYPE_CHECKING, Any, Literal

from tongqu.app.project.apis import Address, address, servers
from tongqu.app.project.connections import connector_of
from tongqu.app.project.places import nearest
from tongqu.app.services.touching import same
from tongqu.core.errors import (
    ConfigError,
    ConnectorError,
    InvalidPlanError,
    TimedOutError,
    TongquError,
    UnknownNameError,
)
from tongqu.gateway.contract.lifecycle import day, http_date, over
from tongqu.gateway.publication import DRAFT, Api, Publication, Relation

if TYPE_CHECKING:
    from tongqu.app.project.load import Project
    from tongqu.app.services.ends import End, Ends
    from tongqu.app.services.proving import Proofs
    from tongqu.core.server import Server
    from tongqu.gateway.entry import ApiEntry
    from tongqu.store.scrub import Scrubber

_OPEN_SECONDS = 20.0
_UNREACHABLE = (ConnectorError, TimedOutError)
"""What may be over in a moment; anything else is wrong in the definition."""


@dataclass(frozen=True)
class Status:
    """What became of one API. `state` is `published`, `unreachable` (its source, for now), `broken` (its definition) or
    `gone` (its sunset has come);
    `problems` are as the CLI shows them."""

    name: str
    version: str
    entry: str
    state: str
    problems: tuple[Mapping[str, Any], ...] = ()
    api: Api | None = None

    def to_json(self) -> dict[str, Any]:
        """For `api list`."""
        return {
            "name": self.name,
            "version": self.version,
            "entry": self.entry,
            "path": f"/api/{self.version}/{self.name}",
            "state": self.state,
            "problems": list(self.problems),
        }


@dataclass(frozen=True)
class Held:
    """A server that is open, with what it was opened with."""

    server: Server
    settings: Any


@dataclass
class Compiled:
    """A publication with the servers that answer for it."""

    publication: Publication
    statuses: tuple[Status, ...] = ()
    held: dict[str, Held] = field(default_factory=dict)
    ends: datetime | None = None
    """When the next of its versions is withdrawn."""

    @property
    def broken(self) -> bool:
        """Whether a definition is wrong."""
        return any(status.state == "broken" for status in self.statuses)

    @property
    def unreachable(self) -> bool:
        """Whether a source could not be reached."""
        return any(status.state == "unreachable" for status in self.statuses)


@dataclass(frozen=True)
class Publishing:
    """Compiles projects. `ends` resolves a project's connections; `zone` is where `hours` of rules are."""

    ends: Callable[[Project], Ends]
    scrubber: Scrubber
    now: Callable[[], datetime]
    zone: tzinfo
    proofs: Proofs
    sunsets: Callable[[], Mapping[Address, str]] = dict
    """The days of versions that were published once."""

    async def compile(self, project: Project, version: str, before: Compiled | None = None) -> Compiled:
        """What the project publishes, as `version`. Servers of `before` whose connection is the same are kept open.

        Never raises for what is wrong with one API: that becomes its status, and the others stand.
        """
        ends = self.ends(project)
        failures: dict[str, TongquError] = {}
        held = await self._open(project, ends, before.held if before else {}, failures)
        ended = {name for name, entry in project.apis.items() if over(entry, self.now())}
        statuses = await asyncio.gather(
            *(self._status(project, ends, name, held, failures) for name in project.apis if name not in ended)
        )  # fmt: skip
        statuses = _related(project, list(statuses), self.scrubber)
        statuses = [await self._proved(project, status) for status in statuses]
        apis = {(status.version, status.name): status.api for status in statuses if status.api is not None}
        degraded = {(one.version, one.name): project.apis[one.entry] for one in statuses if one.api is None}
        gone = self._gone(project, ended)
        statuses += [Status(where[1], where[0], name, "gone") for name, where in _addresses(project) if name in ended]
        shown = Publication(version, apis, gone=gone, project=project.name, degraded=degraded)
        ends_at = min((day(one.entry.sunset) for one in apis.values() if one.entry.sunset is not None), default=None)
        return Compiled(shown, tuple(statuses), held, ends_at)

    def _gone(self, project: Project, ended: set[str]) -> dict[Address, str]:
        """The versions whose day has come, those that are not in the files any more too, with it as HTTP writes it."""
        there = {where: name for name, where in _addresses(project)}
        days = {where: told for where, told in self.sunsets().items() if where not in there and day(told) <= self.now()}
        days |= {where: str(project.apis[name].sunset) for where, name in there.items() if name in ended}
        return {where: http_date(told) for where, told in days.items()}

    async def _proved(self, project: Project, status: Status) -> Status:
        """The status; broken where the leak suite finds that hidden things can be learnt."""
        if status.api is None:
            return status
        try:
            open_to_all = replace(status.api, policy=status.api.policy.opened())
            await self.proofs.check(open_to_all, f"apis.{status.entry}.access")
        except TongquError as error:
            problem = _problem(project, status.entry, error, self.scrubber)
            return replace(status, api=None, state="broken", problems=(problem,))
        return status

    async def close(self, compiled: Compiled, *kept: Compiled) -> None:
        """Close the servers that none of `kept` uses."""
        still = {id(one.server) for other in kept for one in other.held.values()}
        closing = [one.server.close() for one in compiled.held.values() if id(one.server) not in still]
        await asyncio.gather(*closing, return_exceptions=True)

    async def _open(
        self, project: Project, ends: Ends, before: Mapping[str, Held], failures: dict[str, TongquError]
    ) -> dict[str, Held]:
        held: dict[str, Held] = {}

        async def one(name: str) -> None:
            try:
                end = await asyncio.to_thread(ends.end, name)
                was = before.get(name)
                if was is not None and was.settings == end.settings:
                    held[name] = was
                    return
                held[name] = Held(await opened(end), end.settings)
            except TongquError as error:
                failures[name] = error

        await asyncio.gather(*(one(name) for name in {entry.source.connection for entry in project.apis.values()}))
        return held

    async def _status(
        self, project: Project, ends: Ends, name: str, held: Mapping[str, Held], failures: Mapping[str, TongquError]
    ) -> Status:
        entry = project.apis[name]
        version, shown = address(name, entry)
        error = failures.get(entry.source.connection)
        if error is None:
            try:
                async with asyncio.timeout(_OPEN_SECONDS):
                    api = await self._api(project, ends, name, held[entry.source.connection].server)
                return Status(shown, version, name, "published", api=api)
            except TimeoutError:
                error = TimedOutError(f"{entry.source.connection} did not describe its rows in time")
            except TongquError as failure:
                error = failure
        state = "unreachable" if isinstance(error, _UNREACHABLE) else "broken"
        return Status(shown, version, name, state, (_problem(project, name, error, self.scrubber),))

    async def _api(self, project: Project, ends: Ends, name: str, server: Server) -> Api:
        from tongqu.app.project.meaning import described
        from tongqu.core.data import Dataset
        from tongqu.gateway.policy.compiling import compile_policy
        from tongqu.meaning.rules import Rule

        entry = project.apis[name]
        source = entry.source
        meaning = source.as_ or source.dataset or ""
        if source.dataset is not None:
            found = await server.describe(source.dataset)
            tables = {source.dataset}
        else:
            sql = str(source.query)
            schema = await server.columns(sql, {key: told.default for key, told in source.parameters.items()})
            found = Dataset(name, schema)
            tables = _tables(sql, server.dialect)
        told = described(found, project.dictionary.get(meaning))
        dataset = _published(told, entry, f"apis.{name}")
        if entry.live is not None and entry.live.cursor not in (None, *told.columns):
            raise _no_field(str(entry.live.cursor), told.columns, f"apis.{name}.live.cursor")
        version, shown = address(name, entry)
        policy = compile_policy(
            entry.access, dataset, now=self.now, zone=self.zone, path=f"apis.{name}.access", name=shown,
            secret=lambda reference: ends.secret(reference).encode(), columns=told.schema,
            reviewers=entry.draft.reviewers if entry.draft is not None else None,
        )  # fmt: skip
        dictionary = project.dictionary.get(meaning)
        raw = (project.entries.get(meaning) or {}).get("fields") or {} if dictionary else {}
        return Api(
            name=shown,
            version=version,
            entry=entry if entry.draft is None else entry.model_copy(update={"webhooks": {}}),
            dataset=dataset,
            server=server,
            connection=source.connection,
            policy=policy,
            table=source.dataset or "",
            sql=source.query or "",
            parameters={key: _type(one.type) for key, one in source.parameters.items()},
            rules={key: Rule.model_validate(raw[key]) for key in dataset.columns if raw.get(key)},
            tables=frozenset(f"{source.connection}/{table}" for table in tables),
            writes=await _writes(entry, server),
            changed_by=_changed_by(project, ends, entry, tables, known=bool(found.key)),
            subjects={
                identity: told.schema.field(field)
                for identity, field in (dictionary.subject if dictionary else {}).items()
                if field in told.columns
            },
        )


async def _writes(entry: ApiEntry, server: Server) -> Literal["", "exactly-once", "at-least-once"]:
    """See Api.writes. Where the source cannot tell, nobody is worried."""
    if not (entry.write.insert or entry.write.update or entry.write.delete):
        return ""
    return "at-least-once" if await server.keeps_keys() is False else "exactly-once"


async def opened(end: End) -> Server:
    """The server of a connection, open; raises InvalidPlanError, TimedOutError and what `Server.open` does."""
    if end.connector.server is None:
        raise InvalidPlanError(
            f"{end.connector.name} cannot be published directly",
            path=f"connections.{end.name}",
            hint=f"move its rows by a pipeline into one that can: {', '.join(servers())}",
            params={"name": end.connector.name},
        )
    server = end.connector.server(end.settings)
    try:
        async with asyncio.timeout(_OPEN_SECONDS):
            await server.open()
    except BaseException as error:
        await server.close()
        if isinstance(error, TimeoutError):
            raise TimedOutError(f"{end.name} did not answer in time") from None
        raise
    return server


def _changed_by(project: Project, ends: Ends, entry: ApiEntry, tables: set[str], *, known: bool) -> frozenset[str]:
    """See Api.changed_by; `known`: the source has a key for its rows, as tables have and views have not. Connections
    are only looked into for APIs that keep answers."""
    own = entry.source.connection
    names = {own}
    if entry.cache is not None:
        end = ends.end(own)
        kind = end.connector.name
        names |= {
            name for name in project.connections if _kind(project, name) == kind and same(ends, name, end.identity)
        }
    read = tables if known and entry.source.query is None else {"*"}
    return frozenset(f"{name}/{table}" for name in names for table in read)


def _kind(project: Project, name: str) -> str:
    try:
        return connector_of(project.connections[name]).name
    except ConfigError:
        return ""


def _published(dataset: Any, entry: ApiEntry, path: str) -> Any:
    """The dataset with only the published fields, in their order, and the key if it is among them."""
    import pyarrow as pa

    key = tuple(entry.source.key) or dataset.key
    for at, name in enumerate(entry.source.key):
        if name not in dataset.columns:
            raise _no_field(name, dataset.columns, f"{path}.source.key[{at}]")
    if entry.fields is None:
        return replace(dataset, schema=dataset.schema, key=key)
    for at, name in enumerate(entry.fields):
        if name not in dataset.columns:
            raise _no_field(name, dataset.columns, f"{path}.fields[{at}]")
    schema = pa.schema([dataset.schema.field(name) for name in entry.fields], metadata=dataset.schema.metadata)
    return replace(dataset, schema=schema, key=key if set(key) <= set(entry.fields) else ())


def _no_field(name: str, valid: Any, path: str) -> UnknownNameError:
    return UnknownNameError(
        f"there is no field {name!r}", path=path, hint=nearest(name, list(valid)), params={"name": name}
    )


def _related(project: Project, statuses: list[Status], scrubber: Scrubber) -> list[Status]:
    """The statuses with relations tied; one that leads to nothing makes its API broken, one that leads to an API that
    is not there at the moment is left out."""
    found = {(status.version, status.name): status for status in statuses}
    tied: list[Status] = []
    for status in statuses:
        if status.api is None or not status.api.entry.relations:
            tied.append(status)
            continue
        try:
            relations = _relations(status, found)
            tied.append(replace(status, api=replace(status.api, relations=relations)))
        except UnknownNameError as error:
            problem = _problem(project, status.entry, error, scrubber)
            tied.append(replace(status, api=None, state="broken", problems=(problem,)))
    return tied


def _addresses(project: Project) -> list[tuple[str, Address]]:
    return [(name, address(name, entry)) for name, entry in project.apis.items()]


def _relations(status: Status, found: Mapping[Address, Status]) -> dict[str, Relation]:
    assert status.api is not None  # noqa: S101  # asked for published ones only
    relations: dict[str, Relation] = {}
    for name, told in status.api.entry.relations.items():
        path = f"apis.{status.entry}.relations.{name}.on"
        versions = (status.version, status.version.removesuffix(DRAFT))
        other = next((found[one, told.api].api for one in versions if (one, told.api) in found), None)
        for here, there in told.on.items():
            if here not in status.api.dataset.columns:
                raise _no_field(here, status.api.dataset.columns, path)
            if other is not None and there not in other.dataset.columns:
                raise _no_field(there, other.dataset.columns, path)
        if other is not None:
            relations[name] = Relation(name, told.api, dict(told.on), told.many)
    return relations


def _problem(project: Project, name: str, error: TongquError, scrubber: Scrubber) -> Mapping[str, Any]:
    problem = scrubber.problem(error.problem())
    path = problem["path"]
    if not path.startswith(("apis.", "connections.")):
        path = f"apis.{name}.source"
    problem["path"] = project.places.located(path)
    return problem


def _type(word: str) -> Any:
    import pyarrow as pa

    from tongqu.meaning.expressions import cast, literal, type_of

    ((_, kind),) = type_of([cast(literal(None), word)], pa.schema([pa.field("given", pa.null())]))
    return kind


def _tables(sql: str, dialect: str) -> set[str]:
    """The tables that an approved SELECT reads."""
    import sqlglot
    from sqlglot import exp

    tree = sqlglot.parse_one(sql, dialect=dialect or None)
    own = {cte.alias_or_name for cte in tree.find_all(exp.CTE)}
    return {".".join(part.name for part in table.parts) for table in tree.find_all(exp.Table)} - own


def digest(project: Project) -> str:
    """A short text that changes when what is published could."""
    told = repr([project.shared, project.overlay]).encode()
    return hashlib.sha256(told).hexdigest()[:12]
