"""An assessment in the words of the language in use: titles of checks, messages of findings and changes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from tongqu.app.messages import language, t


def worded(document: Mapping[str, Any]) -> dict[str, Any]:
    """The document with a `title` at each check and evidence, and a `message` at each finding and change."""
    found = dict(document)
    if "checks" in found:
        found["checks"] = [{**one, "title": check_title(one["id"], found)} for one in found["checks"]]
    if "findings" in found:
        found["findings"] = [_finding(one) for one in found["findings"]]
    if "vendor" in found:
        found["vendor"] = [{**one, "title": t(f"assess.vendor.{one['kind']}")} for one in found["vendor"]]
    if "changes" in found:
        found["changes"] = [{**one, "message": change(one)} for one in found["changes"]]
    if "comparison" in found:
        found["comparison"] = _comparison(found)
    return found


def check_title(id: str, document: Mapping[str, Any]) -> str:
    """What a check is called."""
    kind, _, name = id.partition(".")
    if kind != "coverage":
        return t(f"assess.check.{id}")
    title = next((title_of(one["title"]) for one in document["coverage"] if one["checklist"] == name), name)
    return t("assess.check.coverage", checklist=title)


def title_of(title: Mapping[str, str]) -> str:
    """A title in the language in use, else in the other one."""
    return title.get(language()) or next(iter(title.values()), "")


def _finding(one: Mapping[str, Any]) -> dict[str, Any]:
    params = {name: _shown(name, value) for name, value in one["params"].items()}
    return {**one, "message": t(f"assess.finding.{one['id']}", **params)}


def _shown(name: str, value: Any) -> str:
    if isinstance(value, Mapping):
        return title_of(value)
    if name == "share":
        return f"{value:.0%}"
    if name == "proof":
        return t(f"assess.vendor.{value}")
    if name == "lacks":
        return needs(str(value).split(", "))
    return str(value)


def needs(names: Sequence[str]) -> str:
    """What a scenario lacks: fields by name, and traits (`@paging`) in words."""
    return ", ".join(t(f"assess.need.{one[1:]}") if one.startswith("@") else one for one in names)


def change(one: Mapping[str, Any]) -> str:
    """What a change of the vendor's document is."""
    return t(
        f"assess.change.{one['what']}", **{key: str(one[key]) or "—" for key in ("operation", "name", "old", "new")}
    )


def _comparison(document: Mapping[str, Any]) -> dict[str, Any]:
    comparison = dict(document["comparison"])
    comparison["checks"] = [{**one, "title": check_title(one["id"], document)} for one in comparison["checks"]]
    comparison["findings"] = {when: [_finding(one) for one in some] for when, some in comparison["findings"].items()}
    return comparison


def percent(score: float | None) -> str:
    """A score of 0 to 100 as people read it."""
    return t("assess.not_measured") if score is None else f"{score:g}"


def numbers(params: Mapping[str, Any]) -> str:
    """What a check counted, in a line."""
    return ", ".join(f"{t(f'assess.number.{name}')}: {_number(name, value)}" for name, value in params.items())


def _number(name: str, value: Any) -> str:
    return f"{value:.1%}" if name == "share" else str(value)
