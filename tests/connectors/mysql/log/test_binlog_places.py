"""Where a log is read from: it goes on exactly there, or says that it cannot; never elsewhere."""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tongqu.connectors.mysql.db import MysqlDb
from tongqu.connectors.mysql.log.places import Place, added, covers, executed_blocks, joined
from tongqu.connectors.mysql.settings import from_url
from tongqu.connectors.mysql.source import MysqlSource
from tongqu.core.data import Batch
from tongqu.core.errors import ConnectError, InvalidPlanError, LostPositionError, TongquError
from tongqu.core.log import Follow
from tongqu.testing.services import MariaDB

_XID = 31
"""Bytes of the event that ends a transaction: header, number, checksum."""
Sql = Callable[..., list[tuple[Any, ...]]]
Following = Callable[..., Any]


@pytest.fixture
def own(mariadb_of_our_own: MariaDB, tmp_path: Path) -> Iterator[tuple[MariaDB, MysqlSource]]:
    """A server of our own with an empty table `t`."""
    mariadb_of_our_own.mend()
    url = mariadb_of_our_own.database()
    _run(url, "CREATE TABLE t (id int PRIMARY KEY)")
    source = MysqlSource(from_url(url))
    source.lodge(tmp_path)
    yield mariadb_of_our_own, source
    source.close()
    mariadb_of_our_own.mend()


def _run(url: str, *statements: str) -> None:
    db = MysqlDb(from_url(url))
    db.run("SET autocommit = 1")
    for statement in statements:
        db.run(statement)
    db.close()


def _ids(batches: list[Batch]) -> list[Any]:
    return [value for batch in batches if batch.kind == "rows" for value in batch.rows["id"].to_pylist()]


def _to_end(log: Any, after: dict[str, Any]) -> list[Batch]:
    return list(log.read(Follow(after=after, until=log.head())))


def _url(source: MysqlSource) -> str:
    settings = source._settings
    password = settings.password.get_secret_value() if settings.password else ""
    return f"mysql://{settings.user}:{password}@{settings.host}:{settings.port}/{settings.database}"


def test_reading_again_after_any_position_gives_exactly_what_is_behind_it(sql: Sql, following: Following) -> None:
    sql("CREATE TABLE t (id int PRIMARY KEY)")
    log = following("t")
    for number in range(6):
        sql(f"INSERT INTO t VALUES ({number})")
    whole = _to_end(log.log, log.position)
    assert _ids(whole) == list(range(6))
    cuts = [
        batch.position for batch in log.log.read(Follow(log.position, log.log.head(), batch_rows=2)) if batch.position
    ]
    for cut in cuts:
        left = _ids(_to_end(log.log, cut))
        assert left == list(range(6 - len(left), 6))
    assert cuts[-1] == whole[-1].position
    assert _ids(_to_end(log.log, cuts[-1])) == []


def test_a_log_that_was_begun_stays_where_it_was_begun_until_it_is_forgotten(
    sql: Sql, following: Following, mysql_url: str, lodge: Path
) -> None:
    """A first load that was interrupted must find the changes since its own beginning."""
    sql("CREATE TABLE t (id int PRIMARY KEY)")
    first = following("t")
    sql("INSERT INTO t VALUES (1)")
    source = MysqlSource(from_url(mysql_url))
    source.lodge(lodge)
    log = source.log("test", source.datasets(["t"]))
    assert log.begin() == first.position
    assert log.snapshot() is None
    end = _to_end(log, first.position)[-1].position
    assert end is not None
    log.acknowledge(end)
    assert log.begin() == end
    log.forget()
    log.forget()
    assert not list(lodge.iterdir())
    sql("INSERT INTO t VALUES (2)")
    assert log.begin() != end
    assert source.log("other", source.datasets(["t"])).begin()["pos"] == log.begin()["pos"]
    source.close()


def test_the_position_moves_with_tables_that_are_not_followed_and_while_idle(sql: Sql, following: Following) -> None:
    sql("CREATE TABLE t (id int PRIMARY KEY)", "CREATE TABLE other (id int)")
    log = following("t")
    stop = threading.Event()
    seen: list[Batch] = []
    batches = log.log.read(Follow(after=log.position, stop=stop))
    sql("INSERT INTO other VALUES (1)", "FLUSH BINARY LOGS")
    head = log.log.head()
    for batch in batches:
        seen.append(batch)
        assert batch.kind == "heartbeat"
        assert batch.position is not None
        # the server may write a note of its own behind the end that it told
        if log.log.reached(batch.position, head) and log.log.lag(batch.position).bytes == 0:
            break
    else:
        raise AssertionError("the log ended")
    stop.set()
    assert all(batch.rows.num_rows == 0 for batch in batches)


def test_a_purged_log_is_never_skipped(own: tuple[MariaDB, MysqlSource]) -> None:
    _, source = own
    url = _url(source)
    log = source.log("test", source.datasets(["t"]))
    begun = log.begin()
    _run(url, "INSERT INTO t VALUES (1)", "FLUSH BINARY LOGS", "FLUSH BINARY LOGS")
    names = _files(url)
    _run(url, f"PURGE BINARY LOGS TO '{names[-1]}'")
    deadline = time.monotonic() + 60
    while begun["file"] in _files(url):  # the server keeps a file while it has not noticed that its reader is gone
        assert time.monotonic() < deadline
        for reader in _readers(url):
            with contextlib.suppress(TongquError):  # gone meanwhile
                _run(url, f"KILL {reader}")
        _run(url, "INSERT INTO t VALUES (2) ON DUPLICATE KEY UPDATE id = id", "FLUSH BINARY LOGS")
        _run(url, f"PURGE BINARY LOGS TO '{names[-1]}'")
    with pytest.raises(LostPositionError, match=f"no longer has {begun['file']}") as caught:
        _to_end(log, begun)
    assert "--restart" in caught.value.hint
    assert log.lag(begun).until_loss == 0.0
    assert [finding.state for finding in log.examine() if finding.what == "position"] == ["error"]


def _readers(url: str) -> list[int]:
    db = MysqlDb(from_url(url))
    found = db.rows("SELECT id FROM information_schema.processlist WHERE command LIKE 'Binlog Dump%'")
    db.close()
    return [int(row[0]) for row in found]


@pytest.mark.parametrize("missing", ["half an event", "its end"])
def test_a_transaction_in_which_the_server_died_is_passed_over(own: tuple[MariaDB, MysqlSource], missing: str) -> None:
    """The server has rolled it back, but what it had written of it is at the end of the file for ever."""
    server, source = own
    url = _url(source)
    log = source.log("test", source.datasets(["t"]))
    begun = log.begin()
    _run(url, "INSERT INTO t VALUES (1)")
    db = MysqlDb(from_url(url))
    path = Path(str(db.rows("SELECT @@log_bin_basename")[0][0])).parent / str(db.rows("SHOW MASTER STATUS")[0][0])
    db.close()
    start = path.stat().st_size
    _run(url, "INSERT INTO t VALUES (2), (3)")
    server.kill9()
    written = path.read_bytes()
    cut = {"half an event": len(written) - 10, "its end": len(written) - _XID}[missing]
    with path.open("ab") as file:  # a transaction like the last one, but for its end
        file.write(written[start:cut])
    server.restart()
    _run(url, "INSERT INTO t VALUES (4)")
    seen: list[Batch] = []
    with pytest.raises(ConnectError, match="ends within a transaction"):
        for batch in log.read(Follow(after=begun, until=log.head())):
            seen.append(batch)
    durable = [batch.position for batch in seen if batch.position is not None] or [begun]
    assert _ids([batch for batch in seen if batch.position is not None]) in ([], [1], [1, 2, 3])
    again = _to_end(log, durable[-1])
    before = _ids([batch for batch in seen if batch.position is not None])
    assert before + _ids(again) == [1, 2, 3, 4]
    assert _ids(_to_end(log, again[-1].position or {})) == []


def _files(url: str) -> list[str]:
    db = MysqlDb(from_url(url))
    names = [str(row[0]) for row in db.rows("SHOW BINARY LOGS")]
    db.close()
    return names


def test_a_log_that_was_begun_anew_is_another_log(own: tuple[MariaDB, MysqlSource]) -> None:
    _, source = own
    url = _url(source)
    _run(url, "RESET MASTER")
    log = source.log("test", source.datasets(["t"]))
    begun = log.begin()
    _run(url, *(f"INSERT INTO t VALUES ({n})" for n in range(5)))
    with pytest.raises(LostPositionError, match=r"it is another log|was begun anew"):
        _to_end(log, begun | {"pos": 10_000_000})
    with pytest.raises(LostPositionError, match="was begun anew"):
        _to_end(log, begun | {"born": begun["born"] - 1})


def test_another_server_is_followed_only_if_it_has_all_that_was_read(sql: Sql, following: Following) -> None:
    sql("CREATE TABLE t (id int PRIMARY KEY)")
    log = following("t")
    sql("INSERT INTO t VALUES (1)", "INSERT INTO t VALUES (2)")
    elsewhere = log.position | {"server": "999", "file": "relay.000007", "pos": 4711}
    found = _to_end(log.log, elsewhere)
    assert _ids(found) == [1, 2]
    last = found[-1].position
    assert last is not None
    assert last["server"] == log.position["server"]
    assert _ids(_to_end(log.log, last)) == []
    with pytest.raises(LostPositionError, match="another server"):
        _to_end(log.log, elsewhere | {"gtid": "0-1-999999999"})


def test_a_lost_connection_is_told_and_the_next_read_goes_on(own: tuple[MariaDB, MysqlSource]) -> None:
    server, source = own
    url = _url(source)
    log = source.log("test", source.datasets(["t"]))
    place = log.begin()
    reading = log.read(Follow(after=place))
    _run(url, "INSERT INTO t VALUES (1)")
    seen = [next(batch for batch in reading if batch.rows.num_rows)]
    server.kill9()
    with pytest.raises(ConnectError):
        list(reading)
    server.restart()
    _run(url, "INSERT INTO t VALUES (2)")
    assert seen[-1].position is not None
    assert _ids(seen) + _ids(_to_end(log, seen[-1].position)) == [1, 2]


def test_what_following_needs_is_named_with_its_fix(own: tuple[MariaDB, MysqlSource]) -> None:
    _, source = own
    url = _url(source)
    database = url.rpartition("/")[2]
    _run(url, "SET GLOBAL binlog_format = 'MIXED', GLOBAL binlog_row_metadata = 'MINIMAL'",
         "SET GLOBAL binlog_expire_logs_seconds = 3600", "CREATE OR REPLACE USER poor@'127.0.0.1' IDENTIFIED BY 'p'",
         f"GRANT SELECT ON `{database}`.* TO poor@'127.0.0.1'", "CREATE TABLE keyless (v int)")  # fmt: skip
    settings = from_url(url)
    poor = MysqlSource(from_url(f"mysql://poor:p@{settings.host}:{settings.port}/{database}"))
    log = poor.log("test", poor.datasets(["t", "keyless"]))
    told = {finding.what: (finding.state, finding.fix) for finding in log.examine()}
    poor.close()
    _run(url, "SET GLOBAL binlog_format = 'ROW', GLOBAL binlog_row_metadata = 'FULL'",
         "SET GLOBAL binlog_expire_logs_seconds = 0")  # fmt: skip
    assert told["log_bin"] == ("ok", "")
    assert told["binlog_format"] == ("error", "SET GLOBAL binlog_format = 'ROW'")
    assert told["binlog_row_metadata"] == ("warning", "SET GLOBAL binlog_row_metadata = 'FULL'")
    assert told["binlog_expire"][0] == "warning"
    assert told["replication_slave"] == ("error", "GRANT REPLICATION SLAVE ON *.* TO 'poor'@'%'")
    assert told["replication_client"] == ("error", "GRANT BINLOG MONITOR ON *.* TO 'poor'@'%'")
    assert told["key t"][0] == "ok"
    assert told["key keyless"][0] == "warning"


def test_the_time_to_loss_is_how_long_the_server_still_keeps_the_log(own: tuple[MariaDB, MysqlSource]) -> None:
    _, source = own
    url = _url(source)
    log = source.log("test", source.datasets(["t"]))
    begun = log.begin()
    _run(url, "SET GLOBAL binlog_expire_logs_seconds = 3600", "INSERT INTO t VALUES (1)")
    end = _to_end(log, begun)[-1].position
    assert end is not None
    _run(url, "INSERT INTO t VALUES (2)")
    lag = log.lag(end)
    _run(url, "SET GLOBAL binlog_expire_logs_seconds = 0")
    assert lag.bytes is not None
    assert lag.bytes > 0
    assert lag.until_loss is not None
    assert 3000 < lag.until_loss <= 3600


def test_what_cannot_be_followed_is_refused(sql: Sql, following: Following) -> None:
    sql("CREATE VIEW v AS SELECT 1 AS one")
    with pytest.raises(InvalidPlanError, match="v is a view"):
        following("v")


def test_places_are_compared_by_file_on_one_server_and_by_transactions_between_two() -> None:
    place = Place("bin.000009", 500, "0-1-5,1-1-7", "1")
    assert place.behind(Place("bin.000009", 500, server="1"))
    assert not place.behind(Place("bin.000009", 500, server="1", pieces=1))
    assert not place.behind(Place("bin.000010", 4, server="1"))
    assert place.behind(Place("other.000100", 4, "0-3-5", "3"))
    assert not place.behind(Place("other.000100", 4, "0-3-6", "3"))
    assert Place.of(place.position) == place


def test_sets_of_transactions() -> None:
    one, two = "3e11fa47-71ca-11e1-9e33-c80aa9429562", "4e11fa47-71ca-11e1-9e33-c80aa9429562"
    assert joined("0-1-5,1-1-7", "1-2-8") == "0-1-5,1-2-8"
    assert added(f"{one}:1-5:7", one, 6) == f"{one}:1-7"
    assert added("", two, 3) == f"{two}:3"
    assert covers(f"{one}:1-9,{two}:1", f"{one}:2-3:5-9")
    assert not covers(f"{one}:1-3:5", f"{one}:1-5")
    assert executed_blocks(f"{one}:1-5:7").hex() == (
        "0100000000000000" + one.replace("-", "") + "0200000000000000" + "0100000000000000" + "0600000000000000"
        "0700000000000000" + "0800000000000000"
    )
