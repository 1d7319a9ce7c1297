"""The tables of an assessment's report, the same in every form that it is written in."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from tongqu.app.messages import t
from tongqu.app.services.assessing.words import needs, numbers, percent, title_of

_PLACES = 5
_DEVIATIONS = 10


@dataclass(frozen=True)
class Cell:
    """A cell of several lines. `tone` colours it, `score` (0 to 1) is drawn where it can be; `code` marks places."""

    lines: tuple[str, ...]
    tone: str = ""
    score: float | None = None
    code: bool = False


@dataclass(frozen=True)
class Table:
    """A table with its heading; `text` are paragraphs below it."""

    heading: str
    columns: tuple[str, ...]
    rows: tuple[tuple[Cell, ...], ...]
    text: tuple[tuple[str, tuple[str, ...]], ...] = ()


def facts(document: Mapping[str, Any]) -> list[tuple[str, str]]:
    """What was assessed, as names and values."""
    about = document["interface"]
    return [
        (t("assess.document"), about["document"]),
        (t("assess.protocol"), about["protocol"]),
        (t("assess.version"), about["version"] or "—"),
        (t("assess.operations"), f"{about['operations']:,}"),
        (t("assess.fields"), f"{about['fields']:,}"),
        (t("assess.at"), document["at"]),
    ]


def heading(document: Mapping[str, Any]) -> str:
    """The report's title."""
    return t("assess.title", name=document["interface"]["title"] or document["interface"]["document"])


def tables(document: Mapping[str, Any]) -> Iterator[Table]:
    """All tables in their order."""
    if "comparison" in document:
        yield _comparison(document["comparison"])
    for one in document["coverage"]:
        yield _coverage(one)
    yield _table(
        t("assess.checks"), ("axis", "check", "weight", "score", "numbers", "evidence"), map(_check, document["checks"])
    )
    findings = map(_finding, document["findings"])
    yield _table(t("assess.findings"), ("severity", "axis", "finding", "evidence"), findings)
    yield _table(t("assess.vendor"), ("state", "evidence", "what"), map(_vendor, document["vendor"]))
    if document["calls"]:
        columns = ("operation", "status", "ms", "deviations")
        yield _table(t("assess.calls"), columns, map(_call, document["calls"]))


def coverage_line(one: Mapping[str, Any]) -> str:
    """How much of a checklist is covered."""
    title = title_of(one["title"])
    return t("assess.coverage", checklist=title, covered=one["covered"], count=one["count"], score=one["score"])


def _table(title: str, columns: Sequence[str], rows: Iterator[tuple[Cell, ...]]) -> Table:
    return Table(title, tuple(t(f"assess.column.{one}") for one in columns), tuple(rows))


def _cell(*lines: Any, tone: str = "") -> Cell:
    return Cell(tuple(str(one) for one in lines if str(one)) or ("—",), tone)


def _places(evidence: Sequence[Mapping[str, str]]) -> Cell:
    more = [f"+{len(evidence) - _PLACES}"] if len(evidence) > _PLACES else []
    return Cell((*(one["place"] for one in evidence[:_PLACES]), *more) or ("—",), code=True)


def _coverage(one: Mapping[str, Any]) -> Table:
    return _table(
        coverage_line(one), ("state", "scenario", "operation", "because", "lacks"), map(_scenario, one["scenarios"])
    )


def _scenario(one: Mapping[str, Any]) -> tuple[Cell, ...]:
    fields = (f"{name} = {found['field']} ({found['why']})" for name, found in one["fields"].items())
    return (
        _cell(t(f"assess.state.{one['state']}"), tone=one["state"]),
        _cell(title_of(one["title"])),
        _cell(one["operation"]),
        _cell(", ".join(one["because"]), *fields),
        _cell(needs(one["lacks"])),
    )


def _check(one: Mapping[str, Any]) -> tuple[Cell, ...]:
    shown = percent(None if one["score"] is None else round(100 * one["score"], 1))
    axis = _cell(t(f"assess.axis.{one['axis']}"))
    score = Cell((shown,), score=one["score"])
    return (
        axis,
        _cell(one["title"]),
        _cell(f"{one['weight']:g}"),
        score,
        _cell(numbers(one["params"])),
        _places(one["evidence"]),
    )


def _finding(one: Mapping[str, Any]) -> tuple[Cell, ...]:
    level = _cell(t(f"assess.severity.{one['severity']}"), tone=one["severity"])
    return level, _cell(t(f"assess.axis.{one['axis']}")), _cell(one["message"]), _places(one["evidence"])


def _vendor(one: Mapping[str, Any]) -> tuple[Cell, ...]:
    state = "given" if one["given"] else "missing"
    return _cell(t(f"assess.state.{state}"), tone=state), _cell(one["title"]), _cell(*one["what"])


def _call(one: Mapping[str, Any]) -> tuple[Cell, ...]:
    wrong = (f"{found['path']}: {t('assess.deviation.' + found['what'])}" for found in one["deviations"][:_DEVIATIONS])
    times = ", ".join(f"{ms:g}" for ms in one["ms"])
    return _cell(one["operation"]), _cell(one["status"] or "—"), _cell(times), _cell(*wrong)


def _comparison(found: Mapping[str, Any]) -> Table:
    rows = [(t("assess.score"), percent(found["score"]["old"]), percent(found["score"]["new"]))]
    rows += [
        (t(f"assess.axis.{name}"), percent(one["old"]), percent(one["new"])) for name, one in found["axes"].items()
    ]
    for one in found["checks"]:
        old, new = (percent(None if one[when] is None else round(100 * one[when], 1)) for when in ("old", "new"))
        rows.append((one["title"], old, new))
    for one in found["scenarios"]:
        rows.append((title_of(one["title"]), t(f"assess.state.{one['old']}"), t(f"assess.state.{one['new']}")))
    text = tuple(
        (t(f"assess.findings.{when}"), tuple(one["message"] for one in found["findings"][when]))
        for when in ("new", "gone")
    )
    title = t("assess.comparison", at=found["against"]["at"])
    return Table(
        title, tuple(t(f"assess.column.{one}") for one in ("check", "old", "new")),
        tuple(tuple(_cell(one) for one in row) for row in rows), text,
    )  # fmt: skip
