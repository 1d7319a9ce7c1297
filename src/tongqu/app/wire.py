"""Puts the parts together; the only module that knows everybody."""

from __future__ import annotations

import os
import secrets
import sqlite3
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from functools import cached_property
from pathlib import Path
from threading import Event
from typing import TYPE_CHECKING

from tongqu.store.home import Home
from tongqu.store.scrub import Scrubber, known

if TYPE_CHECKING:
    from tongqu.app.project.load import Project
    from tongqu.app.services.assessing.assessment import Assessing
    from tongqu.app.services.contracting import Promises
    from tongqu.app.services.diffing import Comparing
    from tongqu.app.services.ends import Ends
    from tongqu.app.services.execution import Runner
    from tongqu.app.services.governing import Governing
    from tongqu.app.services.hooks import Hooks
    from tongqu.app.services.identity import Callers
    from tongqu.app.services.profiling import Profiling
    from tongqu.app.services.recording import Recordings
    from tongqu.app.services.reviewing import Reviewing
    from tongqu.app.services.secrets import Keeping
    from tongqu.app.services.taken_in import TakenIn
    from tongqu.app.services.testing.cases import Testing
    from tongqu.app.services.touching import Touching
    from tongqu.engine.forgetting import Forgetting
    from tongqu.engine.job import Surroundings
    from tongqu.gateway.auth.settings import IdentitySettings
    from tongqu.kit.egress.access import Access
    from tongqu.store.audit.trail import Trail
    from tongqu.store.jobs.jobs import Jobs
    from tongqu.store.references import References
    from tongqu.store.runs import Runs
    from tongqu.store.secrets.usage import Usage
    from tongqu.store.secrets.vault import Vault
    from tongqu.store.versions import Versions


class Wire:
    """The parts for one project folder and environment, each made when it is first asked for.

    `warn` is called with a message id and its parameters for what a person should know.
    """

    def __init__(self, folder: Path, env: str, warn: Callable[..., None], command: str = ""):
        self.folder = folder
        self.env = env
        self.command = command
        self.scrubber: Scrubber = known
        self.stop = Event()
        self.recordings: Recordings | None = None
        """Where HTTP calls are recorded or answered from, if they are."""
        self._warn = warn

    @cached_property
    def home(self) -> Home:
        """Where runs and secrets are kept."""
        return Home.locate(self.folder)

    @cached_property
    def project(self) -> Project:
        """The project's files, checked; raises ConfigError."""
        from tongqu.app.project.load import load

        return load(self.folder, self.env)

    @cached_property
    def references(self) -> References:
        """Resolves `${…}`."""
        from tongqu.app.services.secrets import looked_up
        from tongqu.store.references import References

        return References(
            secrets=self.home.secrets,
            folder=self.folder,
            scrubber=self.scrubber,
            stored=lambda name: looked_up(self.home, self.scrubber, name),
            vault=self._in_vault,
            noted=self.usage.note,
        )

    @cached_property
    def secrets(self) -> Keeping:
        """The home's sealed secrets."""
        from tongqu.app.services.secrets import Keeping

        return Keeping(self.home, self.scrubber)

    def callers(self) -> Callers:
        """Clients and people that may call the published APIs."""
        from tongqu.app.services.identity import Callers

        return Callers(self.home, self.scrubber, self.identity_settings)

    def taken_in(self) -> TakenIn:
        """What was sent to `/ingest`."""
        from tongqu.app.services.taken_in import TakenIn

        return TakenIn(self.home)

    def hooks(self) -> Hooks:
        """The webhooks of the project."""
        from tongqu.app.services.hooks import Hooks

        return Hooks(self.home, lambda: self.project, self.secrets, self.references.resolve)

    def identity_settings(self) -> IdentitySettings:
        """The section `identity` of the project; its defaults where there is no project."""
        from tongqu.gateway.auth.settings import IdentitySettings

        return self.project.identity if (self.folder / "tongqu.yaml").is_file() else IdentitySettings()

    def reviewing(self) -> Reviewing:
        """Reviews who may what."""
        from tongqu.app.services.reviewing import Reviewing, called, granted
        from tongqu.app.services.versioning import person

        def grants() -> Mapping[str, frozenset[str]] | None:
            if not (self.folder / "tongqu.yaml").is_file():
                return None
            return granted({**self.project.shared.get("apis", {}), **self.project.overlay.get("apis", {})})

        return Reviewing(self.callers(), grants, lambda actor: called(self.home, actor), person)

    def trail(self) -> Trail:
        """The audit trail of the home, which is made if it is not there; close it. Raises AuditError."""
        from tongqu.store.audit.trail import Trail

        return Trail.open(self.home)

    @cached_property
    def vault(self) -> Vault:
        """The vault that the environment names; raises SecretError if it names none."""
        from tongqu.app.services.secrets import vault

        return vault(self.scrubber)

    def _in_vault(self, name: str) -> str:
        return self.vault.value(name)

    @cached_property
    def usage(self) -> Usage:
        """Which references this command resolved."""
        from tongqu.store.secrets.usage import Usage

        return Usage(self.home, command=self.command, warn=lambda error: self._warn("warning.usage", error=error))

    @cached_property
    def ends(self) -> Ends:
        """URLs and connection names as sources and sinks."""
        return self.ends_of(lambda: self.project)

    def ends_of(self, project: Callable[[], Project]) -> Ends:
        """The same for the connections of another version of the project."""
        from tongqu.app.services.ends import Ends

        return Ends(
            references=self.references,
            scrubber=self.scrubber,
            project=project,
            warn=self._warn,
            lodging=self.home.lodging,
            hub=self.hub,
            recordings=lambda: self.recordings,
            forgets=self._forgets,
            persons=self._persons,
        )

    def _persons(self) -> Mapping[str, Mapping[str, str]]:
        if not self.home.tombstones.exists() or not (self.folder / "tongqu.yaml").is_file():
            return {}
        return {name: entry.subject for name, entry in self.project.dictionary.items() if entry.subject}

    def _forgets(self, fields: Mapping[str, Mapping[str, str]]) -> Forgetting | None:
        from tongqu.engine.forgetting import Forgetting
        from tongqu.store.subjects import Digests, erased

        gone = erased(self.home)
        return Forgetting.of(fields, gone, Digests.open(self.home).of) if gone else None

    def hub(self) -> Access | None:
        """How to enter the hub of agents that runs in this home, if one does; nothing else may connect to its port."""
        from tongqu.kit.egress.access import Access
        from tongqu.kit.egress.own_ports import announce

        access = Access.read(self.home.path)
        if access is not None:
            announce(access.port)
        return access

    def comparing(self, command: str) -> Comparing:
        """Compares tables and writes repairs down."""
        from tongqu.app.services.diffing import Around, Comparing
        from tongqu.app.services.execution import Recorder, Run

        around = Around(
            now=lambda: datetime.now(UTC),
            new_id=new_id,
            folder=lambda: self.home.ensure() / "certificates",
            stop=self.stop,
            recorder=lambda sinks: Recorder(Run("diff", command, sinks), self.runs, self.scrubber),
            scrubber=self.scrubber,
        )
        return Comparing(self.ends, around)

    def profiling(self) -> Profiling:
        """Profiles datasets and keeps what was seen."""
        from tongqu.app.services.profile_page import page
        from tongqu.app.services.profiling import Profiling
        from tongqu.store.profiles import Profiles
        from tongqu.store.runs import instant

        return Profiling(
            ends=self.ends,
            store=lambda: Profiles.open(self.home),
            page=page,
            new_id=new_id,
            at=lambda: instant(datetime.now(UTC)),
            stop=self.stop,
        )

    def assessing(self) -> Assessing:
        """Assesses vendors' interfaces, and watches their documents."""
        from tongqu.app.services.assessing.assessment import Assessing, Pages
        from tongqu.app.services.assessing.markdown import markdown
        from tongqu.app.services.assessing.page import page
        from tongqu.app.services.assessing.words import worded
        from tongqu.store.runs import instant

        return Assessing(
            ends=self.ends,
            home=self.home,
            scrubber=self.scrubber,
            pages=Pages(worded, page, markdown),
            at=lambda: instant(datetime.now(UTC)),
            new_id=new_id,
            stop=self.stop,
        )

    def record(self, into: Path | None, replay: Path | None) -> None:
        """Record HTTP calls into a folder, or answer them from one; raises InvalidPlanError if both are named."""
        from tongqu.app.services.recording import chosen

        self.recordings = chosen(into, replay, lambda: self.project.entries, self.folder)

    def testing(self, seed: int = 1) -> Testing:
        """Makes and runs the cases of connections."""
        from time import monotonic

        from tongqu.app.services.testing.cases import Pages, Testing
        from tongqu.app.services.testing.page import junit, page
        from tongqu.app.services.testing.targets import Targets
        from tongqu.store.runs import instant

        return Testing(
            targets=Targets(self.ends, lambda: self.project, self.folder, seed),
            folder=self.folder,
            scrubber=self.scrubber,
            pages=Pages(page, junit),
            at=lambda: instant(datetime.now(UTC)),
            new_id=new_id,
            clock=monotonic,
            stop=self.stop,
        )

    def past_runs(self) -> Runs | None:
        """The run store if something has run in this home; looking creates nothing."""
        return self.runs() if self.home.runs.exists() else None

    def runs(self) -> Runs | None:
        """The run store; None after a warning if this home cannot hold one."""
        from tongqu.core.errors import CheckpointError
        from tongqu.store.runs import Runs

        try:
            return Runs.open(self.home, began=self.usage.began)
        except (sqlite3.Error, OSError, CheckpointError) as error:
            self._warn("warning.home", home=str(self.home.path), error=str(error))
            return None

    def has_jobs(self) -> bool:
        """Whether there may be jobs; looking creates nothing."""
        return self.home.jobs.exists() or bool(self._store())

    def jobs(self) -> Jobs:
        """Jobs and schedules, in the home or where `$TONGQU_STORE` or `run.store` says; close it. Raises ConnectError,
        SecretError, sqlite3.Error or OSError."""
        from tongqu.store.jobs.jobs import Jobs

        return Jobs.open(self.home, self._store(), self.now)

    def _store(self) -> str:
        told = os.environ.get("TONGQU_STORE") or self.project.running.store or ""
        url = str(self.references.resolve(told)) if told else ""
        self.scrubber.add_url(url)
        return url

    def now(self) -> float:
        """The time of day, in seconds since 1970."""
        return datetime.now(UTC).timestamp()

    def applied(self) -> tuple[int, str]:
        """The applied version that the project's files are (0: none), and the digest of their contents."""
        from tongqu.app.services.versioning import contents, opened
        from tongqu.store.versions import digest

        if not self.home.versions.exists():
            return 0, digest(*contents(self.project, self.scrubber))
        store = self.versions()
        try:
            return opened(self.folder, self.env, lambda: self.project, store=store, scrubber=self.scrubber).applied()
        finally:
            store.close()

    def versions(self) -> Versions:
        """The versions of this home, which is made if it is not there; raises OSError or sqlite3.Error."""
        from tongqu.store.versions import Versions

        return Versions.open(self.home)

    @property
    def governing(self) -> Governing:
        """The budgets of the project's connections."""
        from tongqu.app.services.governing import Governing

        return Governing(self)

    @cached_property
    def surroundings(self) -> Surroundings:
        """Clock, ids and stopping."""
        from tongqu.engine.job import Surroundings

        return Surroundings(now=lambda: datetime.now(UTC), new_id=new_id, stop=self.stop, wait=self.stop.wait)

    @cached_property
    def runner(self) -> Runner:
        """Runs jobs and writes them down."""
        from tongqu.app.services.execution import Runner
        from tongqu.engine.run import run

        return Runner(
            engine=run, around=self.surroundings, scrubber=self.scrubber, runs=self.runs, touched=self.touching,
            govern=self.governing.valves, took=self.governing.took,
        )  # fmt: skip

    @property
    def promises(self) -> Promises:
        """The contracts of published APIs in this environment."""
        from tongqu.app.services.contracting import Promises
        from tongqu.app.services.serving import publishing_of

        return Promises(self.home, self.env, lambda: publishing_of(self))

    @property
    def touching(self) -> Touching:
        """Tells those who answer callers of this home which tables were written."""
        from tongqu.app.services.touching import Touching

        return Touching(self.home, lambda: self.ends, lambda: self.project)


def new_id() -> str:
    """A run's id: sorts by time, unique across machines (`20260131-142501-9f3a1c2b`)."""
    return f"{datetime.now(UTC):%Y%m%d-%H%M%S}-{secrets.token_hex(4)}"
