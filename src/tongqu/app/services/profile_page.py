"""A profile as one HTML page that needs nothing else: charts are inline SVG, texts are in the reader's language."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape
from typing import Any

from tongqu.app.messages import language, t

_STYLE = """
body{font:14px/1.5 system-ui,"PingFang SC","Microsoft YaHei",sans-serif;color:#1f2933;margin:2rem auto;
max-width:72rem;padding:0 1rem}
h1{font-size:1.5rem}h2{font-size:1.1rem;margin:0 0 .3rem}
.card{border:1px solid #d9e0e6;border-radius:8px;padding:1rem;margin:1rem 0}
table{border-collapse:collapse;width:100%}
td,th{text-align:left;padding:.2rem .6rem;border-bottom:1px solid #edf0f3;vertical-align:top}
.tag{background:#eef2f6;border-radius:4px;padding:.1rem .4rem;margin-right:.3rem}.warn{background:#fdf0d5}
.two{display:grid;gap:1rem;grid-template-columns:1fr 1fr}small{color:#66788a}
@media(prefers-color-scheme:dark){body{background:#14181c;color:#dbe2e8}.card{border-color:#323b44}
td,th{border-color:#262e36}.tag{background:#232b33}.warn{background:#4a3a14}}
"""
_WIDTH, _ROW, _LABEL = 420, 18, 170


def page(document: Mapping[str, Any]) -> str:
    """The whole page."""
    title = t("profile.title", dataset=document["dataset"])
    body = [f"<h1>{escape(title)}</h1>", _summary(document), _changes(document), _overview(document["columns"])]
    body += [_card(column, document["rows"]) for column in document["columns"]]
    return (
        f'<!doctype html><html lang="{language()}"><head><meta charset="utf-8"><title>{escape(title)}</title>'
        f'<meta name="viewport" content="width=device-width"><style>{_STYLE}</style></head><body>'
        f"{''.join(body)}</body></html>\n"
    )


def _summary(document: Mapping[str, Any]) -> str:
    keys = "; ".join(", ".join(key) for key in document["keys"]) or "—"
    rows = f"{document['rows']:,}" + (f" ({t('profile.sampled')})" if document["sampled"] else "")
    pairs = (
        (t("profile.place"), document.get("place", "")), (t("column.started"), document.get("at", "")),
        (t("column.rows"), rows), (t("profile.keys"), keys),
    )  # fmt: skip
    return f"<table>{''.join(f'<tr><th>{escape(n)}</th><td>{escape(str(v))}</td></tr>' for n, v in pairs)}</table>"


def _changes(document: Mapping[str, Any]) -> str:
    if "changes" not in document:
        return ""
    heading = escape(t("profile.changes", at=document["compared"]["at"]))
    if not document["changes"]:
        return f'<div class="card"><h2>{heading}</h2>{escape(t("profile.no_changes"))}</div>'
    rows = "".join(
        f"<tr><td>{escape(change['column'] or '—')}</td><td>{escape(t('profile.what.' + change['what']))}</td>"
        f"<td>{escape(_text(change['old']))}</td><td>{escape(_text(change['new']))}</td></tr>"
        for change in document["changes"]
    )
    return f'<div class="card warn"><h2>{heading}</h2><table>{rows}</table></div>'


def _overview(columns: Sequence[Mapping[str, Any]]) -> str:
    names = ("name", "type", "nulls", "distinct", "min", "max")
    head = "".join(f"<th>{escape(t(f'column.{name}'))}</th>" for name in names)
    rows = "".join(
        "<tr>" + "".join(f"<td>{escape(_cell(column, name))}</td>" for name in names) + "</tr>" for column in columns
    )
    return f'<div class="card"><table><tr>{head}</tr>{rows}</table></div>'


def _cell(column: Mapping[str, Any], name: str) -> str:
    if name == "distinct":
        return ("" if column["distinct_exact"] else "≈ ") + f"{column['distinct']:,}"
    value = column[name]
    return f"{value:,}" if name == "nulls" else _text(value)[:60]


def _card(column: Mapping[str, Any], rows: int) -> str:
    tags = [f'<span class="tag">{escape(column["type"])}</span>']
    for what in ("unit", "personal"):
        if column[what]:
            found = column[what]
            words = f"{t(f'profile.what.{what}')}: {found['value']} ({found['confidence']:.0%})"
            tags.append(f'<span class="tag warn" title="{escape("; ".join(found["because"]))}">{escape(words)}</span>')
    if column.get("masked"):
        tags.append(f'<span class="tag">{escape(t("profile.masked"))}</span>')
    title = f" <small>{escape(column['title'])}</small>" if column["title"] else ""
    filled = rows - column["nulls"]
    left = _bars(t("profile.filled"), [(t("profile.filled"), filled), (t("column.nulls"), column["nulls"])], rows)
    left += _box(column)
    top = [(_text(entry["value"]), entry["count"]) for entry in column["top"]]
    sampled = f" ({t('profile.sampled')})" if column["top_sampled"] else ""
    right = _bars(t("profile.top") + sampled, top, max((count for _, count in top), default=0))
    masks = [(entry["pattern"], round(entry["share"] * 100, 1)) for entry in column["patterns"]]
    right += _bars(t("profile.patterns"), masks, 100, "%")
    kinds = [(name, round(share * 100, 1)) for name, share in column["kinds"].items()]
    right += _bars(t("profile.kinds"), kinds, 100, "%")
    head = f"<h2>{escape(column['name'])}{title}</h2><p>{''.join(tags)}</p>"
    return f'<div class="card">{head}<div class="two"><div>{left}</div><div>{right}</div></div></div>'


def _bars(heading: str, entries: Sequence[tuple[str, float]], most: float, unit: str = "") -> str:
    """A bar chart with the numbers beside the bars."""
    if not entries or most <= 0:
        return ""
    lines = []
    for number, (label, value) in enumerate(entries):
        y, width = number * _ROW, max(1.0, value / most * (_WIDTH - _LABEL - 80))
        lines.append(
            f'<text x="0" y="{y + 13}" font-size="12" fill="currentColor">{escape(label[:24])}'
            f"<title>{escape(label)}</title></text>"
            f'<rect x="{_LABEL}" y="{y + 3}" width="{width:.1f}" height="12" rx="2" fill="#3b7dd8"/>'
            f'<text x="{_LABEL + width + 6:.1f}" y="{y + 13}" font-size="12" fill="currentColor">{value:,}{unit}</text>'
        )
    height = len(entries) * _ROW
    drawn = f'<svg viewBox="0 0 {_WIDTH} {height}" width="100%" role="img">{"".join(lines)}</svg>'
    return f"<p><small>{escape(heading)}</small></p>{drawn}"


def _box(column: Mapping[str, Any]) -> str:
    """The quantiles of a number as a box plot."""
    quantiles = column.get("quantiles")
    if not quantiles:
        return ""
    points = [quantiles[name] for name in ("p5", "p25", "p50", "p75", "p95")]
    if not all(isinstance(point, int | float) for point in points):
        return ""
    low, high = points[0], points[-1]
    scale = (_WIDTH - 20) / (high - low) if high > low else 0.0
    a, b, c, d, e = (10 + (point - low) * scale for point in points)
    labels = "".join(
        f'<text x="{x:.1f}" y="46" font-size="10" text-anchor="middle" fill="currentColor">{point:g}</text>'
        for x, point in ((max(a, 18), points[0]), (c, points[2]), (min(e, _WIDTH - 22), points[4]))
    )
    drawn = (
        f'<line x1="{a:.1f}" x2="{e:.1f}" y1="18" y2="18" stroke="currentColor"/>'
        f'<rect x="{b:.1f}" y="8" width="{max(d - b, 1):.1f}" height="20" fill="#3b7dd8" fill-opacity=".35"/>'
        f'<line x1="{c:.1f}" x2="{c:.1f}" y1="8" y2="28" stroke="#3b7dd8" stroke-width="2"/>{labels}'
    )
    mean, deviation = (_text(column[name]) for name in ("mean", "deviation"))
    words = t("profile.numbers", mean=mean, deviation=deviation)
    return f'<p><small>{escape(words)}</small></p><svg viewBox="0 0 {_WIDTH} 50" width="100%" role="img">{drawn}</svg>'


def _text(value: Any) -> str:
    if value is None:
        return "—"
    if isinstance(value, float):
        return f"{value:.6g}"
    if isinstance(value, dict):
        return ", ".join(f"{key}: {_text(item)}" for key, item in value.items())
    return ", ".join(map(_text, value)) if isinstance(value, list) else str(value)
