"""The results of cases as one HTML page that needs nothing else, and as JUnit XML for build servers."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from html import escape
from typing import Any

from tongqu.app.messages import language, t

_STYLE = """
body{font:14px/1.5 system-ui,"PingFang SC","Microsoft YaHei",sans-serif;color:#1f2933;margin:2rem auto;
max-width:72rem;padding:0 1rem}h1{font-size:1.5rem;margin:0}h2{font-size:1.15rem;margin:1.5rem 0 .5rem}
table{border-collapse:collapse;width:100%}td,th{text-align:left;padding:.25rem .6rem;border-bottom:1px solid #edf0f3;
vertical-align:top;overflow-wrap:anywhere}.tag{border-radius:4px;padding:.05rem .4rem;background:#eef2f6;
white-space:nowrap}.failed{background:#f8d7d4}.passed{background:#d9f0dd}.needs{background:#fdf0d5}
pre{white-space:pre-wrap;background:#f6f8fa;padding:.5rem;border-radius:4px;margin:.25rem 0;font-size:.85em}
small{color:#66788a}.bar{display:flex;height:10px;border-radius:5px;overflow:hidden;background:#c3ccd5;margin:.75rem 0}
@media(prefers-color-scheme:dark){body{background:#14181c;color:#dbe2e8}td,th{border-color:#262e36}
.tag,pre{background:#232b33}.failed{background:#5a2622}.passed{background:#1d4426}.needs{background:#4a3a14}}
"""
_COLOURS = {"passed": "#2e9e5b", "failed": "#cf4b3f", "needs": "#d99a1c", "skipped": "#c3ccd5"}
_UNFIT = re.compile(r"[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


def page(document: Mapping[str, Any]) -> str:
    """The whole page, in the language in use."""
    title = t("test.title")
    counts = document["counts"]
    whole = max(1, sum(counts.values()))
    bar = "".join(
        f'<span style="width:{100 * counts[name] / whole:.2f}%;background:{colour}"></span>'
        for name, colour in _COLOURS.items()
    )
    tags = " ".join(
        f'<span class="tag {name}">{escape(t(f"test.outcome.{name}"))}: {count}</span>'
        for name, count in counts.items()
    )
    against = document["against"] or t("test.against.own")
    facts = f"{document['at']} · {against} · {document['seconds']:g} s"
    operations = dict.fromkeys((one["connection"], one["operation"]) for one in document["cases"])
    parts = "".join(_operation(document, *one) for one in operations)
    return (
        f'<!doctype html><html lang="{language()}"><head><meta charset="utf-8"><title>{escape(title)}</title>'
        f'<meta name="viewport" content="width=device-width"><style>{_STYLE}</style></head><body>'
        f'<h1>{escape(title)}</h1><p><small>{escape(facts)}</small></p><div class="bar">{bar}</div><p>{tags}</p>'
        f"{parts}</body></html>\n"
    )


def _operation(document: Mapping[str, Any], connection: str, operation: str) -> str:
    heads = "".join(
        f"<th>{escape(t(f'test.column.{name}'))}</th>" for name in ("case", "kind", "outcome", "seconds", "evidence")
    )
    rows = "".join(
        _row(one) for one in document["cases"] if (one["connection"], one["operation"]) == (connection, operation)
    )
    return f"<h2>{escape(connection)} · {escape(operation)}</h2><table><tr>{heads}</tr>{rows}</table>"


def _row(one: Mapping[str, Any]) -> str:
    evidence = ""
    if one["evidence"]:
        shown = json.dumps(one["evidence"], ensure_ascii=False, indent=1)
        evidence = (
            f"<details><summary>{escape(t('test.column.evidence'))}</summary><pre>{escape(shown)}</pre></details>"
        )
    reason = f"<br><small>{escape(one['reason'])}</small>" if one["reason"] else ""
    kind, state = t(f"test.kind.{one['kind']}"), t(f"test.outcome.{one['outcome']}")
    outcome = f'<span class="tag {one["outcome"]}">{escape(state)}</span>'
    return (
        f"<tr><td>{escape(one['title'])}<br><small>{escape(one['case'])}</small></td>"
        f"<td>{escape(kind)}</td><td>{outcome}{reason}</td><td>{one['seconds']:g}</td>"
        f"<td>{evidence}</td></tr>"
    )


def junit(document: Mapping[str, Any]) -> str:
    """JUnit XML: a suite for each operation; cases that were left out are `skipped`."""
    suites = []
    for connection, operation in dict.fromkeys((one["connection"], one["operation"]) for one in document["cases"]):
        own = [one for one in document["cases"] if (one["connection"], one["operation"]) == (connection, operation)]
        failed = sum(one["outcome"] == "failed" for one in own)
        skipped = sum(one["outcome"] in ("skipped", "needs") for one in own)
        seconds = sum(one["seconds"] for one in own)
        cases = "".join(_case(connection, operation, one) for one in own)
        name = _quoted(f"{connection}: {operation}")
        suites.append(
            f'<testsuite name={name} tests="{len(own)}" failures="{failed}" errors="0" '
            f'skipped="{skipped}" time="{seconds:.3f}" timestamp={_quoted(document["at"])}>{cases}</testsuite>'
        )
    counts = document["counts"]
    left_out = counts["skipped"] + counts["needs"]
    return (
        '<?xml version="1.0" encoding="UTF-8"?>\n'
        f'<testsuites name="tongqu test" tests="{len(document["cases"])}" failures="{counts["failed"]}" errors="0" '
        f'skipped="{left_out}" time="{document["seconds"]:.3f}">{"".join(suites)}</testsuites>\n'
    )


def _case(connection: str, operation: str, one: Mapping[str, Any]) -> str:
    inside = ""
    if one["outcome"] == "failed":
        evidence = json.dumps(one["evidence"], ensure_ascii=False, indent=1)
        inside = f"<failure message={_quoted(one['reason'])}>{_plain(evidence)}</failure>"
    elif one["outcome"] != "passed":
        inside = f"<skipped message={_quoted(one['reason'])}/>"
    name = f"{one['case']} {one['title']}"
    return (
        f"<testcase classname={_quoted(f'{connection}.{operation}')} name={_quoted(name)} "
        f'time="{one["seconds"]:.3f}">{inside}</testcase>'
    )


def _plain(text: str) -> str:
    return escape(_UNFIT.sub("�", text), quote=False)


def _quoted(text: str) -> str:
    return f'"{escape(_UNFIT.sub("�", text))}"'
