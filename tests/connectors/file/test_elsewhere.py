"""Files on servers, through the connector's public door and the command line: read, written, undone, interrupted."""

from __future__ import annotations

import gzip
import importlib
import json
import threading
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from tongqu.connectors.file import connector
from tongqu.core import registry
from tongqu.core.connector import Sink, Source
from tongqu.core.data import Counts, Dataset, Read, Write, WriteMode
from tongqu.core.errors import (
    BusyError,
    ConnectError,
    FencedError,
    InvalidPlanError,
    InvalidSettingsError,
    LostPositionError,
    NotFoundError,
)
from tongqu.testing.command_line import inside, query, tongqu
from tongqu.testing.drops import Drop, drop
from tongqu.testing.pour import pour, table
from tongqu.testing.services import FaultProxy, Sshd

_FIELDS: list[pa.Field[Any]] = [pa.field("id", pa.int64()), pa.field("g", pa.string())]
SCHEMA = pa.schema(_FIELDS)


def rows(*ids: int) -> pa.Table:
    return pa.table({"id": list(ids), "g": [f"g{one % 2}" for one in ids]}, schema=SCHEMA)


@pytest.fixture
def there(sshd: Sshd) -> Drop:
    """An empty folder on an SFTP server."""
    return drop(sshd)


@pytest.fixture
def opened(tmp_path: Path) -> Any:
    """Opens sources and sinks that are closed at the end."""
    made: list[Source | Sink] = []

    def open_(url: str, kind: str = "source") -> Any:
        found = getattr(connector, kind)(connector.from_url(url))
        found.lodge(tmp_path / "home")
        made.append(found)
        return found

    yield open_
    for one in made:
        one.close()


def write(url: str, opened: Callable[..., Any], data: pa.Table, mode: WriteMode, run: str) -> None:
    asked = Write("orders", Dataset("orders", data.schema), mode, "sync", run)
    sink = opened(url, "sink")
    pour(sink, asked, [data])
    sink.close()


# ---- reading


def test_every_format_is_read(there: Drop, opened: Any, tmp_path: Path) -> None:
    import pyarrow.parquet as pq

    xlsxwriter: Any = importlib.import_module("xlsxwriter")

    pq.write_table(rows(1, 2), tmp_path / "p.parquet")
    book = xlsxwriter.Workbook(tmp_path / "b.xlsx")
    sheet = book.add_worksheet("考勤")
    for at, line in enumerate([("2026年1月考勤表", ""), ("工号", "姓名"), ("E1", "王"), ("E2", "李")]):
        sheet.write_row(at, 0, line)
    book.close()
    with zipfile.ZipFile(tmp_path / "z.zip", "w") as archive:
        archive.writestr("deep/inside.csv", "id\n7\n")
    contents = {
        "c.csv.gz": gzip.compress("id,v\n1,检\n".encode()), "g.csv": "编号,名\n1,检验结果\n".encode("gb18030"),
        "j.jsonl": b'{"a": 1}\n', "d.json": b'[{"a": 1}, {"a": 2}]', "x.xml": b"<r><o><a>1</a></o></r>",
        **{name: (tmp_path / name).read_bytes() for name in ("p.parquet", "b.xlsx", "z.zip")},
    }  # fmt: skip
    for name, content in contents.items():
        there.put(name, content, tmp_path)
    source = opened(there.url())
    found = {one.name: one for one in source.datasets()}
    assert set(found) == {"c", "g", "j", "d", "x", "p", "b", "inside"}
    assert table(source, "c").to_pylist() == [{"id": 1, "v": "检"}]
    assert table(source, "g").to_pylist() == [{"编号": 1, "名": "检验结果"}]
    assert table(source, "d").num_rows == 2
    assert table(source, "p").to_pylist() == rows(1, 2).to_pylist()
    assert table(source, "b").to_pylist() == [{"工号": "E1", "姓名": "王"}, {"工号": "E2", "姓名": "李"}]
    assert table(source, "inside").to_pylist() == [{"id": 7}]
    source.close()
    assert not list((tmp_path / "home" / "spool").glob("*"))


def test_globs_and_partitions(there: Drop, opened: Any, tmp_path: Path) -> None:
    for name in ("in/a1.csv", "in/a2.csv", "in/b.csv", "in/.a3.csv", "deep/y=1/m=2/a4.csv"):
        there.put(name, b"id\n1\n", tmp_path)
    assert table(opened(there.url("in/a*.csv")), "in").num_rows == 2
    assert table(opened(there.url("**/a*.csv")), Path(there.base).name).num_rows == 3
    assert sorted(one.name for one in opened(there.url("in")).datasets()) == ["a1", "a2", "b"]
    assert table(opened(there.url("deep")), "deep").to_pylist() == [{"id": 1, "y": 1, "m": 2}]
    with pytest.raises(NotFoundError):
        opened(there.url("in/z*.csv")).datasets()


def test_encrypted_files_are_read(there: Drop, opened: Any, tmp_path: Path) -> None:
    import pysequoia

    key: Any = pysequoia.Tsk.generate("Test <test@example.org>")
    (tmp_path / "key.asc").write_text(str(key))
    (tmp_path / "plain").write_bytes(gzip.compress(b"id\n1\n2\n"))
    pysequoia.encrypt_file(str(tmp_path / "plain"), str(tmp_path / "sealed"), recipients=[key.extract_certificate()])
    there.put("pay.csv.gz.pgp", (tmp_path / "sealed").read_bytes(), tmp_path)
    source = opened(there.url("pay.csv.gz.pgp", pgp_key_file=str(tmp_path / "key.asc")))
    assert table(source, "pay").to_pylist() == [{"id": 1}, {"id": 2}]


def test_a_read_goes_on_over_lost_connections(there: Drop, sshd: Sshd, opened: Any, tmp_path: Path) -> None:
    lines = b"".join(b"%d,%d,some text that makes lines longer\n" % (n, n * 7919) for n in range(400_000))
    there.put("big.csv", b"id,a,b\n" + lines, tmp_path)
    with FaultProxy("127.0.0.1", sshd.port) as proxy:
        source = opened(proxy.url(there.url("big.csv")))
        (dataset,) = source.datasets()
        seen, lost = [], 0
        for batch in source.read(Read(dataset, source.splits(dataset, 1)[0], batch_rows=20_000)):
            seen += batch.rows.column("id").to_pylist()
            if len(seen) > 100_000 * (lost + 1) and lost < 3:
                proxy.reset()
                lost += 1
        assert lost == 3
        assert seen == list(range(400_000))
        proxy.cut()
        with pytest.raises(ConnectError):
            source.datasets()


def test_a_stopped_read_goes_on_at_its_position(there: Drop, opened: Any, tmp_path: Path) -> None:
    there.put("a.csv", b"id\n" + b"".join(b"%d\n" % n for n in range(1000)), tmp_path)
    source = opened(there.url("a.csv"))
    (dataset,) = source.datasets()
    (split,) = source.splits(dataset, 1)
    first = next(iter(source.read(Read(dataset, split, batch_rows=300))))
    rest = list(source.read(Read(dataset, split, after=first.position)))
    assert [n for batch in (first, *rest) for n in batch.rows.column("id").to_pylist()] == list(range(1000))
    there.put("a.csv", b"id\n1\n", tmp_path)
    with pytest.raises(LostPositionError):
        list(source.read(Read(dataset, split, after=first.position)))


def test_only_new_files_and_moving_them(there: Drop, tmp_path: Path) -> None:
    for name in ("1.csv", "2.csv", "2.csv.done", "1.csv.done"):
        there.put(f"in/{name}", b"id\n" + name[:1].encode() + b"\n", tmp_path)
    url = there.url("in/*.csv", after="move", archive="../done", marker="{name}.done")
    sync = ("sync", url, "sqlite:t.db", "--mode", "incremental", "--json")
    assert inside(tmp_path, *sync).document["streams"][0]["written"] == 2
    assert there.shown is not None
    assert list((there.shown / "in").iterdir()) == []
    assert sorted(p.name for p in (there.shown / "done").iterdir()) == ["1.csv", "2.csv"]
    there.put("in/3.csv", b"id\n3\n", tmp_path)
    assert inside(tmp_path, *sync).document["streams"][0]["written"] == 0, "its marker is not there yet"
    there.put("in/3.csv.done", b"", tmp_path)
    assert inside(tmp_path, *sync).document["streams"][0]["written"] == 1
    assert query(tmp_path / "t.db", 'SELECT count(*), sum(id) FROM "in"') == [(3, 6)]


# ---- writing


@pytest.mark.parametrize("kind", ["sshd", "s3"])
def test_replace_append_and_undo(kind: str, opened: Any, request: pytest.FixtureRequest) -> None:
    there = drop(request.getfixturevalue(kind))
    url = there.url("out/orders.csv.gz")
    write(url, opened, rows(1, 2), WriteMode.REPLACE, "r1")
    write(url, opened, rows(3), WriteMode.APPEND, "r2")
    assert table(opened(url), "orders").column("id").to_pylist() == [1, 2, 3]
    write(url, opened, rows(9), WriteMode.REPLACE, "r3")
    for expected in ([1, 2, 3], [9]):  # a second undo undoes the first
        assert opened(url, "sink").undo("orders") == len(expected)
        assert table(opened(url), "orders").column("id").to_pylist() == expected
    place, folder = there.place()
    assert sorted(e.name for e in place.walk(folder)) == [".orders.csv.gz.previous", "orders.csv.gz"]
    place.close()


@pytest.mark.parametrize("kind", ["samba", "s3"])
def test_folders_of_partitions(kind: str, opened: Any, request: pytest.FixtureRequest) -> None:
    there = drop(request.getfixturevalue(kind))
    url = there.url("lake/", partition="g")
    write(url, opened, rows(1, 2, 3), WriteMode.REPLACE, "r1")
    write(url, opened, rows(4), WriteMode.APPEND, "r2")
    read = there.url("lake/orders")
    assert set(table(opened(read), "orders").column("id").to_pylist()) == {1, 2, 3, 4}
    write(url, opened, rows(5), WriteMode.REPLACE, "r3")
    assert table(opened(read), "orders").to_pylist() == [{"id": 5, "g": "g1"}]
    place, folder = there.place()
    manifest = json.loads(b"".join(place.read(f"{folder}/lake/orders/_tongqu_manifest.json")))
    assert manifest == {"run": "r3", "files": ["g=g1/part-r3-00000.parquet"]}
    place.close()


def test_a_complete_target_is_marked(there: Drop, opened: Any, tmp_path: Path) -> None:
    write(there.url("out/orders.csv", marker="{name}.done"), opened, rows(1), WriteMode.REPLACE, "r1")
    write(there.url("lake/", partition="g", marker="_SUCCESS"), opened, rows(1), WriteMode.REPLACE, "r2")
    write(f"file:{tmp_path}/here.csv?marker={{stem}}.ok", opened, rows(1), WriteMode.REPLACE, "r3")
    assert there.shown is not None
    assert (there.shown / "out" / "orders.csv.done").read_bytes() == b""
    assert (there.shown / "lake" / "orders" / "_SUCCESS").exists()
    assert (tmp_path / "here.ok").exists()


def test_an_append_does_not_lose_what_somebody_else_added(there: Drop, opened: Any, tmp_path: Path) -> None:
    url = there.url("orders.csv")
    write(url, opened, rows(1), WriteMode.REPLACE, "r1")
    sink = opened(url, "sink")
    asked = Write("orders", Dataset("orders", SCHEMA), WriteMode.APPEND, "sync", "r2")
    sink.start("sync", "r2", False)
    sink.open(asked)
    there.put("orders.csv", b"id,g\n1,g1\n7,theirs\n", tmp_path)
    sink.begin(asked, [])
    with pytest.raises(BusyError, match="changed by somebody else"):
        sink.finish(asked, Counts(), None)
    assert table(opened(url), "orders").column("id").to_pylist() == [1, 7]


def test_who_was_overtaken_by_another_home_changes_nothing(there: Drop, opened: Any, tmp_path: Path) -> None:
    url = there.url("orders.csv")
    asked = Write("orders", Dataset("orders", SCHEMA), WriteMode.REPLACE, "sync", "r1")
    first = opened(url, "sink")
    first.start("sync", "r1", False)
    first.open(asked)
    first.begin(asked, [])
    second = opened(url, "sink")
    second.lodge(tmp_path / "another home")
    pour(second, asked, [rows(2)])
    with pytest.raises(FencedError):
        first.finish(asked, Counts(), None)
    assert table(opened(url), "orders").column("id").to_pylist() == [2]


@pytest.mark.crash
def test_who_is_overtaken_while_it_sends_changes_nothing(
    there: Drop, opened: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = Write("orders", Dataset("orders", SCHEMA), WriteMode.REPLACE, "sync", "r1")
    first, second = opened(there.url("orders.csv"), "sink"), opened(there.url("orders.csv"), "sink")
    second.lodge(tmp_path / "another home")
    first.start("sync", "r1", False)
    first.open(asked)
    first.begin(asked, [])
    real = type(first._place).verified

    def meanwhile(place: Any, path: str, size: int) -> Any:
        if place is first._place and path.endswith(".tongqu-tmp") and "json" not in path:
            monkeypatch.undo()
            second.start("sync", "r1", False)
            second.open(asked)
        return real(place, path, size)

    monkeypatch.setattr(type(first._place), "verified", meanwhile)
    with pytest.raises(FencedError):
        first.finish(asked, Counts(), None)
    assert there.shown is not None
    assert [one.name for one in there.shown.iterdir()] == [".orders.csv.tongqu.json"]
    second.begin(asked, [])
    second.finish(asked, Counts(), None)
    assert [one.name for one in there.shown.iterdir()] == ["orders.csv"]


@pytest.mark.parametrize("point", ["after_commit", "in_finish", "in_finish:2", "after_swap"])
@pytest.mark.parametrize("mode", ["replace", "append"])
def test_killed_anywhere_the_next_run_completes_it(there: Drop, tmp_path: Path, point: str, mode: str) -> None:
    there.put("out.csv", b"id,v\n0,old\n", tmp_path)
    (tmp_path / "new.csv").write_text("id,v\n" + "".join(f"{n},x\n" for n in range(1, 51)))
    sync = ("sync", "file:new.csv", there.url("out.csv"), "--write", mode, "--chunk-rows", "20", "--json")
    assert tongqu(tmp_path, *sync, TONGQU_CRASH_AT=point).code == -9
    assert inside(tmp_path, *sync).code == 0
    assert there.shown is not None
    lines = (there.shown / "out.csv").read_text().splitlines()[1:]
    assert [int(line.split(",")[0]) for line in lines] == ([] if mode == "replace" else [0]) + list(range(1, 51))
    left = sorted(p.name for p in there.shown.iterdir())
    assert left == ([".out.csv.previous"] if mode == "replace" else []) + ["out.csv"]


def test_the_network_may_break_while_it_is_written(there: Drop, sshd: Sshd, tmp_path: Path) -> None:
    (tmp_path / "new.csv").write_text("id,v\n" + "".join(f"{n},{'x' * 100}\n" for n in range(30_000)))
    with FaultProxy("127.0.0.1", sshd.port) as proxy:
        proxy.bandwidth(2_000_000)

        def hurt() -> None:
            proxy.reset()
            proxy.heal()

        cut = threading.Timer(1.0, hurt)
        cut.start()
        done = inside(tmp_path, "sync", "file:new.csv", proxy.url(there.url("out.csv")), "--json")
        cut.join()
    assert done.code == 0, done.err
    assert there.shown is not None
    assert len((there.shown / "out.csv").read_text().splitlines()) == 30_001


def test_what_cannot_be_written_is_said(there: Drop, webdav: Any, opened: Any) -> None:
    http = drop(webdav).base.replace("webdav://", "http://")
    with pytest.raises(InvalidPlanError, match="only read"):
        opened(f"{http}/x.csv", "sink")
    with pytest.raises(InvalidPlanError, match="project's home"):
        assert connector.sink is not None
        pour(connector.sink(connector.from_url(there.url("x.csv"))), Write("x", Dataset("x", SCHEMA), WriteMode.REPLACE,
             "s", "r"), [rows(1)])  # fmt: skip
    with pytest.raises(InvalidPlanError, match="only read"):
        write(there.url("x.csv.gpg"), opened, rows(1), WriteMode.REPLACE, "r1")


# ---- addresses


@pytest.mark.parametrize(
    ("url", "mine"),
    [
        ("https://host/data/orders.csv.gz?token=x", True), ("http://host/a.xlsx", True),
        ("https://host/a.parquet", True),
        ("https://host/api/orders", False), ("https://host/", False), ("https://host/x.csv/items", False),
        ("sftp://host/anything", True),
    ],
)  # fmt: skip
def test_addresses_of_files_are_told_from_those_of_apis(url: str, mine: bool) -> None:
    assert connector.claims is not None
    assert connector.claims(url) is mine
    if mine:
        assert registry.by_url(url) is connector


def test_passwords_and_keys_stay_out_of_identity_and_display() -> None:
    for url in (
        "sftp://me:geheim@host:2222/in/*.csv", "https://me:geheim@host/x.csv?key=geheim#delimiter=;",
        "s3://AKIA:geheim@bucket/in/?region=eu-west-1",
    ):  # fmt: skip
        made: Any = connector.from_url(url)
        assert "geheim" not in f"{made!r} {made.identity()} {made.display()}"
    found: Any = connector.from_url("sftp://me:geheim@host:2222/in/*.csv")
    assert found.identity() == "sftp://host:2222/in/*.csv"


@pytest.mark.parametrize(
    "url", ["sftp:///x.csv", "sftp://host/../x.csv", "smb://host/", "sftp://host/x.csv?colour=red"]
)
def test_wrong_addresses_are_explained(url: str, opened: Any) -> None:
    with pytest.raises(InvalidSettingsError):
        opened(url)


def test_check_says_stage_by_stage(there: Drop, tmp_path: Path) -> None:
    there.put("in/a.csv", b"id\n1\n", tmp_path)
    query = there.query
    project = f"connections:\n  drop: {{type: file, url: '{there.base}/in/', key_file: {query['key_file']}, "
    (tmp_path / "tongqu.yaml").write_text(project + f"host_key: '{query['host_key']}'}}\n")
    done = inside(tmp_path, "check", "drop", "--json")
    assert done.code == 0, done.out
    (tmp_path / "tongqu.yaml").write_text(project + f"host_key: 'SHA256:{'A' * 43}'}}\n")
    (problem,) = inside(tmp_path, "check", "drop", "--json").document["problems"]
    assert problem["code"] == "connector.certificate"
    assert problem["hint"]


def test_a_file_over_http_and_its_settings_after_the_hash(webdav: Any, tmp_path: Path) -> None:
    there = drop(webdav)
    there.put("list 1.csv", b"id;v\n1;a\n2;b\n", tmp_path)
    url = there.base.replace("webdav://", "http://") + "/list%201.csv#delimiter=;"
    done = inside(tmp_path, "sync", url, "sqlite:t.db", "--table", "list 1=list", "--json")
    assert done.code == 0, done.out
    assert query(tmp_path / "t.db", "SELECT * FROM list") == [(1, "a"), (2, "b")]
    assert url.partition("@")[0].rpartition(":")[2] not in done.out + done.err, "the password is shown"


def test_check_passes_while_nothing_waits(there: Drop, opened: Any, tmp_path: Path) -> None:
    there.put("in/1.csv", b"id\n1\n", tmp_path)
    source = opened(there.url("in/*.csv", after="delete"))
    (dataset,) = source.datasets()
    source.finished(dataset, source.horizon(dataset, "", None))
    assert list(source.check())[-1] == "path"
    assert [one.name for one in source.datasets()] == ["in"]
