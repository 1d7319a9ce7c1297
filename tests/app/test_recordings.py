"""`--record` and `--replay`: a connection's HTTP traffic written down without secrets, and answered from afterwards."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tongqu.app.services.recording import Recordings
from tongqu.kit.http.call import Call, Repeat
from tongqu.kit.http.client import Http
from tongqu.kit.http.settings import HttpSettings
from tongqu.testing.command_line import inside, query
from tongqu.testing.services.http_peer import Asked, HttpPeer, Out
from tongqu.testing.services.soap_orders import SoapOrders

TOKEN = "t0ken-of-the-plant-4711"
PEOPLE: list[dict[str, Any]] = [
    {"id": 1, "mobile": "13800138000", "idCard": "11010519491231002X", "realName": "王小明", "badge": "B-001"},
    {"id": 2, "mobile": "13900139000", "idCard": "110105194912310038", "realName": "欧阳小红", "badge": "B-002"},
]
PRIVATE = ("13800138000", "11010519491231002X", "王小明", "13900139000", "110105194912310038", "欧阳小红")


@pytest.fixture
def hr() -> Iterator[HttpPeer]:
    def people(asked: Asked, out: Out) -> None:
        page = int(asked.query.get("page", "1"))
        out.json({"items": PEOPLE[page - 1 : page], "total": len(PEOPLE)})

    def soap(asked: Asked, out: Out) -> None:
        body = (
            '<s:Envelope xmlns:s="http://schemas.xmlsoap.org/soap/envelope/"><s:Body><GetResponse>'
            "<Phone>13800138000</Phone><Badge>B-001</Badge></GetResponse></s:Body></s:Envelope>"
        )
        out.answer(200, body.encode(), Content_Type="text/xml; charset=utf-8")

    with HttpPeer({"/api/people": people, "/soap": soap}) as peer:
        yield peer


def project(folder: Path, base: str) -> None:
    people = {
        "path": "/people",
        "records": "items",
        "key": ["id"],
        "paging": {"kind": "page", "total": "total", "size": 1},
    }
    values = {
        "connections": {
            "hr": {
                "type": "rest",
                "base_url": base,
                "auth": {"bearer": "${env:HR_TOKEN}"},
                "datasets": {"people": people},
            },
            "lake": {"type": "sqlite", "path": "lake.db"},
        },
        "datasets": {"people": {"fields": {"badge": {"type": "string", "class": "personal"}}}},
        "pipelines": {
            "people": {
                "source": {"connection": "hr", "dataset": "people"},
                "sink": {"connection": "lake", "dataset": "people"},
            }
        },
    }
    (folder / "tongqu.yaml").write_text(json.dumps(values), encoding="utf-8")


def test_what_was_recorded_is_replayed_without_the_system(tmp_path: Path, hr: HttpPeer) -> None:
    project(tmp_path, f"{hr.url}/api")
    done = inside(tmp_path, "run", "people", "--record", "rec", HR_TOKEN=TOKEN)
    assert done.code == 0, done.err
    first = query(tmp_path / "lake.db", "SELECT id, mobile, badge FROM people ORDER BY id")
    assert first == [(1, "13800138000", "B-001"), (2, "13900139000", "B-002")]  # the run itself sees everything
    hr.close()
    for _ in range(2):
        done = inside(tmp_path, "run", "people", "--replay", "rec", HR_TOKEN="another")
        assert done.code == 0, done.err
        rows = query(tmp_path / "lake.db", "SELECT id, mobile, idCard, realName FROM people ORDER BY id")
        assert rows == [
            (1, "138****8000", "110105********002X", "王*明"),
            (2, "139****9000", "110105********0038", "欧阳**"),
        ]


def test_neither_secrets_nor_personal_data_are_in_a_recording(tmp_path: Path, hr: HttpPeer) -> None:
    project(tmp_path, f"{hr.url}/api")
    assert inside(tmp_path, "check", "hr", "--record", "rec", HR_TOKEN=TOKEN).code == 0
    assert inside(tmp_path, "sync", "hr", "sqlite:x.db", "--record", "rec", HR_TOKEN=TOKEN).code == 0
    text = (tmp_path / "rec/hr.jsonl").read_text(encoding="utf-8")
    for private in (TOKEN, *PRIVATE, "B-001"):  # the badge by the project's dictionary
        assert private not in text
    assert (tmp_path / "rec/hr.jsonl").stat().st_mode & 0o077 == 0
    document = inside(tmp_path, "record", "list", "rec", "--json").document
    assert [(one["name"], one["unmasked"]) for one in document["recordings"]] == [("hr", [])]
    assert inside(tmp_path, "record", "show", "rec/hr.jsonl").code == 0


def test_check_replays_too(tmp_path: Path, hr: HttpPeer) -> None:
    project(tmp_path, f"{hr.url}/api")
    assert inside(tmp_path, "check", "hr", "--record", "rec", HR_TOKEN=TOKEN).code == 0
    hr.close()
    done = inside(tmp_path, "check", "hr", "--replay", "rec", "--json", HR_TOKEN=TOKEN)
    assert done.code == 0, done.out
    assert "replay" in done.document["connections"][0]["stages"]


def test_a_call_that_was_not_recorded_fails_by_name(tmp_path: Path) -> None:
    project(tmp_path, "http://127.0.0.1:9/api")
    (tmp_path / "rec").mkdir()
    done = inside(tmp_path, "run", "people", "--replay", "rec", "--json", HR_TOKEN=TOKEN)
    assert done.code == 1
    assert done.document["problems"][0]["code"] == "connector.not_recorded"


def test_soap_is_recorded_masked_and_replayed(tmp_path: Path, hr: HttpPeer) -> None:
    def sent(mode: Any, phone: str) -> bytes:
        settings = Recordings(mode, tmp_path / "rec").used("erp", HttpSettings.parse({"base_url": hr.url}))
        assert isinstance(settings, HttpSettings)
        http = Http(settings)
        body = f"<e:Envelope xmlns:e='http://schemas.xmlsoap.org/soap/envelope/'><Get><Phone>{phone}</Phone></Get></e:Envelope>"
        try:
            call = Call("POST", http.url("/soap"), (), {"Content-Type": "text/xml"}, body.encode(), repeat=Repeat.SAFE)
            return http.send(call).content
        finally:
            http.close()

    assert b"13800138000" in sent("record", "13700137000")
    text = (tmp_path / "rec/erp.jsonl").read_text(encoding="utf-8")
    assert "13800138000" not in text
    assert "13700137000" not in text
    hr.close()
    assert b"<Phone>138****8000</Phone>" in sent("replay", "13700137000")


def test_an_older_recording_is_scrubbed_in_place(tmp_path: Path) -> None:
    answer = json.dumps({"mobile": "13800138000", "shouji": "13800138000", "height": 181})
    line = {
        "format": "tongqu-http/1",
        "session": "s",
        "request": {"method": "GET", "url": "https://hr.example/people"},
        "response": {"status": 200, "headers": {"content-type": "application/json"}, "text": answer},
    }
    path = tmp_path / "old.jsonl"
    path.write_text(json.dumps(line) + "\n", encoding="utf-8")
    done = inside(tmp_path, "record", "show", "old.jsonl", "--json")
    assert (done.code, done.document["unmasked"]) == (3, ["mobile", "shouji"])
    done = inside(tmp_path, "record", "scrub", "old.jsonl", "--field", "height", "--json")
    assert (done.code, done.document["changed"], done.document["unmasked"]) == (0, 1, [])
    held = json.loads(json.loads(path.read_text(encoding="utf-8"))["response"]["text"])
    assert held == {"mobile": "138****8000", "shouji": 0, "height": 0}


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        (("check", "hr", "--record", "a", "--replay", "b"), 2),
        (("check", "hr", "--replay", "nowhere"), 1),
        (("record", "show", "tongqu.yaml"), 2),
        (("record", "list", "nowhere"), 1),
    ],
)
def test_refusals(tmp_path: Path, arguments: tuple[str, ...], code: int) -> None:
    project(tmp_path, "https://hr.example")
    assert inside(tmp_path, *arguments, HR_TOKEN=TOKEN).code == code


def test_a_soap_connection_is_replayed_row_by_row(tmp_path: Path) -> None:
    with SoapOrders() as api:
        for number in (1, 2):
            api.put(number, no=f"SO-{number}")
        orders = {"operation": "get_orders", "key": ["id"]}
        values = {"connections": {"erp": {"type": "soap", "base_url": api.url, "datasets": {"orders": orders}}}}
        (tmp_path / "tongqu.yaml").write_text(json.dumps(values), encoding="utf-8")
        done = inside(tmp_path, "sync", "erp", "sqlite:a.db", "--table", "orders", "--record", "rec")
        assert done.code == 0, done.err
    done = inside(tmp_path, "sync", "erp", "sqlite:b.db", "--table", "orders", "--replay", "rec")
    assert done.code == 0, done.err
    asked = "SELECT id, no, amount FROM orders ORDER BY id"
    assert query(tmp_path / "b.db", asked) == query(tmp_path / "a.db", asked)
    assert len(query(tmp_path / "b.db", asked)) == 2
