"""`lineage` and `docs`: what runs recorded, and what a project's files say, for people."""

from __future__ import annotations

import json
import re
from pathlib import Path
from xml.etree import ElementTree

import pytest

from tongqu.testing.command_line import Done, make, tongqu

PROJECT = """\
project: plant
connections:
  erp: {type: sqlite, path: erp.db}
  lake: {type: sqlite, path: lake.db}
  far: {url: "postgresql://reader:hunter22secret@127.0.0.1:1/none"}
datasets:
  orders:
    title: {zh: 订单, en: Orders}
    key: [id]
    owner: sales
    fields:
      id: {type: int64, required: true}
      kg: {type: double, unit: kg, min: 0, title: {zh: 重量 | 净重, en: Weight}}
      buyer: {class: personal}
pipelines:
  load:
    source: {connection: erp, dataset: o, as: orders}
    steps:
      - rename: {no: id, grams: kg}
      - convert: {kg: {from: g, to: kg}}
    sink: {connection: lake}
  by_line:
    sources: {o: {connection: erp, dataset: o}, l: {connection: erp, dataset: lines}}
    steps:
      - {id: joined, join: {left: o, right: l, on: line}}
      - {id: summed, from: joined, aggregate: {by: [label], total: "sum(grams)"}}
    sinks: {out: {from: summed, connection: lake, dataset: by_line, write: upsert, key: [label]}}
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A project with two pipelines over one system."""
    make(tmp_path / "erp.db", "o", "no INTEGER PRIMARY KEY, grams INTEGER, line TEXT, buyer TEXT",
         [(1, 1500, "A", "张三"), (2, 700, "B", "李四")])  # fmt: skip
    make(tmp_path / "erp.db", "lines", "line TEXT PRIMARY KEY, label TEXT", [("A", "一线"), ("B", "二线")])
    (tmp_path / "tongqu.yaml").write_text(PROJECT, encoding="utf-8")
    return tmp_path


def call(folder: Path, *arguments: str, **environ: str) -> Done:
    return tongqu(folder, *arguments, "--json", **environ)


def test_lineage_is_recorded_from_what_ran(folder: Path) -> None:
    """Before a run there is none; after it a field is followed through rename, convert, join and aggregate."""
    assert call(folder, "lineage", "kg").document["problems"][0]["code"] == "connector.not_found"
    assert call(folder, "run", "load", "by_line").code == 0

    up = call(folder, "lineage", "lake.orders.kg", "--up").document
    down = call(folder, "lineage", "erp.o.grams", "--down").document

    assert [(e["from"], e["to"], e["steps"]) for e in up["edges"]] == [
        ("erp.o.grams", "lake.orders.kg", ["rename:rename", "convert:convert"])
    ]
    assert {edge["to"] for edge in down["edges"]} == {"lake.orders.kg", "lake.by_line.total"}


def test_a_sync_without_project_is_recorded_without_password(folder: Path) -> None:
    """Places are URLs there."""
    assert call(folder, "sync", "sqlite:erp.db", "sqlite:copy.db", "--table", "o").code == 0

    document = call(folder, "lineage", "o.no").document

    assert {node["connection"] for node in document["nodes"]} == {"sqlite:erp.db", "sqlite:copy.db"}


def test_the_picture_and_the_export_are_whole_files(folder: Path) -> None:
    """The page holds well-formed SVG with every field and loads nothing; the export is one JSON event a line."""
    call(folder, "run", "load", "by_line")

    call(folder, "lineage", "orders", "--html", "l.html", "--openlineage", "l.jsonl")

    page = (folder / "l.html").read_text(encoding="utf-8")
    svg = re.search(r"<svg.*</svg>", page, re.DOTALL)
    assert svg is not None
    texts = {element.text for element in ElementTree.fromstring(svg[0]).iter() if element.tag.endswith("text")}  # noqa: S314  # our own page
    assert {"grams", "kg", "orders"} <= texts
    assert not re.search(r"(src|href)=", page)
    events = [json.loads(line) for line in (folder / "l.jsonl").read_text(encoding="utf-8").splitlines()]
    assert {event["job"]["name"] for event in events} == {"load", "by_line"}


@pytest.mark.parametrize(
    ("language", "heading", "title"), [("en", "Data dictionary", "Weight"), ("zh", "数据字典", "净重")]
)
def test_docs_hold_inventory_dictionary_and_flow(folder: Path, language: str, heading: str, title: str) -> None:
    """All formats in both languages; secrets of the files are not in them, and a bar in a title breaks no table."""
    formats = [part for name in ("html", "md", "xlsx") for part in ("--format", name)]

    done = call(folder, "docs", "--out", "out", "--lang", language, *formats)

    assert done.code == 0, done.err
    files = [folder / file for file in done.document["files"]]
    assert [file.suffix for file in files] == [".html", ".md", ".xlsx"]
    for file in files[:2]:
        text = file.read_text(encoding="utf-8")
        assert heading in text
        assert title in text
        assert "hunter22" not in text
    rows = [line for line in files[1].read_text(encoding="utf-8").splitlines() if line.startswith("| kg ")]
    assert len(re.findall(r"(?<!\\)\|", rows[0])) == 9
    assert files[2].read_bytes()[:2] == b"PK"


def test_docs_refuse_an_unknown_format(folder: Path) -> None:
    """The valid ones are named."""
    done = call(folder, "docs", "--format", "pdf")

    assert (done.code, done.document["problems"][0]["hint"]) == (2, "html, md, xlsx")
