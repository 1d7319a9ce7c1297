"""MariaDB's row binlog: decoded in one process, our columns against the rows of mysql-replication's own reader, and a
backlog of it applied to PostgreSQL."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import replace
from typing import Any

from bench.measure import Method, Row
from bench.scenarios.mariadb import fill
from bench.scenarios.scenario import Scenario
from bench.world import World
from tongqu.kit.drivers import driver

_SERVER_ID = 99
_ROUNDS = 2
_AGAIN = (
    "INSERT INTO {table} SELECT id + 1000000000, order_no, customer, amount, discount, created_at, ship_date, is_paid, "
    "status, remark, attrs, qty FROM {table}"
)


def _decode(world: World) -> list[Row]:
    """CPU seconds of this process for all rows of one table's INSERTs, the two readers in turn."""
    from tongqu.connectors.mysql import connector
    from tongqu.core.log import Follow
    from tongqu.core.settings import Secret

    mariadb, password = world.mariadb, world.environment["MYSQL_PWD"]
    settings = connector.settings.parse(
        {"host": mariadb.host, "port": mariadb.port, "user": "root", "password": Secret(password), "database": "shop"}
    )
    if connector.source is None:
        raise LookupError("the connector cannot be read")
    source = connector.source(settings)
    fill(world, "cdc_orders")
    log = source.log("bench", source.datasets(["cdc_orders"]))
    begun = log.begin()
    world.shell(f"{world.mysql} -e '{_AGAIN.format(table='cdc_orders')}'")
    end = log.head()
    rows = int(world.shell(f"{world.mysql} -BNe 'SELECT count(*) DIV 2 FROM cdc_orders'"))

    def ours() -> int:
        return sum(batch.rows.num_rows for batch in log.read(Follow(after=begun, until=end)))

    def peer() -> int:
        return _peer(world, password, begun, rows)

    runs: dict[str, list[tuple[float, float, int]]] = {"peer": [], "ours": []}
    for _ in range(_ROUNDS):
        for name, work in (("peer", peer), ("ours", ours)):
            runs[name].append(_timed(work))
    source.close()
    counts = {count for found in runs.values() for _, _, count in found}
    if counts != {rows}:
        raise RuntimeError(f"the readers found {counts} rows of {rows}")
    return [_row("mysql-replication, rows", runs["peer"], runs["peer"]),
            _row("tongqu, columns", runs["ours"], runs["peer"])]  # fmt: skip


def _peer(world: World, password: str, begun: dict[str, Any], rows: int) -> int:
    """Reads so many rows, and not to the end of the log, where its reader connects again for ever."""
    reading = driver("pymysqlreplication", "mysql").BinLogStreamReader
    inserted = driver("pymysqlreplication.row_event", "mysql").WriteRowsEvent
    place = {"host": world.mariadb.host, "port": world.mariadb.port, "user": "root", "passwd": password}
    reader = reading(
        place, server_id=_SERVER_ID, is_mariadb=True, log_file=begun["file"], log_pos=begun["pos"],
        resume_stream=True, blocking=False, only_events=[inserted], only_tables=["cdc_orders"], enable_logging=False,
    )  # fmt: skip
    count = 0
    try:
        for event in reader:
            count += len(event.rows)
            if count >= rows:
                break
    finally:
        reader.close()
    return count


def _timed(work: Callable[[], int]) -> tuple[float, float, int]:
    wall, cpu = time.perf_counter(), time.process_time()
    count = work()
    return time.perf_counter() - wall, time.process_time() - cpu, count


def _row(name: str, found: list[tuple[float, float, int]], limit: list[tuple[float, float, int]]) -> Row:
    """Ratios are of CPU seconds: what a core decodes is what matters."""
    walls = sorted(wall for wall, _, _ in found)
    cpu = sorted(cpu for _, cpu, _ in found)[len(found) // 2]
    most = sorted(cpu for _, cpu, _ in limit)[len(limit) // 2]
    told = f"{found[0][2] / cpu:,.0f} rows per CPU second"
    return Row(
        name, walls[len(walls) // 2], walls[0], walls[-1], ratio=most / cpu, extra=0.0, cpu=cpu, cpu_ratio=most / cpu,
        peak_mb=0.0, told=told,
    )  # fmt: skip


def _apply(world: World) -> list[Row]:
    """A backlog as large as the table, followed into PostgreSQL."""
    table = "shop_changes"
    sync = world.sync(world.shop, world.url("dst"), f"--mode cdc --until-caught-up --table {table}")

    def behind() -> None:
        world.sql("dst", f"DROP TABLE IF EXISTS {table}")
        fill(world, table)
        world.shell(sync + " --restart")
        world.settle("dst")
        world.shell(f"{world.mysql} -e '{_AGAIN.format(table=table)}'")

    behind()
    expect = world.shell(f"{world.mysql} -BNe 'SELECT count(*), sum(id), sum(amount) FROM {table}'").replace("\t", "|")
    rows = int(expect.split("|")[0]) // 2
    world.empty_like("dst", "shop_limit")
    bare = (
        f"{world.mysql} --quick -BN -e 'SELECT * FROM {table} WHERE id > 1000000000' | psql -qX -d dst "
        "--single-transaction -c 'TRUNCATE shop_limit' -c \"COPY shop_limit FROM STDIN (NULL 'NULL')\""
    )
    found = world.compare(
        Method("mariadb --quick | COPY text of the same rows", bare, None,
               lambda: world.sql("dst", "SELECT count(*) FROM shop_limit"), str(rows)),
        Method("tongqu sync --mode cdc, applied", sync, behind, lambda: world.counts("dst", table), expect),
    )  # fmt: skip
    return [
        replace(one, value=rows / one.seconds, told=f"{rows / one.seconds:,.0f} rows/s, {rows / one.cpu:,.0f} a CPU s")
        for one in found
    ]


SCENARIOS = [
    Scenario("mariadb-cdc-decode", "MariaDB's binlog decoded, rows of 12 columns, by CPU time",
             "mysql-replication's own row reader", 2.0, 1.0, _decode),
    Scenario("mariadb-cdc", "MariaDB → PostgreSQL, a backlog of changes of 12 columns (rows/s)", "15,000 a second",
             15_000, 10_000, _apply, "value"),
]  # fmt: skip
