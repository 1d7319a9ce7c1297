"""Writes down what a project is: its systems, its data dictionary, its pipelines and how data flows."""

from __future__ import annotations

import html
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from tongqu.app.messages import language, t
from tongqu.app.project.load import Project
from tongqu.app.project.model import DatasetEntry, FieldEntry, PipelineSource
from tongqu.app.services.picture import drawing
from tongqu.catalog.changes import Reach


@dataclass(frozen=True)
class Table:
    """A heading with rows under columns; every cell is text."""

    title: str
    columns: Sequence[str]
    rows: Sequence[Sequence[str]]
    note: str = ""


@dataclass(frozen=True)
class Book:
    """All tables of the documentation, and the flow of data between datasets as nodes and edges."""

    title: str
    tables: Sequence[Table]
    flow: Mapping[str, Any] = field(default_factory=dict)


def book(project: Project, scrub: Callable[[str], str]) -> Book:
    """The documentation of a project in the language in use. References stay as they stand in the files, and `scrub`
    takes secrets out of what stands there plainly."""
    tree = {"connections": project.connections, "datasets": project.entries, "pipelines": _raw(project)}
    reach = Reach(tree)
    systems = [
        (name, str(values.get("type") or ""), scrub(_place(values)), ", ".join(reach.downstream(f"connections.{name}")))
        for name, values in project.connections.items()
    ]
    datasets = [
        (name, _title(entry.title), entry.description, ", ".join(entry.keys), entry.owner or "",
         ", ".join(reach.downstream(f"datasets.{name}")))
        for name, entry in project.dictionary.items()
    ]  # fmt: skip
    heads = _heads("name", "title", "reads", "steps", "writes", "schedule")
    tables = [
        Table(t("docs.systems"), _heads("name", "type", "place", "used_by"), systems),
        Table(t("docs.datasets"), _heads("name", "title", "description", "key", "owner", "used_by"), datasets),
        *(_dictionary(name, entry) for name, entry in project.dictionary.items()),
        Table(t("docs.pipelines"), heads, _pipelines(project)),
    ]
    return Book(project.name, [table for table in tables if table.rows], _flow(project))


def markdown(made: Book) -> str:
    """As Markdown, the flow as a Mermaid diagram."""
    lines = [f"# {_plain(made.title)}", ""]
    for table in made.tables:
        lines += [f"## {_plain(table.title)}", ""]
        if table.note:
            lines += [_plain(table.note), ""]
        lines.append("| " + " | ".join(table.columns) + " |")
        lines.append("| " + " | ".join("---" for _ in table.columns) + " |")
        lines += ["| " + " | ".join(_cell(cell) for cell in row) + " |" for row in table.rows] + [""]
    lines += [f"## {t('docs.flow')}", "", "```mermaid", "flowchart LR"]
    names = {node["id"]: f"n{number}" for number, node in enumerate(made.flow["nodes"])}
    for node in made.flow["nodes"]:
        lines.append(f'  {names[node["id"]]}["{_quoted(node["connection"])}<br>{_quoted(node["dataset"])}"]')
    for edge in made.flow["edges"]:
        lines.append(f'  {names[edge["from"]]} -- "{_quoted(edge["pipeline"])}" --> {names[edge["to"]]}')
    return "\n".join([*lines, "```", ""])


def page(made: Book) -> str:
    """As one HTML page that needs nothing from elsewhere."""
    style = (
        'body{font:14px/1.6 system-ui,"PingFang SC","Microsoft YaHei",sans-serif;margin:32px auto;max-width:1100px;'
        "padding:0 16px;color:#1f2329;background:#fff}table{border-collapse:collapse;width:100%;margin:8px 0 28px}"
        "th,td{border:1px solid #e5e6eb;padding:6px 10px;text-align:left;vertical-align:top}th{background:#f2f3f5}"
        "svg{max-width:100%;height:auto}.box{fill:#fff;stroke:#c9cdd4}.head{fill:#f2f3f5}.name{font-weight:600}"
        "text{font-size:13px;fill:#1f2329}.where{fill:#86909c;font-size:11px}path{fill:none;stroke:#4080ff}"
    )
    parts = [f"<h1>{html.escape(made.title)}</h1>"]
    for table in made.tables:
        parts.append(f"<h2>{html.escape(table.title)}</h2>")
        if table.note:
            parts.append(f"<p>{html.escape(table.note)}</p>")
        head = "".join(f"<th>{html.escape(column)}</th>" for column in table.columns)
        rows = ("".join(f"<td>{html.escape(cell)}</td>" for cell in row) for row in table.rows)
        parts.append(f"<table><tr>{head}</tr>{''.join(f'<tr>{row}</tr>' for row in rows)}</table>")
    parts.append(f"<h2>{html.escape(t('docs.flow'))}</h2>{drawing(made.flow)}")
    return (
        f"<!doctype html><html lang='{language()}'><head><meta charset='utf-8'><title>{html.escape(made.title)}</title>"
        f"<style>{style}</style></head><body>{''.join(parts)}</body></html>\n"
    )


def workbook(made: Book) -> bytes:
    """As an Excel workbook, one sheet a table; every cell is text, so that nothing is taken for a formula."""
    import io

    from tongqu.kit.drivers import driver

    xlsxwriter = driver("xlsxwriter", "excel")
    stream = io.BytesIO()
    with xlsxwriter.Workbook(stream, {"in_memory": True, "strings_to_formulas": False}) as out:
        bold, wrapped = out.add_format({"bold": True, "bg_color": "#F2F3F5"}), out.add_format({"text_wrap": True})
        taken: set[str] = set()
        for table in made.tables:
            sheet = out.add_worksheet(_sheet(table.title, taken))
            sheet.freeze_panes(1, 0)
            for column, name in enumerate(table.columns):
                sheet.write_string(0, column, name, bold)
                longest = max([len(name), *(len(row[column]) for row in table.rows)])
                sheet.set_column(column, column, min(50, 4 + 2 * longest))
            for number, row in enumerate(table.rows, start=1):
                for column, cell in enumerate(row):
                    sheet.write_string(number, column, cell, wrapped)
    return stream.getvalue()


def _raw(project: Project) -> Mapping[str, Any]:
    from tongqu.app.project.load import laid

    found: Mapping[str, Any] = laid(project.shared, project.overlay).get("pipelines") or {}
    return found


def _place(values: Mapping[str, Any]) -> str:
    """Where a system is, as its connection says it."""
    if values.get("url") or values.get("path"):
        return str(values.get("url") or values.get("path"))
    told = [str(values[name]) for name in ("host", "port", "database") if values.get(name)]
    return ":".join(told[:2]) + (f"/{told[2]}" if len(told) > 2 else "")


def _title(title: Mapping[Any, str]) -> str:
    return title.get(language()) or next(iter(title.values()), "")


def _heads(*names: str) -> list[str]:
    return [t(f"docs.column.{name}") for name in names]


def _dictionary(name: str, entry: DatasetEntry) -> Table:
    title = _title(entry.title)
    rows = [
        (
            key,
            _title(one.title),
            one.type or "",
            one.unit or "",
            _rules(one),
            t(f"docs.class.{one.class_}") if one.class_ else "",
            one.owner or entry.owner or "",
            one.description,
        )
        for key, one in entry.fields.items()
    ]
    heads = _heads("field", "title", "type", "unit", "rules", "class", "owner", "description")
    shown = f"{title} ({name})" if title else name
    return Table(f"{t('docs.dictionary')}: {shown}", heads, rows, entry.description)


def _rules(entry: FieldEntry) -> str:
    told = [t("docs.rule.required")] if entry.required else []
    told += [t("docs.rule.unique")] if entry.unique else []
    told += [f"≥ {entry.min}"] if entry.min is not None else []
    told += [f"≤ {entry.max}"] if entry.max is not None else []
    told += [f"/{entry.pattern}/"] if entry.pattern else []
    told += [", ".join(map(str, entry.enum))] if entry.enum else []
    return "; ".join(told)


def _pipelines(project: Project) -> list[Sequence[str]]:
    rows: list[Sequence[str]] = []
    for name, entry in project.pipelines.items():
        reads = "; ".join(_source(end) for end in entry.all_sources.values())
        steps = " → ".join(next((key for key in step if key not in ("id", "from")), "") for step in entry.steps)
        writes = "; ".join(
            f"{end.connection}.{end.dataset or '*'} ({end.write or t('docs.default')})"
            for end in entry.all_sinks.values()
        )
        rows.append((name, _title(entry.title), reads, steps, writes, entry.schedule.told if entry.schedule else ""))
    return rows


def _source(end: PipelineSource) -> str:
    return f"{end.connection}.{end.dataset or ', '.join(end.datasets or ['*'])} ({end.mode})"


def _flow(project: Project) -> dict[str, Any]:
    """Datasets as nodes and pipelines as edges, from the files alone."""
    nodes: dict[str, dict[str, str]] = {}
    edges: list[dict[str, str]] = []

    def node(connection: str, dataset: str) -> str:
        id = f"{connection}.{dataset}"
        nodes.setdefault(id, {"id": id, "connection": connection, "dataset": dataset, "field": ""})
        return id

    for name, entry in project.pipelines.items():
        sources = [node(end.connection, end.dataset or ", ".join(end.datasets or ["*"]))
                   for end in entry.all_sources.values()]  # fmt: skip
        for end in entry.all_sinks.values():
            only = entry.source.as_ or entry.source.dataset if entry.source else None
            target = node(end.connection, end.dataset or only or "*")
            edges += [{"from": source, "to": target, "pipeline": name} for source in sources]
    return {"nodes": list(nodes.values()), "edges": edges}


def _cell(text: str) -> str:
    return _plain(text).replace("|", "\\|").replace("\n", "<br>")


def _plain(text: str) -> str:
    """A text that no Markdown renderer takes for HTML."""
    return text.replace("&", "&amp;").replace("<", "&lt;")


def _quoted(text: str) -> str:
    return html.escape(text, quote=True).replace("\n", " ")


def _sheet(title: str, taken: set[str]) -> str:
    """A name that Excel takes: at most 31 characters, none of `[]:*?/\\`, not used yet."""
    plain = "".join("_" if sign in "[]:*?/\\" else sign for sign in title)[:31].strip("'") or "_"
    name, number = plain, 1
    while name.lower() in taken:
        number += 1
        name = f"{plain[: 31 - len(str(number)) - 1]}_{number}"
    taken.add(name.lower())
    return name
