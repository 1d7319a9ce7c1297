"""An assessment as one HTML page that needs nothing else: charts are inline SVG, texts are in the reader's language."""

from __future__ import annotations

from collections.abc import Mapping
from html import escape
from math import pi
from typing import Any

from tongqu.app.messages import language, t
from tongqu.app.services.assessing.tables import Cell, Table, facts, heading, tables
from tongqu.app.services.assessing.words import percent

_STYLE = """
body{font:14px/1.5 system-ui,"PingFang SC","Microsoft YaHei",sans-serif;color:#1f2933;margin:2rem auto;
max-width:72rem;padding:0 1rem}
h1{font-size:1.5rem;margin:0}h2{font-size:1.15rem;margin:0 0 .5rem}
.card{border:1px solid #d9e0e6;border-radius:8px;padding:1rem;margin:1rem 0}
.row{display:flex;gap:2rem;align-items:center;flex-wrap:wrap}
table{border-collapse:collapse;width:100%}
td,th{text-align:left;padding:.25rem .6rem;border-bottom:1px solid #edf0f3;vertical-align:top;overflow-wrap:anywhere}
.tag{border-radius:4px;padding:.05rem .4rem;background:#eef2f6;white-space:nowrap}
.high,.missing{background:#f8d7d4}.medium,.partial{background:#fdf0d5}.covered,.given{background:#d9f0dd}
small,code{color:#66788a}code{font-size:.85em}
@media(prefers-color-scheme:dark){body{background:#14181c;color:#dbe2e8}.card{border-color:#323b44}
td,th{border-color:#262e36}.tag{background:#232b33}.high,.missing{background:#5a2622}.medium,.partial{background:#4a3a14}
.covered,.given{background:#1d4426}}
"""
_GOOD, _FAIR, _POOR, _NONE = "#2e9e5b", "#d99a1c", "#cf4b3f", "#c3ccd5"


def page(document: Mapping[str, Any]) -> str:
    """The whole page."""
    title = heading(document)
    formula = f"<p><small>{escape(t('assess.formula'))}</small></p>"
    return (
        f'<!doctype html><html lang="{language()}"><head><meta charset="utf-8"><title>{escape(title)}</title>'
        f'<meta name="viewport" content="width=device-width"><style>{_STYLE}</style></head><body>'
        f"<h1>{escape(title)}</h1>{_summary(document)}{''.join(map(_card, tables(document)))}{formula}</body></html>\n"
    )


def _summary(document: Mapping[str, Any]) -> str:
    rows = "".join(f"<tr><th>{escape(name)}</th><td>{escape(value)}</td></tr>" for name, value in facts(document))
    rings = _ring(document["score"], t("assess.score"))
    rings += "".join(_ring(axis["score"], t(f"assess.axis.{name}")) for name, axis in document["axes"].items())
    tags = " ".join(
        f'<span class="tag {level}">{escape(t(f"assess.severity.{level}"))}: {count}</span>'
        for level, count in document["severities"].items()
    )
    return f'<div class="card"><div class="row">{rings}</div><p>{tags}</p><table>{rows}</table></div>'


def _colour(score: float | None) -> str:
    if score is None:
        return _NONE
    return _GOOD if score >= 75 else _FAIR if score >= 50 else _POOR


def _ring(score: float | None, label: str) -> str:
    """A score as a part of a ring."""
    whole = 2 * pi * 40
    part = whole * (score or 0) / 100
    shown = "—" if score is None else f"{score:g}"
    return (
        f'<figure style="margin:0;text-align:center"><svg viewBox="0 0 100 100" width="120" role="img">'
        f"<title>{escape(label)}: {escape(percent(score))}</title>"
        f'<circle cx="50" cy="50" r="40" fill="none" stroke="{_NONE}" stroke-opacity=".4" stroke-width="12"/>'
        f'<circle cx="50" cy="50" r="40" fill="none" stroke="{_colour(score)}" stroke-width="12"'
        f' stroke-dasharray="{part:.1f} {whole:.1f}" transform="rotate(-90 50 50)"/>'
        f'<text x="50" y="57" font-size="20" text-anchor="middle" fill="currentColor">{escape(shown)}</text></svg>'
        f"<figcaption>{escape(label)}</figcaption></figure>"
    )


def _bar(score: float) -> str:
    """A score of 0 to 1 as a bar."""
    return (
        f'<svg viewBox="0 0 160 14" width="160" role="img"><rect width="110" height="14" rx="3" fill="{_NONE}"'
        f' fill-opacity=".4"/><rect width="{110 * score:.1f}" height="14" rx="3" fill="{_colour(100 * score)}"/>'
        f'<text x="116" y="11.5" font-size="11" fill="currentColor">{100 * score:.1f}</text></svg>'
    )


def _card(one: Table) -> str:
    head = "".join(f"<th>{escape(name)}</th>" for name in one.columns)
    rows = (f"<tr>{''.join(f'<td>{_cell(cell)}</td>' for cell in row)}</tr>" for row in one.rows)
    below = ""
    for title, said in one.text:
        points = "".join(f"<li>{escape(line)}</li>" for line in said or ("—",))
        below += f"<p><b>{escape(title)}</b></p><ul>{points}</ul>"
    return f'<div class="card"><h2>{escape(one.heading)}</h2><table><tr>{head}</tr>{"".join(rows)}</table>{below}</div>'


def _cell(cell: Cell) -> str:
    if cell.score is not None:
        return _bar(cell.score)
    kind = "code" if cell.code else "span"
    lines = "<br>".join(f"<{kind}>{escape(line)}</{kind}>" for line in cell.lines)
    return f'<span class="tag {cell.tone}">{lines}</span>' if cell.tone else lines
