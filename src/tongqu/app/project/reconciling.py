"""Checks the `reconcile` section: both sides of each entry are connections of the project."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal, Self

from pydantic import Field, field_validator, model_validator

from tongqu.app.project.places import Key, Places, nearest
from tongqu.app.project.problems import parse
from tongqu.app.project.schedules import ScheduleEntry
from tongqu.core.errors import ExpressionError, TongquError, UnknownNameError
from tongqu.core.settings import Settings


class ReconcileSide(Settings):
    """A table that is compared."""

    connection: str
    """Name of a connection."""
    dataset: str
    """Remote name of the table."""


class ReconcileEntry(Settings):
    """Two tables that must hold the same rows."""

    left: ReconcileSide
    """The side that is right when they differ."""
    right: ReconcileSide
    """The side that is repaired."""
    key: list[str] = Field(default_factory=list)
    """Columns that identify a row (default: the key of the tables)."""
    columns: list[str] = Field(default_factory=list)
    """Columns that are compared (default: all that both have)."""
    where: str | None = None
    """Which rows are compared, as an expression."""
    tolerance: float = Field(default=0.0, ge=0)
    """How far floating-point numbers may differ."""
    schedule: ScheduleEntry | None = None
    """When to compare: a cron expression, or what starts it: `{cron: "30 0 * * *", calendar: workdays}`."""
    repair: Literal["ask", "auto", "never", "always"] = "ask"
    """`ask`: only with `--repair`; `auto` (or `always`): whenever rows differ; `never`."""

    @field_validator("key", "columns", mode="before", json_schema_input_type=str | list[str])
    @classmethod
    def _one(cls, value: Any) -> Any:
        return [value] if isinstance(value, str) else value

    @model_validator(mode="after")
    def _two_tables(self) -> Self:
        if self.left == self.right:
            raise ValueError("left and right are the same table")
        return self


def check_reconcile(
    section: Mapping[str, Any], connections: Mapping[str, Any], places: Places, problems: list[TongquError]
) -> dict[str, ReconcileEntry]:
    """The valid entries by name; what is wrong with the others is added to `problems`."""
    valid: dict[str, ReconcileEntry] = {}
    for name, values in section.items():
        key: Key = ("reconcile", name)
        entry = parse(ReconcileEntry, values, key, places, problems)
        if entry is None:
            continue
        before = len(problems)
        for side in ("left", "right"):
            connection = getattr(entry, side).connection
            if connection not in connections:
                problems.append(
                    UnknownNameError(
                        f"there is no connection {connection!r}",
                        path=places.path((*key, side, "connection")),
                        hint=nearest(connection, list(connections)),
                    )
                )
        _check_where(entry, key, places, problems)
        if len(problems) == before:
            valid[name] = entry
    return valid


def _check_where(entry: ReconcileEntry, key: Key, places: Places, problems: list[TongquError]) -> None:
    if entry.where is None:
        return
    from tongqu.meaning.expressions import parsed

    try:
        parsed(entry.where)
    except ExpressionError as error:
        error.path = places.path((*key, "where"))
        problems.append(error)
