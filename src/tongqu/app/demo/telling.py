"""Tells people what the demo did, act by act, and what came out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from tongqu.app.messages import language, t
from tongqu.app.project.model import DatasetEntry


def acts(told: Sequence[Mapping[str, Any]]) -> list[str]:
    """A line for each act with its numbers."""
    return [t("demo.acts"), *(f"  {number}. {_act(act)}" for number, act in enumerate(told, start=1))]


def _act(told: Mapping[str, Any]) -> str:
    name = told["act"]
    if "missing" in told and name == "excel":
        return t("demo.act.excel_missing", extra=told["missing"])
    shown = {key: f"{value:,}" if type(value) is int else value for key, value in told.items()}
    if name == "mend":
        rules = [t("demo.rule_refused", **r) if r["refused"] else t("demo.rule", **r) for r in told["rules"]]
        shown["rules"] = t("demo.and").join(rules)
    elif name == "compare":
        shown["result"] = t("diff.good") if told["ok"] else t("diff.bad")
    elif name == "schema":
        shown["changes"] = t("demo.and").join(_change(change) for change in told["changes"])
    elif name == "versions":
        shown["affects"] = len(told["affects"])
    return t(f"demo.act.{name}", **shown)


def _change(change: Mapping[str, Any]) -> str:
    types = " → ".join(filter(None, (change.get("before"), change.get("after"))))
    told = {"column": change["column"], "change": t(f"change.{change['change']}"), "types": types}
    return t("demo.change", stream=change["stream"], **told)


def story(lake: Path, dictionary: Mapping[str, DatasetEntry]) -> list[str]:
    """What came out, for people: each line's yield, and what is wrong with the rows that are still in quarantine, in
    the words of the data dictionary."""
    import duckdb

    database = duckdb.connect(str(lake), read_only=True)
    try:
        lines = [t("demo.yield")]
        found = database.execute(
            "SELECT line_name, inspections, passed, worst_deviation FROM yield_by_line ORDER BY passed / inspections"
        ).fetchall()
        for name, inspections, passed, worst in found:
            share = f"{100 * int(passed) / int(inspections):.1f}"
            lines.append("  " + t("demo.line", name=name, inspections=inspections, share=share, worst=f"{worst:.3f}"))
        lines.append(t("demo.dirty"))
        dirty = database.execute(
            "SELECT stream, code, field, count(*), min(value) FROM _tongqu_quarantine WHERE state = 'new' "
            "GROUP BY ALL ORDER BY 4 DESC, 1, 2"
        ).fetchall()
        for stream, code, field, count, value in dirty:
            example = t("demo.empty") if value is None else value
            told = {"stream": stream, "field": field, "count": count, "example": example}
            lines.append("  " + t("demo.cause", title=_title(field, dictionary), reason=t(f"reason.{code}"), **told))
    finally:
        database.close()
    return lines


def _title(field: str, dictionary: Mapping[str, DatasetEntry]) -> str:
    titles = next((entry.fields[field].title for entry in dictionary.values() if field in entry.fields), {})
    return (titles.get("zh") if language() == "zh" else titles.get("en")) or field
