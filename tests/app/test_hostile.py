"""Files and settings made to hurt: refused with a clear word, without a crash, a leak or an endless search."""

from __future__ import annotations

import json
import zipfile
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest

from tongqu.catalog.mapping_sheet import Line, MappingSheet, read_sheet, write_sheet
from tongqu.core.settings import REFERENCE
from tongqu.testing.command_line import Done, inside, make, query

KEY = "00112233445566778899aabbccddeeff" * 2
_NS = 'xmlns="http://schemas.openxmlformats.org/spreadsheetml/2006/main"'
_OFFICE = "http://schemas.openxmlformats.org/officeDocument/2006/relationships"
_PACKAGE = "http://schemas.openxmlformats.org/package/2006/relationships"
_RELATION = (
    f'<Relationships xmlns="{_PACKAGE}"><Relationship Id="rId1" Type="{_OFFICE}/%s" Target="%s"/></Relationships>'
)
_HEAD = '<row r="1"><c r="A1" t="inlineStr"><is><t>a</t></is></c></row>'


def workbook(path: Path, rows: str, sheets: str = '<sheet name="S" sheetId="1" r:id="rId1"/>') -> None:
    """A workbook as no library would write it."""
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("_rels/.rels", _RELATION % ("officeDocument", "xl/workbook.xml"))
        archive.writestr("xl/workbook.xml", f'<workbook {_NS} xmlns:r="{_OFFICE}"><sheets>{sheets}</sheets></workbook>')
        archive.writestr("xl/_rels/workbook.xml.rels", _RELATION % ("worksheet", "worksheets/sheet1.xml"))
        archive.writestr("xl/worksheets/sheet1.xml", f"<worksheet {_NS}><sheetData>{rows}</sheetData></worksheet>")


def refused(done: Done) -> dict[str, str]:
    assert done.code in (1, 2)
    (problem,) = done.document["problems"]
    assert problem["code"] != "internal"
    found: dict[str, str] = problem
    return found


# ---- workbooks


def test_two_cells_at_opposite_corners_do_not_fill_memory(tmp_path: Path) -> None:
    workbook(tmp_path / "far.xlsx", _HEAD + '<row r="1048576"><c r="XFD1048576"><v>1</v></c></row>')
    done = inside(tmp_path, "sync", "file:far.xlsx", "sqlite:x.db", "--json")
    assert "1048576 rows and 16384 columns" in refused(done)["message"]


@pytest.mark.parametrize("content", ["<!--" + "<c " * 150_000 + "-->", '<c t="e" r="A3">' * 5_000])
def test_looking_for_error_cells_takes_no_time_that_grows_with_the_square(tmp_path: Path, content: str) -> None:
    from tongqu.kit.formats.workbook import _ERROR

    text = f'<row r="2"><c r="A2" t="e"><v>#N/A</v></c></row>{content}'.encode()
    assert next(_ERROR.finditer(text)).groups() == (b"A", b"2", b"#N/A")
    assert len(_ERROR.findall(text)) == 1 + content.count('t="e"')


# ---- JSON and XML


@pytest.mark.parametrize("deep", ["[" * 100_000 + "]" * 100_000, '{"a":' * 100_000 + "1" + "}" * 100_000])
def test_a_line_that_nests_too_deep_is_one_bad_row(tmp_path: Path, deep: str) -> None:
    (tmp_path / "x.jsonl").write_text('{"id":1}\n{"id":2,"a":' + deep + '}\n{"id":3}\n')
    done = inside(tmp_path, "sync", "file:x.jsonl", "sqlite:x.db", "--json")
    assert (done.code, query(tmp_path / "x.db", "SELECT id FROM x ORDER BY id")) == (3, [(1,), (3,)])
    assert "deeper than 100" in inside(tmp_path, "quarantine", "list", "sqlite:x.db", "--json").out


def test_a_document_of_nothing_that_can_be_read_is_refused(tmp_path: Path) -> None:
    (tmp_path / "x.json").write_text('[{"id":1,"a":' + "[" * 100_000 + "]" * 100_000 + "}]")
    done = inside(tmp_path, "sync", "file:x.json", "sqlite:x.db", "--json")
    assert (done.code, "'x' has no column" in refused(done)["message"]) == (1, True)
    assert "no column to look at" in refused(inside(tmp_path, "profile", "file:x.json", "--json"))["message"]


def test_a_record_of_empty_elements_has_an_end(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tongqu.kit.formats.xml_records.MAX_RECORD", 32 << 10)
    (tmp_path / "x.xml").write_text("<r><x>" + "<a/>" * 2_200 + "</x></r>")
    done = inside(tmp_path, "sync", "file:x.xml", "sqlite:x.db", "--json")
    assert "a record is longer than" in refused(done)["message"]


# ---- certificates and mapping sheets


@pytest.mark.parametrize(
    "content",
    ["[" * 100_000, json.dumps({"sha256": sha256(b"{}").hexdigest()}), '{"a": "\\ud800", "sha256": "x"}', "[1]"],
)
def test_what_is_no_certificate_is_said_to_be_none(tmp_path: Path, content: str) -> None:
    (tmp_path / "c.json").write_text(content)
    assert refused(inside(tmp_path, "diff", "--verify", "c.json", "--json"))["code"] == "run.checkpoint"


def test_a_mapping_sheet_that_is_none_is_refused(tmp_path: Path) -> None:
    (tmp_path / "m.csv").write_text(f'source field,standard field\n"{"x" * 200_000}",b\n')
    workbook(tmp_path / "m.xlsx", "", sheets="")
    assert "field larger" in refused(inside(tmp_path, "mapping", "apply", "m.csv", "--json"))["message"]
    assert "has no sheet" in refused(inside(tmp_path, "mapping", "apply", "m.xlsx", "--json"))["message"]


def test_names_from_foreign_systems_are_no_formulas_in_a_csv_sheet(tmp_path: Path) -> None:
    sheet = MappingSheet((Line("=cmd|' /C calc'!A0", "b", about="@SUM(1)"), Line("'quoted'", "c")))
    write_sheet(sheet, tmp_path / "m.csv", "en")
    assert "\n'=cmd|' /C calc'!A0,'@SUM(1),b" in (tmp_path / "m.csv").read_text("utf-8-sig").replace("\r", "")
    assert [line.source for line in read_sheet(tmp_path / "m.csv").lines] == ["=cmd|' /C calc'!A0", "'quoted'"]


# ---- secrets and people


def project(folder: Path, *steps: dict[str, Any]) -> None:
    make(folder / "q.db", "t", "id INTEGER PRIMARY KEY, name TEXT", [(n, f"n{n}") for n in range(3)])
    made = {
        "project": "<script>alert(1)</script>",
        "connections": {"q": {"type": "sqlite", "path": "q.db"}, "lake": {"type": "sqlite", "path": "lake.db"}},
        "pipelines": {
            "p": {
                "source": {"connection": "q", "dataset": "t"},
                "steps": list(steps),
                "sink": {"connection": "lake", "dataset": "p"},
            }
        },
    }
    (folder / "tongqu.yaml").write_text(json.dumps(made), encoding="utf-8")


@pytest.mark.parametrize(
    "step",
    [
        {"encrypt": {"columns": ["name"], "key": KEY}},
        {"decrypt": {"columns": ["name"], "key": KEY, "purpose": "payroll"}},
        {"decrypt": {"columns": ["name"], "keys": {"1": KEY}, "purpose": "payroll"}},
        {"decrypt": {"columns": ["name"], "keys": {"1": "${" + KEY + "}"}, "purpose": "payroll"}},
        {"mask": {"name": {"with": "hash", "key": KEY}}},
    ],
)
def test_a_key_written_where_its_reference_belongs_is_not_shown(tmp_path: Path, step: dict[str, Any]) -> None:
    project(tmp_path, step)
    done = inside(tmp_path, "check", "--json", "--debug")
    assert (done.code, KEY in done.out + done.err) == (2, False)


def test_the_pattern_of_references_knows_names_only() -> None:
    import re

    assert re.match(REFERENCE, "${secret:hr}")
    assert not re.match(REFERENCE, "${secret:hr} and more")


def test_an_empty_key_hashes_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HASH_KEY", " ")
    project(tmp_path, {"mask": {"name": {"with": "hash", "key": "${env:HASH_KEY}"}}})
    assert refused(inside(tmp_path, "run", "p", "--json"))["code"] == "config.secret"


def test_no_number_or_letter_of_a_personal_column_is_kept(tmp_path: Path) -> None:
    rows = [(n, 13800000000 + n, f"Иван{n}", 876_543_000 + n) for n in range(1, 31)]
    make(tmp_path / "p.db", "people", "id INT PRIMARY KEY, mobile BIGINT, full_name TEXT, salary INT", rows)
    done = inside(tmp_path, "profile", "sqlite:p.db", "--json", "--html", "p.html")
    kept = {column["name"]: column for column in done.document["columns"]}
    assert all(column not in kept[name] for name in ("mobile", "salary") for column in ("mean", "quantiles"))
    for shown in (done.out, (tmp_path / "p.html").read_text()):
        assert not any(text in shown for text in ("1380000001", "876543", "Иван"))


def test_a_project_named_like_a_script_is_none_in_its_documentation(tmp_path: Path) -> None:
    project(tmp_path)
    done = inside(tmp_path, "docs", "--out", "d", "--format", "md", "--format", "html", "--json")
    assert done.code == 0
    assert not any("<script" in Path(tmp_path, file).read_text() for file in done.document["files"])


@pytest.mark.parametrize("command", [("docs", "--out", "q.db/x"), ("profile", "sqlite:q.db", "--html", "q.db/x")])
def test_a_report_that_cannot_be_written_is_told(tmp_path: Path, command: tuple[str, ...]) -> None:
    project(tmp_path)
    assert refused(inside(tmp_path, *command, "--json"))["code"] == "connector.write"
