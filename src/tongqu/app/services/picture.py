"""Draws lineage as one self-contained HTML page: a box for each dataset, a line for each pair of fields."""

from __future__ import annotations

import html
from collections.abc import Mapping, Sequence
from typing import Any

_WIDE, _ROW, _GAP_X, _GAP_Y, _MARGIN = 260, 22, 120, 28, 24
_STYLE = """
body{font:14px/1.5 system-ui,"PingFang SC","Microsoft YaHei",sans-serif;margin:24px;color:#1f2329;background:#fff}
svg{max-width:100%;height:auto}.box{fill:#fff;stroke:#c9cdd4}.head{fill:#f2f3f5}.name{font-weight:600}
text{font-size:13px;fill:#1f2329}.where{fill:#86909c;font-size:11px}path{fill:none;stroke:#4080ff;stroke-opacity:.55}
path:hover{stroke-opacity:1;stroke-width:2.5}
@media(prefers-color-scheme:dark){body{background:#17171a;color:#e5e6eb}.box{fill:#232324;stroke:#484849}
.head{fill:#2e2e30}text{fill:#e5e6eb}}
"""


def page(title: str, document: Mapping[str, Any]) -> str:
    """The page for a document of `nodes` and `edges`."""
    return (
        f"<!doctype html><html><head><meta charset='utf-8'><title>{html.escape(title)}</title>"
        f"<style>{_STYLE}</style></head><body><h1>{html.escape(title)}</h1>{drawing(document)}</body></html>\n"
    )


def drawing(document: Mapping[str, Any]) -> str:
    """The picture alone, as SVG."""
    tables: dict[tuple[str, str], list[str]] = {}
    for node in document["nodes"]:
        tables.setdefault((node["connection"], node["dataset"]), []).append(node["field"])
    home = {n["id"]: ((n["connection"], n["dataset"]), n["field"]) for n in document["nodes"]}
    links = [(home[e["from"]], home[e["to"]], e["pipeline"]) for e in document["edges"]]
    places, width, height = _placed(tables, _columns(tables, [(a[0], b[0]) for a, b, _ in links]))
    lines = [_line(places, tables, *link) for link in links]
    boxes = [_box(places[table], table, fields) for table, fields in tables.items()]
    return (
        f"<svg xmlns='http://www.w3.org/2000/svg' viewBox='0 0 {width} {height}' width='{width}' height='{height}' "
        f"role='img'>{''.join(lines)}{''.join(boxes)}</svg>"
    )


def _columns(tables: Mapping[Any, Any], links: Sequence[tuple[Any, Any]]) -> dict[Any, int]:
    """For each table how far it is from the first, along the longest way; a circle stops growing."""
    column = dict.fromkeys(tables, 0)
    for _ in range(len(tables)):
        moved = False
        for source, target in links:
            if source != target and column[target] < column[source] + 1 <= len(tables):
                column[target], moved = column[source] + 1, True
        if not moved:
            break
    return column


def _placed(
    tables: Mapping[Any, Sequence[str]], column: Mapping[Any, int]
) -> tuple[dict[Any, tuple[int, int]], int, int]:
    used = sorted(set(column.values()))
    places: dict[Any, tuple[int, int]] = {}
    height = 0
    for at, number in enumerate(used):
        y = _MARGIN
        for table, fields in tables.items():
            if column[table] == number:
                places[table] = (_MARGIN + at * (_WIDE + _GAP_X), y)
                y += _ROW * (len(fields) + 2) + _GAP_Y
        height = max(height, y)
    return places, 2 * _MARGIN + len(used) * (_WIDE + _GAP_X) - _GAP_X, height


def _box(place: tuple[int, int], table: tuple[str, str], fields: Sequence[str]) -> str:
    x, y = place
    rows = "".join(
        f"<text x='{x + 12}' y='{y + _ROW * (n + 2) + 15}'>{_short(field)}</text>" for n, field in enumerate(fields)
    )
    high = _ROW * (len(fields) + 2)
    return (
        f"<g><rect class='box' x='{x}' y='{y}' width='{_WIDE}' height='{high}' rx='6'/>"
        f"<rect class='head' x='{x + 1}' y='{y + 1}' width='{_WIDE - 2}' height='{2 * _ROW - 4}' rx='5'/>"
        f"<text class='name' x='{x + 12}' y='{y + 18}'>{_short(table[1])}</text>"
        f"<text class='where' x='{x + 12}' y='{y + 34}'>{_short(table[0])}</text>{rows}</g>"
    )


def _line(places: Mapping[Any, tuple[int, int]], tables: Mapping[Any, Sequence[str]], *link: Any) -> str:
    (source, first), (target, second), pipeline = link
    x1, y1 = places[source][0] + _WIDE, places[source][1] + _ROW * (tables[source].index(first) + 2) + 11
    x2, y2 = places[target][0], places[target][1] + _ROW * (tables[target].index(second) + 2) + 11
    bend = max(60, abs(x2 - x1) // 2)
    return (
        f"<path d='M{x1} {y1}C{x1 + bend} {y1} {x2 - bend} {y2} {x2} {y2}'>"
        f"<title>{html.escape(f'{first} → {second}: {pipeline}')}</title></path>"
    )


def _short(text: str) -> str:
    return html.escape(text if len(text) <= 34 else text[:33] + "…")
