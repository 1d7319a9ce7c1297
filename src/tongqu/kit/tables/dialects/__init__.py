"""How single SQL systems say things, one file each; connectors choose by what the server says it is."""

from __future__ import annotations

import importlib
from functools import cache
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tongqu.kit.tables.dialect import Dialect

NAMES = ("postgres", "mysql", "sqlite", "tsql", "oracle", "dm", "db2", "ansi")
"""`ansi` is what is said to a system nobody knows: it is only read."""
_PRODUCTS = (
    ("postgresql", "postgres"), ("kingbase", "postgres"), ("gaussdb", "postgres"), ("opengauss", "postgres"),
    ("greenplum", "postgres"), ("vastbase", "postgres"), ("highgo", "postgres"),
    ("mariadb", "mysql"), ("mysql", "mysql"), ("tidb", "mysql"), ("oceanbase", "mysql"),
    ("sqlite", "sqlite"), ("microsoft sql server", "tsql"), ("sql server", "tsql"),
    ("oracle", "oracle"), ("dm dbms", "dm"), ("dameng", "dm"), ("dm8", "dm"), ("db2", "db2"),
)  # fmt: skip


@cache
def dialect(name: str) -> Dialect:
    """The dialect of that name, one of `NAMES`."""
    found: Dialect = importlib.import_module(f"tongqu.kit.tables.dialects.{name}").dialect
    return found


def named_by(product: str) -> str:
    """The dialect of a server by the product name its driver reports; `ansi` for one nobody knows."""
    words = product.lower()
    return next((name for part, name in _PRODUCTS if part in words), "ansi")
