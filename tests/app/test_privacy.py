"""Persons in published data: found in every table, packaged, erased for good, and told who read them."""

from __future__ import annotations

import csv
import json
import sqlite3
import stat
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from tongqu.testing.command_line import Done, inside, make, query
from tongqu.testing.services.gateway import Gateway

PROJECT = """
project: plant
connections:
  mes: {type: sqlite, path: mes.db}
  hr: {type: duckdb, path: hr.duckdb}
  erp: {type: sqlite, path: erp.db}
purposes:
  payroll: {title: {en: Payroll}, basis: contract, keep: 10 years}
  quality: {title: {en: Quality}, basis: interest}
datasets:
  inspections:
    key: id
    subject: {employee: inspector_no}
    erase: clear
    fields:
      id: {class: public}
      inspector_no: {class: personal, title: {en: Inspector}}
      inspector: {class: personal, mask: name}
      result: {class: public}
  staff:
    key: no
    subject: {employee: no, phone: phone}
    erase: delete
    fields:
      no: {class: personal}
      phone: {class: sensitive, mask: phone}
      pin: {class: secret}
  training:
    subject: {employee: who}
    erase: keep
    fields: {who: {class: personal}}
apis:
  inspections:
    title: {en: Inspections}
    owner: quality
    source: {connection: mes, dataset: inspections}
    fields: [id, inspector, result]
    access:
      roles: [quality]
      fields:
        inspector: {roles: [hr], mask: {with: encrypt, key: "${env:TEST_MASK_KEY}", purposes: [payroll]}}
  staff:
    source: {connection: erp, dataset: staff}
    access: {roles: [hr], fields: {no: {roles: [hr]}, phone: {roles: [hr], otherwise: mask}}}
  training: {source: {connection: erp, dataset: training}, access: {roles: [hr]}}
pipelines:
  staff:
    source: {connection: hr, dataset: people, as: staff}
    sink: {connection: erp, dataset: staff, write: replace}
"""
KEY = "00112233445566778899aabbccddeeff"
STAFF = [("E1", "13800000001", "1"), ("E2", "13800000002", "2"), ("E3", "13800000003", "3")]


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("TEST_MASK_KEY", KEY)
    (tmp_path / "tongqu.yaml").write_text(
        PROJECT.replace("{type: duckdb, path: hr.duckdb}", "{type: sqlite, path: hr.db}")
    )
    columns = "no TEXT NOT NULL PRIMARY KEY, phone TEXT, pin TEXT"
    make(tmp_path / "hr.db", "people", columns, STAFF)
    make(tmp_path / "erp.db", "staff", columns, STAFF)
    make(tmp_path / "erp.db", "training", "who TEXT, course TEXT", [("E1", "welding"), ("E2", "welding")])
    rows = [(1, "E1", "张三", "ok"), (2, "E2", "李四", "ok"), (3, "E1", "张三", "bad"), (4, None, None, "ok")]
    make(
        tmp_path / "mes.db",
        "inspections",
        "id INTEGER PRIMARY KEY, inspector_no TEXT, inspector TEXT, result TEXT",
        rows,
    )
    return tmp_path


def privacy(folder: Path, *arguments: str) -> Done:
    return inside(folder, "privacy", *arguments, "--json", TEST_MASK_KEY=KEY)


def where(document: Any, name: str) -> dict[str, Any]:
    return {f"{one['connection']}/{one['table']}": one[name] for one in document["places"]}


def test_the_catalogue_tells_who_sees_every_personal_field(folder: Path) -> None:
    found = {(one["dataset"], one["field"]): one for one in privacy(folder, "catalogue").document["fields"]}
    assert set(found) == {
        ("inspections", "inspector_no"), ("inspections", "inspector"), ("staff", "no"), ("staff", "phone"),
        ("staff", "pin"), ("training", "who"),
    }  # fmt: skip
    assert found["inspections", "inspector"]["apis"] == [
        {"path": "/api/v1/inspections", "roles": ["hr"], "mask": "encrypt", "purposes": ["payroll"]}
    ]
    assert found["inspections", "inspector_no"]["apis"] == []
    assert found["inspections", "inspector_no"]["identifies"] == "employee"
    assert found["staff", "phone"]["pipelines"] == ["staff"]


def test_the_catalogue_as_a_sheet(folder: Path) -> None:
    done = privacy(folder, "catalogue", "--file", "fields.csv")
    with (folder / "fields.csv").open(encoding="utf-8", newline="") as stream:
        rows = list(csv.DictReader(stream))
    assert [row["field"] for row in rows] == [one["field"] for one in done.document["fields"]]
    assert json.loads(rows[0]["apis"]) == done.document["fields"][0]["apis"]
    assert privacy(folder, "catalogue", "--file", "fields.csv").document["problems"][0]["path"] == "--file"


def test_a_person_is_found_in_every_published_table(folder: Path) -> None:
    found = privacy(folder, "find", "--subject", "employee=E1")
    assert found.code == 0
    assert where(found.document, "rows") == {"mes/inspections": 2, "erp/staff": 1, "erp/training": 1}
    assert where(privacy(folder, "find", "--subject", "phone=13800000002").document, "rows") == {"erp/staff": 1}
    assert privacy(folder, "find", "--subject", "badge=7").document["problems"][0]["code"] == "config.unknown_name"


def test_the_package_holds_all_rows_but_no_secret(folder: Path) -> None:
    file = folder / "E1.json"
    assert privacy(folder, "export", str(file), "--subject", "employee=E1").document["rows"] == 4
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    package = {one["table"]: one for one in json.loads(file.read_text())["places"]}
    assert package["staff"]["rows"] == [{"no": "E1", "phone": "13800000001"}]
    assert [row["id"] for row in package["inspections"]["rows"]] == [1, 3]
    assert package["inspections"]["fields"]["inspector_no"] == {"title": "Inspector", "class": "personal"}


def test_who_is_erased_stays_erased(folder: Path) -> None:
    shown = privacy(folder, "erase", "--subject", "employee=E1").document
    assert shown["done"] is False and where(shown, "left") == {"mes/inspections": 2, "erp/staff": 1, "erp/training": 1}
    done = privacy(folder, "erase", "--subject", "employee=E1", "--reason", "asked", "--yes")
    assert done.code == 0
    assert where(done.document, "action") == {"mes/inspections": "clear", "erp/staff": "delete", "erp/training": "keep"}
    assert where(done.document, "left") == {"mes/inspections": 0, "erp/staff": 0, "erp/training": 1}
    assert query(folder / "mes.db", "SELECT * FROM inspections WHERE id IN (1, 2) ORDER BY id") == [
        (1, None, None, "ok"), (2, "E2", "李四", "ok")
    ]  # fmt: skip
    assert inside(folder, "run", "staff", "--json").code == 0
    assert query(folder / "erp.db", "SELECT no FROM staff ORDER BY no") == [("E2",), ("E3",)]
    assert privacy(folder, "find", "--subject", "employee=E1").document["erased"] is True
    [stone] = privacy(folder, "tombstones").document["tombstones"]
    assert (stone["identity"], stone["reason"]) == ("employee", "asked") and "E1" not in json.dumps(stone["digest"])


def test_a_person_is_found_however_a_table_spells_it(folder: Path) -> None:
    with closing(sqlite3.connect(folder / "mes.db")) as db, db:
        db.execute("UPDATE inspections SET inspector_no = 'e1   ' WHERE id = 3")
    with closing(sqlite3.connect(folder / "hr.db")) as db, db:
        db.execute("UPDATE people SET no = 'e1 ' WHERE no = 'E1'")
    found = privacy(folder, "find", "--subject", "employee=E1")
    assert where(found.document, "rows")["mes/inspections"] == 2
    shown = privacy(folder, "erase", "--subject", "employee=e1").document
    assert where(shown, "spellings")["mes/inspections"] == {"employee": 2}
    done = privacy(folder, "erase", "--subject", "employee=e1", "--yes")
    assert done.code == 0 and where(done.document, "left")["mes/inspections"] == 0
    assert query(folder / "mes.db", "SELECT id FROM inspections WHERE inspector_no IS NOT NULL") == [(2,)]
    assert inside(folder, "run", "staff", "--json").code == 0
    assert query(folder / "erp.db", "SELECT no FROM staff ORDER BY no") == [("E2",), ("E3",)]


@pytest.mark.parametrize(
    ("reads", "steps", "sink"),
    [
        ("dataset: people, as: staff, mode: incremental, cursor: at", "", "dataset: staff, write: upsert"),
        ("dataset: people", "", "dataset: staff, write: upsert, key: [no]"),
        ('datasets: ["staff*"]', "", "write: upsert"),
        (
            "dataset: people, as: staff",
            'steps: [{sort: [no]}, {filter: "no is not null"}]',
            "dataset: staff, key: [no]",
        ),
    ],
)
def test_no_pipeline_brings_an_erased_person_back(folder: Path, reads: str, steps: str, sink: str) -> None:
    columns = "no TEXT NOT NULL PRIMARY KEY, phone TEXT, pin TEXT, at INTEGER NOT NULL DEFAULT 1"
    for table in ("people", "staff"):
        with closing(sqlite3.connect(folder / "hr.db")) as db, db:
            db.execute(f"DROP TABLE IF EXISTS {table}")
        make(folder / "hr.db", table, columns, [(*row, 1) for row in STAFF])
    head, _, _ = (folder / "tongqu.yaml").read_text().partition("pipelines:")
    pipeline = f"pipelines: {{moved: {{source: {{connection: hr, {reads}}}, STEPS sink: {{connection: erp, {sink}}}}}}}"
    (folder / "tongqu.yaml").write_text(head + pipeline.replace("STEPS", f"{steps}," if steps else ""))
    assert inside(folder, "run", "moved", "--json").code == 0
    assert privacy(folder, "erase", "--subject", "employee=E1", "--yes").code == 0
    for table in ("people", "staff"):
        with closing(sqlite3.connect(folder / "hr.db")) as db, db:
            db.execute(f"UPDATE {table} SET at = 2, phone = '1'")
    for arguments in ((), ("--full",)):
        assert inside(folder, "run", "moved", *arguments, "--json").code in (0, 3)
        assert query(folder / "erp.db", "SELECT no, phone FROM staff ORDER BY no") == [("E2", "1"), ("E3", "1")]


def test_neither_does_a_sync(folder: Path) -> None:
    make(folder / "hr.db", "staff", "no TEXT NOT NULL PRIMARY KEY, phone TEXT, pin TEXT", STAFF)
    assert privacy(folder, "erase", "--subject", "employee=E1", "--yes").code == 0
    assert inside(folder, "sync", "hr", "erp", "--table", "staff", "--json").code == 0
    assert query(folder / "erp.db", "SELECT no FROM staff ORDER BY no") == [("E2",), ("E3",)]


@pytest.mark.parametrize(
    ("reads", "steps", "sink"),
    [
        ("dataset: people", "", "staff"),
        ("dataset: people, as: staff", "", "crew"),
        ("dataset: people, as: staff", "steps: [{check: {phone: {pattern: '[0-9]{11}'}}}],", "crew"),
    ],
)
def test_neither_does_a_row_that_was_laid_aside_before(folder: Path, reads: str, steps: str, sink: str) -> None:
    columns = "no TEXT NOT NULL PRIMARY KEY, phone TEXT CHECK (length(phone) = 11), pin TEXT"
    with closing(sqlite3.connect(folder / "hr.db")) as db, db:
        db.execute("UPDATE people SET phone = 'bad' WHERE no IN ('E1', 'E2')")
    for table in ("staff", "crew"):
        with closing(sqlite3.connect(folder / "erp.db")) as db, db:
            db.execute(f"DROP TABLE IF EXISTS {table}")
        make(folder / "erp.db", table, columns, [])
    head, _, _ = (folder / "tongqu.yaml").read_text().partition("pipelines:")
    sinks = f"sink: {{connection: erp, dataset: {sink}, write: upsert, key: [no]}}"
    pipeline = f"pipelines: {{moved: {{source: {{connection: hr, {reads}}}, {steps} {sinks}}}}}"
    (folder / "tongqu.yaml").write_text(head + pipeline)
    assert inside(folder, "run", "moved", "--json").code == 3
    assert privacy(folder, "erase", "--subject", "employee=E1", "--yes").code == 0
    fixed = inside(folder, "quarantine", "fix", "--rule", "set phone='13800000009'", "--json")
    assert fixed.code == 0, fixed.out
    assert inside(folder, "quarantine", "replay", "--json").code == 0
    assert query(folder / "erp.db", f"SELECT no FROM {sink} ORDER BY no") == [("E2",), ("E3",)]


def test_the_trail_names_nobody(folder: Path) -> None:
    privacy(folder, "find", "--subject", "phone=13800000002")
    privacy(folder, "erase", "--subject", "phone=13800000002", "--yes")
    records = inside(folder, "audit", "show", "--json").document["records"]
    assert [one["what"] for one in records if one["outcome"] == "done"] == ["privacy.erase", "privacy.find"]
    assert "13800000002" not in json.dumps(records)


def test_nothing_is_erased_where_nobody_decided(folder: Path) -> None:
    text = (folder / "tongqu.yaml").read_text().replace("    erase: keep\n", "")
    (folder / "tongqu.yaml").write_text(text)
    done = privacy(folder, "erase", "--subject", "employee=E2", "--yes")
    assert (done.code, where(done.document, "action")["erp/training"]) == (1, "undecided")
    assert "privacy.undecided" in [one["code"] for one in done.document["problems"]]
    assert query(folder / "erp.db", "SELECT count(*) FROM training") == [(2,)]


def test_rules_name_only_declared_purposes(folder: Path) -> None:
    text = (folder / "tongqu.yaml").read_text().replace("purposes: [payroll]", "purposes: [payrol]")
    (folder / "tongqu.yaml").write_text(text)
    [problem] = inside(folder, "check", "--json", TEST_MASK_KEY=KEY).document["problems"]
    assert problem["code"] == "config.unknown_name" and "'payroll'" in problem["hint"]


@pytest.fixture
def called(folder: Path) -> Iterator[tuple[Path, dict[str, Any]]]:
    """Calls of two clients: what each was answered."""

    def added(*arguments: str) -> list[tuple[str, str]]:
        made = inside(folder, "client", "add", *arguments, "--key", "api-key", "--json").document
        return [("x-api-key", made["api_key"])] if "api_key" in made else [("authorization", f"Bearer {made['key']}")]

    mes = added("mes", "--role", "quality")
    hr = added("hr", "--role", "quality", "--role", "hr", "--purpose", "payroll", "--purpose", "quality")
    gql = added("gql", "--role", "hr")
    with Gateway(folder, environ={"TEST_MASK_KEY": KEY}) as gateway:
        paying, other = [*hr, ("tongqu-purpose", "payroll")], [*hr, ("tongqu-purpose", "quality")]
        answers = {
            "one": gateway.ask("/api/v1/inspections?id=eq.1", headers=mes),
            "nobody": gateway.ask("/api/v1/inspections?id=eq.4&select=result", headers=mes),
            "csv": gateway.ask(
                "/api/v1/inspections?id=lte.2&select=id,result&order=id", headers=[*paying, ("accept", "text/csv")]
            ),
            "paying": gateway.ask("/api/v1/inspections?id=eq.1", headers=paying),
            "other": gateway.ask("/api/v1/inspections?id=eq.1", headers=other),
            "undeclared": gateway.ask("/api/v1/inspections", headers=[*hr, ("tongqu-purpose", "marketing")]),
            "staff": gateway.ask("/api/v1/staff?no=eq.E3", headers=paying),
            "graphql": gateway.ask(
                "/graphql", "POST", {"query": '{ staff(where: {no: {eq: "E2"}}) { nodes { phone } } }'}, gql
            ),
            "counted": gateway.ask("/api/v1/inspections?select=result,id.count()", headers=mes),
        }
        assert gateway.stop() == 0, gateway.errors
    yield folder, answers


def test_who_read_whom_is_told_exactly(called: tuple[Path, dict[str, Any]]) -> None:
    folder, answers = called
    assert answers["csv"].body == b"id,result\r\n1,ok\r\n2,ok\r\n"
    assert answers["nobody"].json == [{"result": "ok"}]
    assert [row["inspector"] for row in answers["paying"].json] == ["张三"]
    assert answers["one"].json[0]["inspector"].startswith("tq1.aes-gcm.1.")
    assert answers["other"].json[0]["inspector"].startswith("tq1.aes-gcm.1.")
    assert answers["undeclared"].json["code"] == "auth.purpose"
    assert answers["graphql"].json["data"]["staff"]["nodes"] == [{"phone": "13800000002"}]
    seeded = {"mes": ["E1"], "hr": ["E1", "E2", "E3"], "gql": ["E2"]}
    for client, persons in seeded.items():
        found = privacy(folder, "breach", "--client", client, "--since", "1h").document
        assert sorted(one["value"] for one in found["persons"] if one["identity"] == "employee") == persons
        assert found["unnamed"] == []
    readers = privacy(folder, "breach", "--subject", "employee=E2").document
    assert sorted(one["client"] for one in readers["clients"]) == ["client:gql", "client:hr"]
    assert privacy(folder, "breach", "--client", "mes", "--until", "2020-01-01T00:00:00Z").document["calls"] == 0
    trail = "".join(path.read_text() for path in folder.glob("home/audit/2*/*.log"))
    assert "E1" not in trail and "13800000003" not in trail


def test_the_record_of_processing_equals_the_calls(called: tuple[Path, dict[str, Any]]) -> None:
    folder, _ = called
    record = {one["api"]: one for one in privacy(folder, "record").document["activities"]}
    inspections = record["/api/v1/inspections"]
    assert (inspections["owner"], inspections["persons"], inspections["erase"]) == ("quality", ["employee"], "clear")
    assert {one["name"]: one["basis"] for one in inspections["purposes"]} == {
        "payroll": "contract",
        "quality": "interest",
    }
    calls = inside(folder, "audit", "export", str(folder / "all.jsonl"), "--kind", "call", "--json")
    assert calls.code == 0
    lines = [json.loads(line) for line in (folder / "all.jsonl").read_text().splitlines()]
    for who in inspections["recipients"]:
        mine = [one for one in lines if one["who"] == who["client"] and one["api"] == "inspections"]
        assert who["calls"] == len(mine)
        assert who["fields"].get("inspector", 0) == sum("inspector" in one["fields"] for one in mine)


def test_erasing_a_database_that_is_gone_is_told(folder: Path) -> None:
    with closing(sqlite3.connect(folder / "erp.db")) as db, db:
        db.execute("DROP TABLE training")
    found = privacy(folder, "find", "--subject", "employee=E1")
    assert found.code == 1
    assert where(found.document, "rows") == {"mes/inspections": 2, "erp/staff": 1}


LOG = """
project: plant
connections: {mes: {type: sqlite, path: mes.db}}
datasets:
  visits:
    key: id
    subject: {visitor: badge}
    erase: delete
    retention: {since: at, days: 100, classes: {sensitive: 10}}
    fields: {badge: {class: personal}, plate: {class: sensitive}}
apis:
  visits: {source: {connection: mes, dataset: visits}, access: {roles: [gate]}}
"""


@pytest.fixture
def visits(tmp_path: Path) -> Path:
    (tmp_path / "tongqu.yaml").write_text(LOG)
    rows = [(1, "V1", "A-1", "2026-01-01"), (2, "V2", "A-2", "2026-01-01"), (3, "V1", "A-1", "2026-04-15"),
            (4, None, "A-4", "2026-01-01"), (5, "V3", "A-5", "2026-04-30")]  # fmt: skip
    make(tmp_path / "mes.db", "visits", "id INTEGER PRIMARY KEY, badge TEXT, plate TEXT, at DATE", rows)
    return tmp_path


def test_what_is_over_goes_and_a_hold_keeps_it(visits: Path) -> None:
    assert privacy(visits, "hold", "--subject", "visitor=V2", "--reason", "lawsuit").code == 0
    shown = privacy(visits, "purge", "--at", "2026-05-01").document
    assert [(one["what"], one["due"], one["held"]) for one in shown["tables"]] == [("sensitive", 3, 1), ("rows", 2, 1)]
    done = privacy(visits, "purge", "--at", "2026-05-01", "--yes")
    assert done.code == 0
    assert [(one["what"], one["purged"], one["left"]) for one in done.document["tables"]] == [
        ("sensitive", 3, 0), ("rows", 2, 0)
    ]  # fmt: skip
    rows = "SELECT id, badge, plate FROM visits ORDER BY id"
    assert query(visits / "mes.db", rows) == [(2, "V2", "A-2"), (3, "V1", None), (5, "V3", "A-5")]
    proof = inside(visits, "audit", "show", "--what", "privacy.purge", "--json", "--limit", "1").document["records"][0]
    assert proof["tables"] == done.document["tables"]
    refused = privacy(visits, "erase", "--subject", "visitor=V2", "--yes")
    assert refused.document["problems"][0]["code"] == "access" and refused.code != 0
    assert privacy(visits, "release", "--subject", "visitor=V2").document["holds"] == []
    assert privacy(visits, "purge", "--at", "2026-05-01", "--yes").document["tables"][1]["purged"] == 1


def test_a_hold_protects_a_person_under_every_name(folder: Path) -> None:
    assert privacy(folder, "hold", "--subject", "employee=E1", "--reason", "lawsuit").code == 0
    refused = privacy(folder, "erase", "--subject", "phone=13800000001", "--yes")
    assert (refused.code, refused.document["problems"][0]["code"]) == (1, "access")
    assert query(folder / "erp.db", "SELECT no FROM staff ORDER BY no") == [("E1",), ("E2",), ("E3",)]
    assert privacy(folder, "tombstones").document["tombstones"] == []
    assert privacy(folder, "erase", "--subject", "phone=13800000002", "--yes").document["done"]
    assert query(folder / "erp.db", "SELECT no FROM staff ORDER BY no") == [("E1",), ("E3",)]


def test_a_dataset_can_be_held_as_a_whole(visits: Path) -> None:
    assert privacy(visits, "hold", "--dataset", "visits", "--reason", "audit").code == 0
    assert [one["due"] for one in privacy(visits, "purge", "--at", "2027-05-01").document["tables"]] == [0, 0]
    done = privacy(visits, "erase", "--subject", "visitor=V1", "--yes")
    assert (done.code, done.document["problems"][0]["code"]) == (1, "privacy.held")
    assert query(visits / "mes.db", "SELECT count(*) FROM visits") == [(5,)]
