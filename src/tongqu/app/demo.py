"""The demo: a little factory on embedded systems, built the same every time, moved, checked and told."""

from __future__ import annotations

import csv
import random
import sqlite3
from collections.abc import Iterator, Mapping
from importlib.resources import files
from pathlib import Path
from typing import Any

from tongqu.app.messages import language, t
from tongqu.app.project.model import DatasetEntry

INSPECTIONS = 20_000
MATERIALS = 200
PIPELINES = ("inspections", "materials", "lines", "yield_by_line")
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


def build(folder: Path) -> None:
    """Write project file and data into the folder, replacing what an earlier demo left; the same every time."""
    data = folder / "data"
    (data / "erp").mkdir(parents=True, exist_ok=True)
    for old in ("qms.db", "mes.duckdb", "lake.duckdb"):
        for path in data.glob(f"{old}*"):
            path.unlink()
    text = files(__package__).joinpath("factory.yaml").read_text(encoding="utf-8")
    (folder / "tongqu.yaml").write_text(text, encoding="utf-8")
    chance = random.Random(20260131)  # noqa: S311  # made-up data, the same every time
    weights = {f"M{number:05d}": chance.randint(200, 9_000) for number in range(1, MATERIALS + 1)}
    _qms(data / "qms.db", weights, chance)
    _erp(data / "erp" / "materials.csv", weights)
    _mes(data / "mes.duckdb")


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
    database.execute("CREATE TABLE line (line_id VARCHAR PRIMARY KEY, line_name VARCHAR, workshop VARCHAR)")
    database.executemany("INSERT INTO line VALUES (?, ?, ?)", _LINES)
    database.close()


def story(lake: Path, dictionary: Mapping[str, DatasetEntry]) -> list[str]:
    """What came out, for people: each line's yield, and what was wrong with the quarantined rows, in the words of the
    data dictionary."""
    import duckdb

    database = duckdb.connect(str(lake), read_only=True)
    try:
        lines = [t("demo.yield")]
        found = database.execute(
            "SELECT line_name, inspections, passed, worst_deviation FROM yield_by_line ORDER BY passed / inspections"
        ).fetchall()
        for name, inspections, passed, worst in found:
            share = f"{100 * int(passed) / int(inspections):.1f}"
            lines.append("  " + t("demo.line", name=name, inspections=inspections, share=share, worst=f"{worst:.3f}"))
        lines.append(t("demo.dirty"))
        dirty = database.execute(
            "SELECT stream, code, field, count(*), min(value) FROM _tongqu_quarantine "
            "GROUP BY ALL ORDER BY 4 DESC, 1, 2"
        ).fetchall()
        for stream, code, field, count, value in dirty:
            example = t("demo.empty") if value is None else value
            told = {"stream": stream, "field": field, "count": count, "example": example}
            lines.append("  " + t("demo.cause", title=_title(field, dictionary), reason=t(f"reason.{code}"), **told))
    finally:
        database.close()
    return lines


def _title(field: str, dictionary: Mapping[str, DatasetEntry]) -> str:
    titles = next((entry.fields[field].title for entry in dictionary.values() if field in entry.fields), {})
    return (titles.get("zh") if language() == "zh" else titles.get("en")) or field
