"""PostgreSQL and MariaDB, both ways."""

from __future__ import annotations

from bench.measure import Method, Row
from bench.scenarios.scenario import Scenario
from bench.world import World

_TABLE = """
CREATE OR REPLACE TABLE {} (id bigint PRIMARY KEY, order_no varchar(32) NOT NULL, customer text NOT NULL,
  amount decimal(12,2) NOT NULL, discount decimal(12,2), created_at datetime(6) NOT NULL, ship_date date,
  is_paid tinyint(1) NOT NULL, status varchar(16) NOT NULL, remark text, attrs json, qty int NOT NULL)
  DEFAULT CHARSET=utf8mb4
"""
_SELECT = (
    "SELECT id, order_no, customer, amount, discount, created_at AT TIME ZONE $$UTC$$, ship_date, is_paid::int, "
    "status, remark, attrs, qty FROM orders"
)
PIPE = (
    "psql -qX -d src -c 'COPY ({select}) TO STDOUT' | {mysql} -e \"TRUNCATE {table}; "
    "LOAD DATA LOCAL INFILE '/dev/stdin' INTO TABLE {table} CHARACTER SET utf8mb4\""
)


def fill(world: World, table: str) -> None:
    """Make the orders in MariaDB."""
    world.shell(f"{world.mysql} -e '{_TABLE.format(table)}'")
    world.shell(PIPE.format(select=_SELECT, mysql=world.mysql, table=table))


def _counts(world: World, table: str) -> str:
    return world.shell(f"{world.mysql} -BNe 'SELECT count(*), sum(id), sum(amount) FROM {table}'").replace("\t", "|")


def _to_mariadb(world: World) -> list[Row]:
    expect = world.counts("src", "orders")
    world.shell(f"{world.mysql} -e '{_TABLE.format('orders_limit')}'")
    return world.compare(
        Method("COPY text | LOAD DATA", PIPE.format(select=_SELECT, mysql=world.mysql, table="orders_limit"),
               None, lambda: _counts(world, "orders_limit"), expect),
        Method("tongqu sync", world.sync(world.url("src"), world.shop, "--table orders"),
               None, lambda: _counts(world, "orders"), expect),
    )  # fmt: skip


def _from_mariadb(world: World) -> list[Row]:
    expect = world.counts("src", "orders")
    fill(world, "shop_orders")
    world.empty_like("dst", "shop_limit")
    return world.compare(
        Method(
            "mariadb --quick | COPY text",
            f"{world.mysql} --quick -BN -e 'SELECT * FROM shop_orders' | psql -qX -d dst --single-transaction "
            "-c 'TRUNCATE shop_limit' -c \"COPY shop_limit FROM STDIN (NULL 'NULL')\"",
            lambda: world.settle("dst"), lambda: world.counts("dst", "shop_limit"), expect,
        ),
        Method("tongqu sync", world.sync(world.shop, world.url("dst"), "--table shop_orders"),
               lambda: world.settle("dst"), lambda: world.counts("dst", "shop_orders"), expect),
    )  # fmt: skip


SCENARIOS = [
    Scenario("pg-mariadb", "PostgreSQL → MariaDB, replace", "psql COPY text | mariadb LOAD DATA LOCAL INFILE",
             0.7, 0.5, _to_mariadb),
    Scenario("mariadb-pg", "MariaDB → PostgreSQL, replace",
             "mariadb --quick -BN | psql COPY text (NULL and time zones wrong)", 0.5, 0.35, _from_mariadb),
]  # fmt: skip
