"""Puts the parts together; the only module that knows everybody."""

from __future__ import annotations

import secrets
import sqlite3
from collections.abc import Callable
from datetime import UTC, datetime
from functools import cached_property
from pathlib import Path
from threading import Event
from typing import TYPE_CHECKING

from tongqu.store.home import Home
from tongqu.store.scrub import Scrubber, known

if TYPE_CHECKING:
    from tongqu.app.project.load import Project
    from tongqu.app.services.ends import Ends
    from tongqu.app.services.execution import Runner
    from tongqu.engine.job import Surroundings
    from tongqu.store.references import References
    from tongqu.store.runs import Runs


class Wire:
    """The parts for one project folder and environment, each made when it is first asked for.

    `warn` is called with a message id and its parameters for what a person should know.
    """

    def __init__(self, folder: Path, env: str, warn: Callable[..., None]):
        self.folder = folder
        self.env = env
        self.scrubber: Scrubber = known
        self.stop = Event()
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
        from tongqu.store.references import References

        return References(secrets=self.home.secrets, folder=self.folder, scrubber=self.scrubber)

    @cached_property
    def ends(self) -> Ends:
        """URLs and connection names as sources and sinks."""
        from tongqu.app.services.ends import Ends

        return Ends(references=self.references, scrubber=self.scrubber, project=lambda: self.project, warn=self._warn)

    def past_runs(self) -> Runs | None:
        """The run store if something has run in this home; looking creates nothing."""
        return self.runs() if self.home.runs.exists() else None

    def runs(self) -> Runs | None:
        """The run store; None after a warning if this home cannot hold one."""
        from tongqu.core.errors import CheckpointError
        from tongqu.store.runs import Runs

        try:
            return Runs.open(self.home)
        except (sqlite3.Error, OSError, CheckpointError) as error:
            self._warn("warning.home", home=str(self.home.path), error=str(error))
            return None

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

        return Runner(engine=run, around=self.surroundings, scrubber=self.scrubber, runs=self.runs)


def new_id() -> str:
    """A run's id: sorts by time, unique across machines (`20260131-142501-9f3a1c2b`)."""
    return f"{datetime.now(UTC):%Y%m%d-%H%M%S}-{secrets.token_hex(4)}"
