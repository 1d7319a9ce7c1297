"""Makes a connection's settings out of a profile and the few values that the connection gives."""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import date, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

from tongqu.core.errors import InvalidSettingsError
from tongqu.kit.profiles.profile import Asked, Profile, ProfileDataset

_HOLE = re.compile(r"<([a-z_]+)(?::([^<>]+))?>")
_DAY = re.compile(r"today(?:([+-])(\d{1,4}))?")
_CHINA = ZoneInfo("Asia/Shanghai")


def expanded(profile: Profile, values: Mapping[str, Any]) -> dict[str, Any]:
    """The settings of the connection that `values` describe with this profile: the profile's, with the settings that
    it asks for filled in, and over them the values' own. A `${…}` that is not resolved yet stays where it is put.

    In a profile `<name>` is a setting's value, `<name:FORMAT>` a day as `epoch` (seconds at its beginning in China),
    `epoch_ms`, `end` (seconds at its end), `int` or as a pattern such as `%Y-%m-%d`; `<name:,>` is a list joined by
    commas. A text that is nothing but a hole becomes the value itself, a number or a list. Raises
    InvalidSettingsError for a setting that is missing or of another kind.
    """
    own = {name: value for name, value in values.items() if name != "profile"}
    base = own.get("base_url") or profile.connection.get("base_url")
    if not base:
        hint = profile.text(profile.address, "en")
        raise InvalidSettingsError(f"the profile {profile.name} needs 'base_url'", path="base_url", hint=hint)
    given: dict[str, Any] = {"base_url": str(base).rstrip("/")}
    for name, asked in profile.settings.items():
        value = own.pop(name, None)
        if value is None and asked.default is None:
            hint = profile.text(asked.help or asked.title, "en")
            raise InvalidSettingsError(f"the profile {profile.name} needs {name!r}", path=name, hint=hint)
        given[name] = _kind(name, asked, _filled(asked.default, given) if value is None else value)
    made = _filled({key: value for key, value in profile.connection.items() if key != "base_url"}, given)
    datasets = {name: _dataset(one, given) for name, one in profile.datasets.items()}
    return merged({"base_url": base, **made, "datasets": datasets}, own)


def merged(below: Mapping[str, Any], above: Mapping[str, Any]) -> dict[str, Any]:
    """Two mappings as one, at any depth; what stands above wins."""
    made = dict(below)
    for name, value in above.items():
        before = made.get(name)
        both = isinstance(before, dict) and isinstance(value, Mapping)
        made[name] = merged(before, value) if both and isinstance(before, dict) else value
    return made


def _dataset(dataset: ProfileDataset, given: Mapping[str, Any]) -> dict[str, Any]:
    """A dataset's settings: how it is asked for, and its fields with types, titles, classes and units."""
    fields = dataset.fields
    return {
        **_filled(dataset.reading, given),
        "title": dataset.title.get("zh") or dataset.title.get("en", ""),
        "fields": {name: one.type for name, one in fields.items()},
        "titles": {name: one.title.get("zh") or one.title.get("en", "") for name, one in fields.items()},
        "classes": {name: one.class_ for name, one in fields.items() if one.class_},
        "units": {name: one.unit for name, one in fields.items() if one.unit},
    }


def _kind(name: str, asked: Asked, value: Any) -> Any:
    if isinstance(value, str) and "${" in value:
        return value
    if asked.kind == "list":
        return [str(one) for one in value] if isinstance(value, list | tuple) else str(value).split(",")
    if asked.kind == "number":
        if not str(value).isdigit():
            raise InvalidSettingsError(f"{name} is a number", path=name)
        return int(value)
    if asked.kind == "day":
        return _day(name, value)
    if isinstance(value, str | int | float):
        return str(value)
    raise InvalidSettingsError(f"{name} is a text", path=name)


def _day(name: str, value: Any) -> date:
    found = _DAY.fullmatch(str(value))
    if found:
        days = int(found[2] or 0) * (-1 if found[1] == "-" else 1)
        return datetime.now(_CHINA).date() + timedelta(days=days)
    try:
        return date.fromisoformat(str(value))
    except ValueError:
        raise InvalidSettingsError(
            f"{name} is a day", path=name, hint="2026-01-31, or counted from today: today-6"
        ) from None


def _filled(value: Any, given: Mapping[str, Any]) -> Any:
    if isinstance(value, Mapping):
        return {name: _filled(one, given) for name, one in value.items()}
    if isinstance(value, list):
        return [_filled(one, given) for one in value]
    if not isinstance(value, str):
        return value
    whole = _HOLE.fullmatch(value)
    return _placed(whole, given) if whole else _HOLE.sub(lambda found: str(_placed(found, given)), value)


def _placed(hole: re.Match[str], given: Mapping[str, Any]) -> Any:
    if hole[1] not in given:
        raise InvalidSettingsError(
            f"the profile places {hole[0]}, which it does not ask for",
            path="profile",
            hint=f"known: {', '.join(given)}",
        )
    return _written(given[hole[1]], hole[2] or "")


def _written(value: Any, form: str) -> Any:
    if isinstance(value, list):
        return ",".join(value) if form == "," else value
    if not isinstance(value, date):
        return int(value) if form == "int" and str(value).isdigit() else value
    if form in ("epoch", "epoch_ms", "end"):
        begin = datetime(value.year, value.month, value.day, tzinfo=_CHINA)
        seconds = int(begin.timestamp())
        return {"epoch": seconds, "epoch_ms": seconds * 1000, "end": seconds + 86_399}[form]
    if form.startswith("int"):
        return int(value.strftime(form[3:] or "%Y%m%d"))
    return value.strftime(form) if form else value.isoformat()
