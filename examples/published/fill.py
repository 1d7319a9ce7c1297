"""Makes the plant's two databases: mes.db (SQLite) and lake.duckdb."""

from __future__ import annotations

import sqlite3
from pathlib import Path

import duckdb

HERE = Path(__file__).parent


def filled(folder: Path) -> None:
    """Write both databases into the folder."""
    mes = sqlite3.connect(folder / "mes.db")
    mes.executescript((HERE / "mes.sql").read_text(encoding="utf-8"))
    mes.close()
    with duckdb.connect(str(folder / "lake.duckdb")) as lake:
        lake.execute(
            "CREATE TABLE inspections (id BIGINT PRIMARY KEY, plant VARCHAR, inspector VARCHAR, passed BOOLEAN);"
            "INSERT INTO inspections VALUES (1, 'A', '张三丰', true), (2, 'A', '李四', false), (3, 'B', '王五', true)"
        )


if __name__ == "__main__":
    filled(Path.cwd())
