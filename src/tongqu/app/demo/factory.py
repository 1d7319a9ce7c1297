"""A little factory on embedded systems, built the same every time, and what happens at it while the demo plays."""

from __future__ import annotations

import csv
import random
import sqlite3
from collections.abc import Iterator
from importlib.resources import files
from pathlib import Path
from typing import Any

from tongqu.app.demo import patrols

INSPECTIONS = 20_000
MATERIALS = 200
NEW_INSPECTIONS = 500
SHORT = 40
"""Materials in the export that was cut short."""
_LINES = (
    ("A1", "冲压一线", "冲压车间"),
    ("A2", "冲压二线", "冲压车间"),
    ("B1", "焊接一线", "焊接车间"),
    ("B2", "焊接二线", "焊接车间"),
    ("C1", "总装一线", "总装车间"),
    ("C2", "总装二线", "总装车间"),
)
_NAMES = ("轴承座", "法兰盘", "齿轮", "连接板", "端盖", "支架", "衬套", "转向节")
_PEOPLE = ("王伟", "李娜", "张敏", "刘洋", "陈静", "赵磊")


def build(folder: Path, *, excel: bool = True) -> None:
    """Write project file and data into the folder, replacing what an earlier demo left; the same every time.

    The workbook is left out unless `excel`, which needs the extra of that name.
    """
    data = folder / "data"
    (data / "erp").mkdir(parents=True, exist_ok=True)
    for old in ("qms.db", "mes.duckdb", "lake.duckdb", "bi.db", "desk.db"):
        for path in data.glob(f"{old}*"):
            path.unlink()
    text = files(__package__).joinpath("factory.yaml").read_text(encoding="utf-8")
    (folder / "tongqu.yaml").write_text(text, encoding="utf-8")
    chance = random.Random(20260131)  # noqa: S311  # made-up data, the same every time
    weights = {f"M{number:05d}": chance.randint(200, 9_000) for number in range(1, MATERIALS + 1)}
    _qms(data / "qms.db", weights, chance)
    _erp(data / "erp" / "materials.csv", weights)
    _mes(data / "mes.duckdb")
    _desk(data / "desk.db")
    if excel:
        patrols.write(data / "patrols.xlsx", [name for _, name, _ in _LINES], chance)


def _qms(path: Path, weights: dict[str, int], chance: random.Random) -> None:
    database = sqlite3.connect(path)
    with database:
        database.execute(
            "CREATE TABLE inspection_result (id INTEGER PRIMARY KEY, LOT TEXT, ITEM TEXT NOT NULL, LINE TEXT NOT NULL,"
            " WGT_G INTEGER, passed INTEGER NOT NULL, inspector TEXT, inspected_at TEXT NOT NULL)"
        )
        database.executemany(
            "INSERT INTO inspection_result VALUES (?, ?, ?, ?, ?, ?, ?, ?)", _inspections(weights, chance)
        )
    database.close()


def _inspections(weights: dict[str, int], chance: random.Random) -> Iterator[tuple[Any, ...]]:
    """Clean rows with three kinds of dirt: a lot number typed wrongly, a scale that slipped, a lot left empty."""
    items = list(weights)
    for number in range(1, INSPECTIONS + 1):
        item = chance.choice(items)
        grams: int = weights[item] + chance.randint(-40, 40)
        lot: str | None = f"L{20260100 + number % 28 + 1:08d}"
        if number % 997 == 0:
            lot = f"{item}-??"
        elif number % 1499 == 0:
            lot = None
        elif number % 1999 == 0:
            grams = -grams if number % 2 else grams * 1000
        line = _LINES[number % len(_LINES)][0]
        passed = 0 if chance.random() < 0.02 + 0.01 * (number % len(_LINES)) else 1
        at = f"2026-01-{number % 28 + 1:02d} {number % 24:02d}:{number % 60:02d}:00"
        yield number, lot, item, line, grams, passed, chance.choice(_PEOPLE), at


def _erp(path: Path, weights: dict[str, int]) -> None:
    with path.open("w", encoding="gb18030", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(("物料编码", "物料名称", "标准重量公斤", "供应商"))
        for number, (item, grams) in enumerate(weights.items()):
            weight = "待定" if number in (50, 120) else f"{grams / 1000:.3f}"
            supplier = f"{'华东' if number % 2 else '华南'}精工{number % 7 + 1}厂"
            writer.writerow((item, f"{_NAMES[number % len(_NAMES)]}{number:03d}型", weight, supplier))


def _mes(path: Path) -> None:
    import duckdb

    database = duckdb.connect(str(path))
    database.execute(
        "CREATE TABLE line (line_id VARCHAR PRIMARY KEY, line_name VARCHAR, workshop VARCHAR, parts_a_day SMALLINT)"
    )
    database.executemany("INSERT INTO line VALUES (?, ?, ?, 1200)", _LINES)
    database.close()


def _desk(path: Path) -> None:
    """Remarks, written through the API."""
    database = sqlite3.connect(path)
    with database:
        database.execute(
            "CREATE TABLE remark (remark_id INTEGER PRIMARY KEY, inspection_id INTEGER NOT NULL, text TEXT NOT NULL)"
        )
        database.execute("INSERT INTO remark VALUES (1, 2742, '表面有划痕')")
    database.close()


def edit_by_hand(bi: Path) -> None:
    """Somebody mends numbers in the BI system's copy: three lots renamed, a row deleted, one made up."""
    database = sqlite3.connect(bi)
    with database:
        database.execute("UPDATE inspection SET lot_no = 'L99999999' WHERE inspection_id IN (7, 77, 777)")
        database.execute("DELETE FROM inspection WHERE inspection_id = 4242")
        database.execute(
            "INSERT INTO inspection SELECT 999999, lot_no, material, line_id, weight, passed FROM inspection"
            " WHERE inspection_id = 1"
        )
    database.close()


def change_schemas(data: Path) -> None:
    """The QMS gets a column `shift` and fills it for new rows; a number of the MES outgrows its type."""
    import duckdb

    database = sqlite3.connect(data / "qms.db")
    with database:
        database.execute("ALTER TABLE inspection_result ADD COLUMN shift TEXT")
        database.execute(
            "INSERT INTO inspection_result SELECT id + ?, LOT, ITEM, LINE, abs(WGT_G) % 10000, passed, inspector,"
            " replace(inspected_at, '2026-01', '2026-02'), CASE WHEN id % 2 THEN 'day' ELSE 'night' END"
            " FROM inspection_result WHERE LOT LIKE 'L%' ORDER BY id LIMIT ?",
            (INSPECTIONS, NEW_INSPECTIONS),
        )
    database.close()
    lines = duckdb.connect(str(data / "mes.duckdb"))
    lines.execute("ALTER TABLE line ALTER parts_a_day TYPE INTEGER")
    lines.execute("UPDATE line SET parts_a_day = 120000 WHERE line_id LIKE 'A%'")
    lines.close()


def cut_short(data: Path) -> None:
    """The ERP's next export breaks off after a few materials."""
    path = data / "erp" / "materials.csv"
    path.write_bytes(b"".join(path.read_bytes().splitlines(keepends=True)[: SHORT + 1]))


def lower_limit(project: Path) -> None:
    """Somebody lowers what an inspection may weigh, in the project file."""
    text = project.read_text(encoding="utf-8")
    project.write_text(text.replace("unit: kg, min: 0, max: 50}", "unit: kg, min: 0, max: 5}"), encoding="utf-8")
