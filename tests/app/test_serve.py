"""`tongqu serve`: what counts is served, changes are swapped in whole, what is wrong does not take the rest down."""

from __future__ import annotations

import json
import os
import signal
import sqlite3
import stat
from pathlib import Path
from threading import Event, Thread
from time import monotonic

import pytest

from tongqu.app.services.serve_place import Owner, running
from tongqu.store.home import Home
from tongqu.testing.command_line import inside
from tongqu.testing.services.gateway import Answered, Gateway

PROJECT = """
project: plant
connections:
  lake: {type: sqlite, path: lake.db}
datasets:
  orders:
    key: id
    fields: {id: {type: int64, class: public}, who: {class: personal, mask: name}, qty: {class: internal}}
apis:
  orders: {source: {connection: lake, dataset: orders}, access: {public: true}}
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    write(tmp_path, PROJECT)
    lake(tmp_path)
    return tmp_path


def lake(folder: Path, name: str = "lake.db") -> None:
    database = sqlite3.connect(folder / name)
    database.execute("CREATE TABLE orders (id INTEGER PRIMARY KEY, who TEXT, qty INT)")
    database.execute("INSERT INTO orders VALUES (1, '张三', 5), (2, '李四', 7)")
    database.commit()
    database.close()


def write(folder: Path, text: str) -> None:
    (folder / "tongqu.yaml").write_text(text, encoding="utf-8")


def config(answer: Answered) -> str:
    return answer.headers["tongqu-config"]


def owned(gateway: Gateway) -> tuple[str, str]:
    return "tongqu-owner", json.loads((gateway.home / "serve.json").read_text())["token"]


def test_a_table_is_an_api_with_six_lines(folder: Path) -> None:
    with Gateway(folder) as gateway:
        answer = gateway.ask("/api/v1/orders?qty=gt.5")
        assert (answer.status, answer.json) == (200, [{"id": 2, "qty": 7}])
        assert config(answer).startswith("files.")
        assert gateway.ask("/api/v1/nothing").status == 401
        assert gateway.ask("/nothing").json["code"] == "path.unknown"
        assert gateway.ask("/healthz").json == {"ok": True}
        assert gateway.ask("/readyz").json == {"ready": True, "apis": 1, "degraded": 0, "stale": False}
        assert gateway.ask("/.well-known/jwks.json").status == 200
        assert b"tongqu_calls_total" in gateway.ask("/metrics").body
        listed = inside(folder, "api", "list", "--files", "--json").document
        assert [(one["path"], one["state"]) for one in listed["apis"]] == [("/api/v1/orders", "published")]
        assert gateway.stop() == 0
    assert "Traceback" not in gateway.errors
    assert inside(folder, "api", "list", "--files", "--json").document["apis"][0]["state"] == "unserved"


def test_a_signal_that_comes_twice_is_one(folder: Path) -> None:
    with Gateway(folder) as gateway:
        for _ in range(2):
            os.kill(gateway.pid, signal.SIGTERM)
        assert gateway.stop() == 0
        assert "all requests were finished" in gateway.errors


def test_serve_json_is_for_this_account_and_goes_with_the_server(folder: Path) -> None:
    with Gateway(folder) as gateway:
        place = gateway.home / "serve.json"
        assert stat.S_IMODE(place.stat().st_mode) == 0o600
        told = json.loads(place.read_text())
        assert (told["url"], told["pid"]) == (gateway.url, gateway.pid)
        assert "published" in gateway.ask("/readyz", headers=[owned(gateway)]).json
        assert "published" not in gateway.ask("/readyz", headers=[("tongqu-owner", "guessed")]).json
    assert not place.exists()


def test_a_number_that_another_process_was_given_is_not_the_owner(tmp_path: Path) -> None:
    home = Home(tmp_path)
    told = {"url": "http://127.0.0.1:1", "pid": os.getpid(), "token": "old", "started": 1}  # its process was killed
    home.serve.write_text(json.dumps(told))
    assert running(home.serve) is None
    first, second = (Owner(home, f"http://127.0.0.1:{port}", tmp_path, "") for port in (2, 3))
    first.announce()
    second.announce()
    assert (running(home.serve) or {})["url"] == "http://127.0.0.1:2"
    second.leave()
    assert (running(home.serve) or {})["token"] == first.token
    home.serve.write_text(json.dumps(json.loads(home.serve.read_text()) | {"token": second.token}))
    first.leave()  # of two that began at the same moment the last one has written it
    assert home.serve.exists()


def test_who_is_left_owns_the_project(folder: Path) -> None:
    first = Gateway(folder)
    with first, Gateway(folder) as second:
        place, pause, end = first.home / "serve.json", Event(), monotonic() + 60
        assert json.loads(place.read_text())["url"] == first.url
        first.stop(signal.SIGKILL)
        while json.loads(place.read_text())["url"] != second.url:
            assert monotonic() < end
            pause.wait(0.1)
    assert not place.exists()


def test_only_the_applied_version_is_served(folder: Path) -> None:
    refused = inside(folder, "serve", "--port", "0", "--json")
    assert refused.code == 1
    assert "tongqu apply" in refused.document["problems"][0]["hint"]
    assert inside(folder, "apply", "--json").code == 0
    with Gateway(folder, files=False) as gateway:
        first = gateway.ask("/api/v1/orders")
        assert config(first).startswith("1.")
        write(folder, PROJECT.replace("orders: {source", "orders_now: {source"))
        assert gateway.ask("/api/v1/orders").status == 200
        assert inside(folder, "apply", "--accept-breaking", "--json").code == 0
        swapped = gateway.until(lambda answer: config(answer).startswith("2."), "/api/v1/orders_now")
        assert swapped.status == 200
        assert gateway.ask("/api/v1/orders").status == 401
        assert inside(folder, "versions", "undo", "--json").code == 0
        gateway.until(lambda answer: config(answer).startswith("3."), "/api/v1/orders")
        assert gateway.ask("/api/v1/orders").json == first.json


WRONG = {
    "apis.orders.source.key[0]": PROJECT.replace("dataset: orders}", "dataset: orders, key: nothing}"),
    "apis.orders.access.rows": PROJECT.replace("public: true", "public: true, rows: 'nothing = 1'"),
    "apis.orders.source.connection": PROJECT.replace("connection: lake, dataset", "connection: leak, dataset"),
    "tongqu.yaml": PROJECT + "  - broken",
}


def test_a_version_that_is_wrong_leaves_the_old_one_serving(folder: Path) -> None:
    with Gateway(folder) as gateway:
        before = gateway.ask("/api/v1/orders")
        owner = owned(gateway)
        for path, text in WRONG.items():
            write(folder, text)
            gateway.until(lambda _, path=path: path in str(gateway.ask("/readyz", headers=[owner]).json["problems"]))
            assert (gateway.ask("/readyz").status, gateway.ask("/readyz").json["stale"]) == (200, True)
            after = gateway.ask("/api/v1/orders")
            assert (config(after), after.json) == (config(before), before.json)
        write(folder, PROJECT.replace("project: plant", "project: works"))
        gateway.until(lambda answer: not answer.json["stale"])
        assert config(gateway.ask("/api/v1/orders")) != config(before)


def test_a_broken_api_does_not_take_the_others_down(folder: Path) -> None:
    more = """
  wrong: {source: {connection: lake, dataset: orders}, fields: [id, nothing], access: {public: true}}
  gone: {source: {connection: away, dataset: orders}, access: {public: true}}
"""
    text = PROJECT.replace("connections:", "connections:\n  away: {type: sqlite, path: away.db}") + more
    write(folder, text)
    with Gateway(folder) as gateway:
        assert gateway.ask("/api/v1/orders").status == 200
        assert gateway.ask("/readyz").json["degraded"] == 2
        missing = gateway.ask("/api/v1/gone")
        assert (missing.status, missing.json["code"]) == (503, "source.unavailable")
        states = {one["name"]: one for one in gateway.ask("/readyz", headers=[owned(gateway)]).json["published"]}
        assert {name: one["state"] for name, one in states.items()} == {
            "orders": "published", "wrong": "broken", "gone": "unreachable",
        }  # fmt: skip
        assert "apis.wrong.fields[1]" in states["wrong"]["problems"][0]["path"]
        lake(folder, "away.db")
        gateway.until(lambda answer: answer.json["degraded"] == 1, seconds=20)
        assert gateway.ask("/api/v1/gone").status == 200


def test_no_request_sees_two_configurations(folder: Path) -> None:
    """While the published fields change to and fro, every answer is wholly of the version it names."""
    fields = {"one": "fields: [id], ", "two": "fields: [id, qty], "}
    limits = "gateway: {limits: {address: null}}\n"
    texts = {
        word: PROJECT.replace("orders: {source", f"orders: {{{told}limit: {{requests: 1000000}}, source") + limits
        for word, told in fields.items()
    }
    write(folder, texts["one"])
    with Gateway(folder) as gateway:
        seen: dict[str, set[str]] = {}
        wrong: list[int] = []
        done = Event()

        def call() -> None:
            while not done.is_set():
                answer = gateway.ask("/api/v1/orders")
                if answer.status == 200:
                    seen.setdefault(config(answer), set()).add(json.dumps(sorted(answer.json[0])))
                else:
                    wrong.append(answer.status)

        callers = [Thread(target=call) for _ in range(3)]
        for caller in callers:
            caller.start()
        for word in ("two", "one", "two", "one"):
            before = config(gateway.ask("/healthz"))
            write(folder, texts[word])
            gateway.until(lambda answer, before=before: config(answer) != before)
        done.set()
        for caller in callers:
            caller.join()
    assert wrong == []
    assert sorted(map(sorted, seen.values())) == [['["id", "qty"]'], ['["id"]']]


def test_a_worker_that_dies_is_started_again(folder: Path) -> None:
    with Gateway(folder, "--workers", "2") as gateway:
        assert gateway.told["workers"] == 2
        assert gateway.ask("/api/v1/orders").status == 200
        [first, *_] = children(gateway.pid)
        os.kill(first, signal.SIGKILL)
        for _ in range(20):
            assert gateway.ask("/api/v1/orders").status == 200
        gateway.until(lambda _: len(children(gateway.pid)) == 2 and first not in children(gateway.pid), seconds=20)
        assert gateway.ask("/api/v1/orders").status == 200
        workers = children(gateway.pid)
        assert gateway.stop() == 0
    assert not [pid for pid in workers if Path(f"/proc/{pid}").exists()]
    assert str(first) in gateway.errors


def children(pid: int) -> list[int]:
    return [int(word) for word in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


@pytest.mark.parametrize(
    ("arguments", "more", "path"),
    [
        (["--host", "0.0.0.0"], "", "--host"),  # noqa: S104  # refused
        (["--tls-cert", "nothing.pem"], "", "--tls-cert"),
        ([], "\ngateway: {admin: {allow: [10.0.0.0/8]}}\n", "gateway.admin.allow"),
        ([], "\ngateway: {cors: {origins: ['*'], credentials: true}}\n", "gateway.cors"),
    ],
)
def test_it_does_not_start_in_a_way_that_gives_credentials_away(
    folder: Path, arguments: list[str], more: str, path: str
) -> None:
    write(folder, PROJECT + more)
    refused = inside(folder, "serve", "--files", "--port", "0", "--json", *arguments)
    assert refused.code == 2
    assert path in refused.document["problems"][0]["path"]


def test_a_port_that_is_taken_is_told(folder: Path) -> None:
    with Gateway(folder) as gateway:
        port = gateway.url.rpartition(":")[2]
        refused = inside(folder, "serve", "--files", "--port", port, "--json")
        assert (refused.code, refused.document["problems"][0]["code"]) == (1, "connector.connect")


def test_api_show_tells_the_fields_with_their_meaning(folder: Path) -> None:
    shown = inside(folder, "api", "show", "orders", "--files", "--json")
    assert shown.code == 0, shown.err
    told = {field["field"]: (field["class"], field["mask"], field["key"]) for field in shown.document["fields"]}
    assert told == {"id": ("public", "", True), "who": ("personal", "name", False), "qty": ("internal", "", False)}
    assert inside(folder, "api", "show", "ordres", "--files").code == 2
