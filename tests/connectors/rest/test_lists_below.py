"""Lists below many parents, asked for side by side: what comes and where a read can go on is as if they were not."""

from __future__ import annotations

import json
from collections.abc import Callable, Generator, Iterator
from contextlib import closing
from pathlib import Path
from threading import Event, Lock
from typing import Any

import duckdb
import pytest

from tongqu.connectors.rest.settings import RestSettings
from tongqu.connectors.rest.source import RestSource
from tongqu.core.data import Batch, Position, Read
from tongqu.core.errors import NotFoundError, RateLimitedError
from tongqu.testing.command_line import tongqu
from tongqu.testing.services.http_peer import Asked, Out
from tongqu.testing.services.vendor_api import VendorApi

ORDERS = 24


class Lines(VendorApi):
    """Orders and their lines. `before` may answer a call instead (True)."""

    before: Callable[[Asked, Out], bool] | None = None

    def answered(self, asked: Asked, out: Out) -> None:
        if self.before is None or not self.before(asked, out):
            super().answered(asked, out)

    def below(self) -> list[str]:
        """The calls for lines, in the order in which they came."""
        return [one.path.rpartition("/")[2] for one in list(self.calls) if "lines" in one.path]


@pytest.fixture
def api() -> Iterator[Lines]:
    """24 orders in pages of 10 and up to 30 lines of each, in pages of 10."""
    with Lines() as made:
        made.table("orders", [{"id": n} for n in range(ORDERS)])
        for n in range(ORDERS):
            made.table(f"lines{n}", [{"id": k, "q": n} for k in range(n % 4 * 10)])
        yield made


EXPECTED = [(n, k) for n in range(ORDERS) for k in range(n % 4 * 10)]
PAGED: dict[str, Any] = {"paging": {"kind": "cursor", "next": "meta.next_cursor"}, "key": "id"}


def made(api: Lines, way: str = "cursor", paging: Any = None, **limits: Any) -> closing[RestSource]:
    lines: dict[str, Any] = {
        "path": f"/{way}/lines{{order}}", "key": "id", "paging": paging or PAGED["paging"],
        "fields": {"id": "int64", "q": "int64"}, "parent": {"dataset": "orders", "values": {"order": "id"}},
    }  # fmt: skip
    if way == "plain":
        lines |= {"paging": "none", "records": ""}
    datasets = {"orders": {"path": "/cursor/orders", "fields": {"id": "int64"}, **PAGED}, "lines": lines}
    told = {"base_url": api.url, "datasets": datasets, "limits": {"concurrency": 8, **limits}}
    return closing(RestSource(RestSettings.parse(told)))


def read(source: RestSource, after: Position | None = None, **told: Any) -> Generator[Batch, None, None]:
    (dataset,) = source.datasets(["lines"])
    (split,) = source.splits(dataset, 1)
    yield from source.read(Read(dataset, split, after=after, **{"batch_rows": 1, **told}))


def rows(batches: list[Batch]) -> list[tuple[int, int]]:
    return [(row["order"], row["id"]) for batch in batches for row in batch.rows.to_pylist()]


@pytest.mark.parametrize("way", ["cursor", "plain"])
def test_as_many_lists_as_may_be_are_asked_for_at_the_same_time(api: Lines, way: str) -> None:
    """No list is answered before eight have been asked for: one after another would wait for ever."""
    turn, all_here = Lock(), Event()
    under_way, most = 0, 0

    def before(asked: Asked, out: Out) -> bool:
        nonlocal under_way, most
        if "lines" in asked.path:
            with turn:
                under_way += 1
                most = max(most, under_way)
                if under_way == 8:
                    all_here.set()
            assert all_here.wait(60)
            with turn:
                under_way -= 1
        return False

    api.before = before
    with made(api, way) as source:
        assert rows(list(read(source))) == EXPECTED
    assert most == 8


@pytest.mark.parametrize("way", ["cursor", "page", "plain"])
def test_the_positions_are_those_of_one_list_after_another(api: Lines, way: str) -> None:
    paging = {"kind": "page", "size_param": "size", "size": 10, "total": "data.total"} if way == "page" else None
    with made(api, way, paging) as source:
        one_by_one = list(read(source, limit=1_000_000))
        calls = sorted(api.below())
        api.calls.clear()
        ahead = list(read(source))
        assert sorted(api.below()) == calls, "a page was asked for twice or not at all"
        assert [batch.position for batch in ahead] == [batch.position for batch in one_by_one]
        assert rows(ahead) == rows(one_by_one) == EXPECTED
        for cut in (n for n in range(0, len(ahead), 3) if ahead[n].position is not None):
            rest = list(read(source, json.loads(json.dumps(ahead[cut].position))))
            assert rows(ahead[: cut + 1]) + rows(rest) == EXPECTED, ahead[cut].position


def test_lists_below_lists_below_a_list(api: Lines) -> None:
    """Each level is asked for side by side, and the order is that of all levels."""
    api.table("plants", [{"plant": n} for n in range(3)], key=("plant",))
    for n in range(3):
        api.table(f"orders{n}", [{"id": k} for k in range(n * 8, n * 8 + 8)])
    paged = {"paging": PAGED["paging"]}
    orders = {"fields": {"id": "int64"}, "parent": {"dataset": "plants", "values": {"plant": "plant"}}, "key": "id"}
    lines = {"fields": {"id": "int64", "q": "int64"}, "parent": {"dataset": "orders", "values": {"order": "id"}}}
    datasets = {
        "plants": {"path": "/cursor/plants", "fields": {"plant": "int64"}, "key": "plant", **paged},
        "orders": {"path": "/cursor/orders{plant}", **orders, **paged},
        "lines": {"path": "/cursor/lines{order}", "key": "id", **lines, **paged},
    }
    told = {"base_url": api.url, "datasets": datasets, "limits": {"concurrency": 8}}
    with closing(RestSource(RestSettings.parse(told))) as source:
        whole = list(read(source))
        assert rows(whole) == EXPECTED
        cut = next(number for number, batch in enumerate(whole) if rows([batch])[-1:] > [(13, 0)])
        assert rows(whole[: cut + 1]) + rows(list(read(source, whole[cut].position))) == EXPECTED


def test_nothing_is_asked_for_beyond_where_a_read_shall_end(api: Lines) -> None:
    with made(api) as source:
        whole = list(read(source))
        for cut in (3, 11, len(whole) // 2):
            until = whole[cut].position
            assert until is not None
            api.calls.clear()
            assert rows(list(read(source, until=until))) == rows(whole[: cut + 1])
            last = max(int(name.removeprefix("lines")) for name in api.below())
            assert last <= whole[cut].rows.column("order")[-1].as_py()
        api.calls.clear()
        taken = read(source, limit=10)
        next(taken)
        taken.close()
        assert set(api.below()) == {"lines0", "lines1"}, "the reader wanted the first rows only"


def test_a_failing_list_is_named_after_all_rows_before_it(api: Lines) -> None:
    def before(asked: Asked, out: Out) -> bool:
        if gone := asked.path.endswith("lines9"):
            out.json({"message": "no such order"}, 404)
        return gone

    api.before = before
    got: list[Batch] = []
    with made(api) as source, pytest.raises(NotFoundError, match=r"\(below orders, order=9\)"):
        for batch in read(source):
            got.append(batch)  # what came before the error counts
    assert rows(got) == [one for one in EXPECTED if one[0] < 9]


def test_what_the_system_says_about_its_pace_holds_for_all(api: Lines) -> None:
    refused: list[str] = []

    def before(asked: Asked, out: Out) -> bool:
        if not (too_many := "lines" in asked.path and len(refused) < 3):
            return False
        refused.append(asked.path)
        out.json({"message": "slower"}, 429, Retry_After="0.3")
        return too_many

    api.before = before
    with made(api) as source:
        assert rows(list(read(source))) == EXPECTED
    assert len(refused) >= 3


def test_no_more_calls_than_allowed_are_made(api: Lines) -> None:
    with (
        made(api, calls=12, per_seconds=3600, patience_seconds=1) as source,
        pytest.raises(RateLimitedError, match="longer than this call may wait"),
    ):
        list(read(source))
    assert len(api.calls) <= 12


def test_a_long_list_is_read_when_its_turn_has_come(api: Lines) -> None:
    """Lists in one answer that are too long to be kept are asked for again, a few at most, and then one by one."""
    for n in range(ORDERS):
        api.table(f"lines{n}", [{"id": k, "q": k, "v": "x" * 4000} for k in range(1100 if n < 12 else 1)])
    with made(api, "plain") as source:
        got = rows(list(read(source, batch_rows=65_536)))
    assert got == [(n, k) for n in range(ORDERS) for k in range(1100 if n < 12 else 1)]
    assert len(api.below()) <= ORDERS + 8


@pytest.mark.parametrize("point", ["after_read:2", "before_commit:3", "after_commit:2"])
def test_a_run_that_is_killed_goes_on_where_it_was(api: Lines, tmp_path: Path, point: str) -> None:
    (tmp_path / "tongqu.yaml").write_text(f"""
project: p
connections:
  vendor:
    type: rest
    base_url: {api.url}
    limits: {{concurrency: 8}}
    datasets:
      orders: {{path: /cursor/orders, key: id, paging: {{kind: cursor, next: meta.next_cursor}}, fields: {{id: int64}}}}
      lines:
        path: /cursor/lines{{order}}
        key: id
        paging: {{kind: cursor, next: meta.next_cursor}}
        fields: {{id: int64, q: int64}}
        parent: {{dataset: orders, values: {{order: id}}}}
""")
    command = ["sync", "vendor", "duckdb:x.duckdb", "--table", "lines", "--chunk-rows", "60", "--json"]
    assert tongqu(tmp_path, *command, TONGQU_CRASH_AT=point).code == -9
    done = tongqu(tmp_path, *command)
    assert done.code == 0, done.err
    assert json.loads(done.out)["attempts"] == 2

    with duckdb.connect(str(tmp_path / "x.duckdb"), read_only=True) as database:
        assert database.sql('select "order", id from lines order by 1, 2').fetchall() == EXPECTED
