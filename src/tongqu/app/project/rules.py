"""What any connection may have beside its settings: how much of it may be asked, when, and who stands in for it."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from datetime import datetime, time, tzinfo
from typing import Any, ClassVar

from pydantic import Field, field_validator, model_validator

from tongqu.app.project.connections import connector_of
from tongqu.app.project.places import Places, nearest
from tongqu.app.project.problems import parse
from tongqu.core.errors import ConfigError, InvalidPlanError, TongquError, UnknownNameError
from tongqu.core.settings import Names, Settings

_WINDOW = re.compile(r"([01]\d|2[0-4]):([0-5]\d)-([01]\d|2[0-4]):([0-5]\d)")


class Adapt(Settings):
    """How much of a load those who use a system may feel."""

    latency: float = Field(default=1.1, gt=1.0, le=10.0)
    """Small questions may take so many times as long as without us."""
    lag_seconds: float = Field(default=10.0, gt=0)
    """So far may its replicas lag."""


class TakeWhen(Settings):
    """When an alternative is read instead."""

    failed: bool = True
    """It cannot be reached."""
    latency_ms: float | None = Field(default=None, gt=0)
    """A small question takes longer than this."""
    lag_seconds: float | None = Field(default=None, gt=0)
    """It is a replica and lags by more than this."""


class ConnectionRules(Settings):
    """What stands beside a connector's own settings in any connection."""

    shorthand: ClassVar[Mapping[str, Any]] = {"adapt": {"type": "boolean"}}

    max_splits: int | None = Field(default=None, ge=1)
    """So many splits are moved at the same time, by all pipelines together."""
    max_rate: float | None = Field(default=None, gt=0)
    """So many rows a second, by all pipelines together."""
    quiet: Names = ()
    """Times of day in which pipelines neither read nor write: `["08:00-12:00", "22:00-02:00"]`, in the time zone of
    `run.timezone`."""
    adapt: Adapt | None = None
    """Read only as fast as those who use the system do not feel; `true` for the usual bounds."""
    alternatives: Names = ()
    """Connections with the same data (a replica, a warehouse) that full and incremental reads take instead."""
    take_when: TakeWhen = Field(default_factory=TakeWhen)
    """When an alternative is taken."""

    @model_validator(mode="before")
    @classmethod
    def _short(cls, values: Any) -> Any:
        if isinstance(values, dict) and isinstance(values.get("adapt"), bool):
            return {**values, "adapt": {} if values["adapt"] else None}
        return values

    @field_validator("quiet")
    @classmethod
    def _windows(cls, values: tuple[str, ...]) -> tuple[str, ...]:
        for value in values:
            _window(value)
        return values

    @property
    def governed(self) -> bool:
        """Whether anything bounds what is asked of it."""
        return bool(self.max_splits or self.max_rate or self.quiet or self.adapt)

    def quieted(self, zone: tzinfo) -> Callable[[datetime], bool]:
        """Whether an instant lies in a quiet time of a time zone."""
        windows = [_window(value) for value in self.quiet]

        def quiet(at: datetime) -> bool:
            clock = at.astimezone(zone).time()
            return any(begin <= clock < end if begin < end else clock >= begin or clock < end for begin, end in windows)

        return quiet


RULES = frozenset(ConnectionRules.model_fields)
"""The keys of any connection that are no setting of its connector."""


def split_rules(
    section: Mapping[str, Any], places: Places, problems: list[TongquError]
) -> tuple[dict[str, Any], dict[str, ConnectionRules]]:
    """Connections with their connectors' own settings alone, and the rules of those that have any."""
    own, found = {}, {}
    for name, values in section.items():
        if not isinstance(values, Mapping):
            own[name] = values
            continue
        own[name] = {key: value for key, value in values.items() if key not in RULES}
        told = {key: value for key, value in values.items() if key in RULES}
        entry = parse(ConnectionRules, told, ("connections", name), places, problems) if told else None
        if entry is None:
            continue
        found[name] = entry
        for one in entry.alternatives:
            if one not in section or one == name:
                others = [other for other in section if other != name]
                problems.append(
                    UnknownNameError(
                        f"there is no other connection {one!r}",
                        path=places.path(("connections", name, "alternatives")),
                        hint=nearest(one, others),
                        params={"name": one},
                    )
                )
            elif _system(section[one]) != _system(values):
                problems.append(
                    InvalidPlanError(
                        f"{one!r} is another kind of system than {name!r}, whose positions it could not go on from",
                        path=places.path(("connections", name, "alternatives")),
                        hint="name connections of the same type: replicas, or a warehouse of the same system",
                    )
                )
    return own, found


def _system(values: Any) -> str:
    """The connector's name; empty where that cannot be told."""
    try:
        return connector_of(values).name if isinstance(values, Mapping) else ""
    except ConfigError:
        return ""


def _window(text: str) -> tuple[time, time]:
    found = _WINDOW.fullmatch(text.strip())
    if not found or found[1] == "24" or (found[3] == "24" and found[4] != "00"):
        raise ValueError(f"{text!r} is no time of day: 08:00-12:00")
    begin, end = time(int(found[1]), int(found[2])), time(int(found[3]) % 24, int(found[4]))
    if begin == end:
        raise ValueError(f"{text!r} begins when it ends")
    return begin, end
