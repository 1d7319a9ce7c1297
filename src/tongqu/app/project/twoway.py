"""Checks the `sync` section: systems that hold the same records, who decides about them, and how far it has come."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal, Self

from pydantic import Field, field_validator, model_validator

from tongqu.app.project.places import Key, Places, nearest
from tongqu.app.project.problems import parse
from tongqu.app.project.schedules import ScheduleEntry
from tongqu.core.errors import TongquError, UnknownNameError
from tongqu.core.settings import Names, Settings
from tongqu.meaning.agreeing import EVERY
from tongqu.meaning.gates import STAGES


class TwoWaySide(Settings):
    """A table that takes part."""

    connection: str
    """Name of a connection whose system can be queried and changed (`tongqu connectors`: serves)."""
    dataset: str
    """Remote name of the table."""
    name: str = ""
    """How this side is called (default: its connection)."""
    key: Names = ()
    """Its own columns that identify a record (default: those of the first side, mapped)."""
    map: dict[str, str] = Field(default_factory=dict)
    """Its own columns that are called otherwise: `{PARAM_NO: param_no}` is its name and the common one."""
    reader: bool = False
    """People only read it: it gets every agreed (approved) version, and its own changes are overwritten."""
    mark: str = ""
    """A replication origin under which our own writes come back in its log: such changes are not looked at."""

    @property
    def called(self) -> str:
        """Its name."""
        return self.name or self.connection


class ApprovedEntry(Settings):
    """What an approved row has."""

    field: str
    """A common field."""
    value: str
    """Its value in an approved row, as text."""


class GatesEntry(Settings):
    """What must hold before the next stage may begin; a round that breaks it goes back one stage."""

    clean_days: float | None = Field(default=None, ge=0)
    """Days since the stage began and since the last round with a difference or an error."""
    differences: int | None = Field(default=None, ge=0)
    """Records that may differ at the end of a round."""
    p95_ms: float | None = Field(default=None, gt=0)
    """95 of 100 changes were agreed on within so many milliseconds of being noticed."""
    error_rate: float | None = Field(default=None, ge=0, le=1)
    """Errors per record that was looked at, over the last 20 rounds."""
    rounds: int = Field(default=1, ge=1)
    """Rounds that the stage must have had before the next one may begin."""


class TwoWayEntry(Settings):
    """Tables of two or more systems that hold the same records, kept in agreement."""

    between: list[TwoWaySide] = Field(min_length=2)
    """The sides; where nothing else tells, the earlier one counts more."""
    master: str | dict[str, str] = ""
    """The side that decides (default: the first), or one for each field: `{"*": qms, price: erp}`."""
    conflict: Literal["master", "newest", "merge", "manual"] = "master"
    """Who wins where several sides changed one record: the master, the greatest `version`, each field for itself, or
    a person (`tongqu twoway conflicts`)."""
    fields: Names = ()
    """Common fields that are kept in agreement (default: all that every side has)."""
    version: str = ""
    """A field that grows with every change of a record: a number or an instant."""
    approved: ApprovedEntry | None = None
    """Only rows with this value leave the system they are made in, or are given to readers."""
    deletes: Literal["carry", "restore"] = "carry"
    """What is deleted at one side is deleted everywhere, or put back."""
    refused: Literal["compensate", "wait"] = "compensate"
    """Where one side refuses a record: what others took of it is taken back, or stays; it waits for a person."""
    mode: Literal["full", "incremental", "cdc"] = "full"
    """How changes are found: by comparing all rows, by `cursor`, or in the systems' logs."""
    cursor: str = ""
    """With `mode: incremental`: the field by which new and changed rows are found."""
    compare_every: int = Field(default=100, ge=1)
    """All rows are compared once in so many rounds all the same: a cursor shows no deletions."""
    schedule: ScheduleEntry | None = None
    """When a round is done (default with `mode: cdc`: all the time)."""
    stage: Literal["shadow", "one_way", "two_way"] | None = None
    """Where it begins (default: `shadow` with gates, else `two_way`); later `tongqu twoway advance` moves it."""
    gates: GatesEntry | None = None
    """What must hold for the next stage."""

    @model_validator(mode="after")
    def _fits(self) -> Self:
        names = [side.called for side in self.between]
        if len(set(names)) < len(names):
            raise ValueError("two sides have the same name: give them a `name` each")
        for side in self.masters.values():
            if side not in names:
                raise ValueError(f"the master {side!r} is no side (sides: {', '.join(names)})")
        readers = {side.called for side in self.between if side.reader}
        if len(names) - len(readers) < 1 or readers & set(self.masters.values()):
            raise ValueError("a side that is only read can be no master")
        if self.conflict == "newest" and not self.version:
            raise ValueError("conflict: newest needs a `version`, a field that grows with every change")
        if self.mode == "incremental" and not self.cursor:
            raise ValueError("mode: incremental needs a `cursor`")
        return self

    @field_validator("gates", mode="before", json_schema_input_type=GatesEntry | None)
    @classmethod
    def _any(cls, value: Any) -> Any:
        return {} if value is None else value

    @property
    def masters(self) -> dict[str, str]:
        """Who decides, by field; `*` for the rest."""
        told = {EVERY: self.master} if isinstance(self.master, str) and self.master else self.master or {}
        first = next((side.called for side in self.between if not side.reader), self.between[0].called)
        return {EVERY: first, **dict(told)}

    @property
    def begins(self) -> str:
        """The stage where it begins."""
        return self.stage or (STAGES[0] if self.gates else STAGES[-1])


def check_two_way(
    section: Mapping[str, Any], connections: Mapping[str, Any], places: Places, problems: list[TongquError]
) -> dict[str, TwoWayEntry]:
    """The valid entries by name; what is wrong with the others is added to `problems`."""
    valid: dict[str, TwoWayEntry] = {}
    for name, values in section.items():
        key: Key = ("sync", name)
        entry = parse(TwoWayEntry, values, key, places, problems)
        if entry is None:
            continue
        unknown = [(n, side) for n, side in enumerate(entry.between) if side.connection not in connections]
        for number, side in unknown:
            problems.append(
                UnknownNameError(
                    f"there is no connection {side.connection!r}",
                    path=places.path((*key, "between", number, "connection")),
                    hint=nearest(side.connection, list(connections)),
                    params={"name": side.connection},
                )
            )
        if not unknown:
            valid[name] = entry
    return valid
