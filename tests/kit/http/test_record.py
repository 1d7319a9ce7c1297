"""What was recorded is answered again without the system, and holds no secret and no personal data."""

from __future__ import annotations

import json
import stat
from base64 import b64encode
from collections.abc import Callable, Iterator
from decimal import Decimal
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tongqu.core.errors import AnswerError, NotFoundError, NotRecordedError
from tongqu.kit.http.call import Call
from tongqu.kit.http.client import Http
from tongqu.kit.http.scrubbing import Scrubbing
from tongqu.kit.http.settings import HttpSettings
from tongqu.testing.services.http_peer import Asked, HttpPeer, Out

Client = Callable[..., Http]
SECRET = "s3cr3t/+value"
MASKS = {"phone": {"with": "phone"}, "data.list.name": {"with": "name"}, "salary": {"with": "round", "to": 1000}}
STAFF = {
    "code": 0,
    "data": {
        "list": [
            {"id": 12345678901234567890, "name": "欧阳小明", "phone": "13812345678", "salary": 12345, "rate": 1.10},
            {"id": 2, "name": None, "phone": "13900000000", "salary": 999.5, "note": "name stays: 张三"},
        ]
    },
    "echo": SECRET,
    "access_token": "tok",
}


@pytest.fixture
def staff() -> Iterator[HttpPeer]:
    def answer(asked: Asked, out: Out) -> None:
        text = json.dumps(STAFF, ensure_ascii=False).replace('"rate": 1.1', '"rate": 1.10')
        out.answer(200, text.encode(), Content_Type="application/json", Set_Cookie="sid=1", ETag='"1"')

    counter = iter(range(100))
    routes: dict[str, Any] = {
        "/staff": answer,
        "/count": lambda asked, out: out.json({"n": next(counter)}),
        "/gone": lambda asked, out: out.json({"message": "gone"}, 404),
        "/xml": lambda asked, out: out.answer(
            200, b'<r><e phone="13812345678"><phone>13912345678</phone></e></r>', Content_Type="application/xml"
        ),
        "/csv": lambda asked, out: out.answer(200, b"id,phone\n1,13812345678\n", Content_Type="text/csv"),
        "/pdf": lambda asked, out: out.answer(200, b"%PDF\xff\xfe", Content_Type="application/pdf"),
    }
    with HttpPeer(routes) as peer:
        yield peer


def recorder(client: Client, peer: HttpPeer, folder: Path, mode: str = "record", **record: Any) -> Http:
    auth = {
        "api_key": {"name": "key", "value": SECRET, "in": "query"},
        "basic": {"user": "u", "password": SECRET},
    }
    told = {"mode": mode, "masks": MASKS, "ignore": ["nonce"], **record}
    return client(peer.url, folder=folder, record=told, auth=auth, headers={"X-Api-Key": SECRET})


def test_a_replay_gives_the_same_without_the_system(client: Client, staff: HttpPeer, tmp_path: Path) -> None:
    one = recorder(client, staff, tmp_path)
    staff_call = Call("GET", staff.url + "/staff", [("phone", "13812345678"), ("nonce", "1")])
    search = Call("POST", staff.url + "/staff", body=b'{"b": 1, "phone": "13812345678"}')
    one.send(staff_call)
    one.send(search)
    counted = [json.loads(one.send(Call("GET", staff.url + "/count")).content)["n"] for _ in range(3)]
    with pytest.raises(NotFoundError):
        one.send(Call("GET", staff.url + "/gone"))
    with one.stream(Call("GET", staff.url + "/csv")) as stream:
        b"".join(stream.chunks)
    one.close()
    calls = len(staff.calls)

    again = recorder(client, staff, tmp_path, "replay")
    staff_again = Call("GET", staff.url + "/staff", [("nonce", "2"), ("phone", "13812345678")])
    first = json.loads(again.send(staff_again).content)["data"]["list"][0]
    assert first == {"id": 12345678901234567890, "name": "欧阳**", "phone": "138****5678", "salary": 12000, "rate": 1.1}
    assert again.send(search).status == 200
    assert [json.loads(again.send(Call("GET", staff.url + "/count")).content)["n"] for _ in range(4)] == [*counted, 2]
    with pytest.raises(NotFoundError, match="status 404"):
        again.send(Call("GET", staff.url + "/gone"))
    with again.stream(Call("GET", staff.url + "/csv")) as stream:
        assert b"".join(stream.chunks) == b"id,phone\n1,138****5678\n"
    assert list(again.stages()) == ["replay"]
    with pytest.raises(NotRecordedError, match=r"GET http://127.0.0.1:\d+/staff\?page=2 is not in the recording"):
        again.send(Call("GET", staff.url + "/staff", [("page", "2")]))
    assert len(staff.calls) == calls


def test_a_recording_holds_no_secret_and_no_personal_data(client: Client, staff: HttpPeer, tmp_path: Path) -> None:
    one = recorder(client, staff, tmp_path)
    one.send(Call("GET", staff.url + "/staff", [("phone", "13812345678"), ("password", "hunter22")]))
    one.send(Call("POST", staff.url + "/staff", body=json.dumps({"phone": "13812345678", "k": SECRET}).encode()))
    one.send(Call("GET", staff.url + "/xml"))
    one.close()
    file = tmp_path / "recordings" / "recording.jsonl"
    text = file.read_text(encoding="utf-8")
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    forms = [
        SECRET,
        quote(SECRET, safe=""),
        b64encode(SECRET.encode()).decode(),
        b64encode(f"u:{SECRET}".encode()).decode(),
    ]
    personal = ["13812345678", "13900000000", "13912345678", "小明", "12345,", "hunter22", "tok", "sid="]
    assert [word for word in [*forms, *personal] if word in text.replace("access_token", "")] == []
    assert "1.10" in text
    assert "12345678901234567890" in text
    assert "name stays: 张三" in text


def test_a_recording_can_lie_with_the_tests(client: Client, staff: HttpPeer, tmp_path: Path) -> None:
    file = tmp_path / "here" / "calls.jsonl"
    for _ in range(2):
        one = client(staff.url, record={"mode": "record", "file": str(file)})
        one.send(Call("GET", staff.url + "/xml"))
    again = client(staff.url, record={"mode": "replay", "file": str(file)})
    assert again.send(Call("GET", staff.url + "/xml")).content.startswith(b"<r>")
    assert [json.loads(line)["response"]["status"] for line in file.read_text().splitlines()] == [200, 200]


def test_a_call_is_answered_from_the_session_that_last_made_it(client: Client, tmp_path: Path) -> None:
    def line(session: str, path: str, text: str) -> str:
        asked = {"method": "GET", "url": f"https://a.example{path}"}
        answer = {"status": 200, "headers": {}, "text": text}
        return json.dumps({"format": "tongqu-http/1", "session": session, "request": asked, "response": answer})

    file = tmp_path / "r.jsonl"
    file.write_text("\n".join([line("a", "/1", "old"), line("a", "/2", "two"), line("b", "/1", "new")]))
    again = client("https://a.example", record={"mode": "replay", "file": str(file)})
    assert [again.send(Call("GET", again.url(path))).content for path in ("1", "1", "2")] == [b"new", b"new", b"two"]


def test_what_cannot_be_masked_is_not_recorded(client: Client, staff: HttpPeer, tmp_path: Path) -> None:
    with pytest.raises(AnswerError, match="cannot be masked in an answer of type application/pdf"):
        recorder(client, staff, tmp_path).send(Call("GET", staff.url + "/pdf"))
    plain = recorder(client, staff, tmp_path, masks={})
    content = plain.send(Call("GET", staff.url + "/pdf")).content
    plain.close()
    again = recorder(client, staff, tmp_path, "replay", masks={})
    assert again.send(Call("GET", staff.url + "/pdf")).content == content


def test_a_replay_without_a_recording_says_so(client: Client, staff: HttpPeer, tmp_path: Path) -> None:
    with pytest.raises(NotRecordedError, match="there is no recording"):
        recorder(client, staff, tmp_path, "replay").send(Call("GET", staff.url + "/staff"))
    file = tmp_path / "recordings" / "recording.jsonl"
    file.parent.mkdir()
    file.write_text('{"half": ')
    with pytest.raises(NotRecordedError, match="cannot be read"):
        recorder(client, staff, tmp_path, "replay").send(Call("GET", staff.url + "/staff"))


def test_a_short_secret_breaks_no_number(client: Client, tmp_path: Path) -> None:
    body = b'{"id": 123456, "pin": 1234, "text": "pin 1234, lot 12345"}'
    with HttpPeer({"/": lambda asked, out: out.answer(200, body, Content_Type="application/json")}) as peer:
        record = {"mode": "record", "file": str(tmp_path / "r.jsonl")}
        client(peer.url, record=record, auth={"bearer": "1234"}).send(Call("GET", peer.url + "/"))
    line = json.loads((tmp_path / "r.jsonl").read_text())
    assert json.loads(line["response"]["text"]) == {"id": 123456, "pin": "***", "text": "pin ***, lot 12345"}


VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.decimals(allow_nan=False, allow_infinity=False)
    | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=5), inner, max_size=4),
    max_leaves=12,
)


def exact(text: str) -> Any:
    return json.loads(text, parse_float=Decimal, parse_int=Decimal)


@given(VALUES)
@settings(max_examples=60, deadline=None)
def test_what_is_neither_secret_nor_personal_stays_as_it_was(value: Any) -> None:
    text = json.dumps({"value": value}, default=float)
    scrubbing = Scrubbing(HttpSettings.parse({"base_url": "https://a.example", "auth": {"bearer": "t0k3n-of-mine"}}))
    assert exact(scrubbing.body(text.encode(), "application/json").decode()) == exact(text)
