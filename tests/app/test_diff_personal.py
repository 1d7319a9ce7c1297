"""Examples of `tongqu diff` hide what the dictionary says is nobody else's business."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from tongqu.testing.command_line import inside, make

PROJECT = """\
project: staff
connections:
  hr: {type: sqlite, path: hr.db}
  pay: {type: sqlite, path: pay.db}
datasets:
  person:
    key: [card]
    fields:
      card: {class: personal, mask: id_card}
      name: {class: personal, mask: name}
      phone: {mask: phone}
      salary: {class: sensitive}
      pin: {class: secret, mask: name}
      desk: {}
pipelines:
  staff:
    source: {connection: hr, dataset: t_person, as: person}
    sink: {connection: pay, dataset: people}
"""
COLUMNS = "card TEXT PRIMARY KEY, name TEXT, phone TEXT, salary INTEGER, pin TEXT, desk TEXT"
HERE = [("110101199003078888", "张小明", "13812345678", 100, "1234", "A1")]
THERE = [
    ("110101199003078888", "张小红", "13812349999", 200, "9999", "B2"),
    ("110101199003070000", "李四", "", 1, "", ""),
]


def examples(tmp_path: Path, *more: str) -> list[Any]:
    make(tmp_path / "hr.db", "t_person", COLUMNS, HERE)
    make(tmp_path / "pay.db", "people", COLUMNS, THERE)
    (tmp_path / "tongqu.yaml").write_text(PROJECT, encoding="utf-8")
    done = inside(tmp_path, "diff", "hr", "pay", "--table", "t_person=people", "--json", *more)
    assert done.code == 3, done.err
    certificate = Path(done.document["certificate"]).read_text(encoding="utf-8")
    assert "张小明" not in certificate
    (table,) = done.document["tables"]
    assert table["key"] == ["card"]
    return sorted(table["examples"], key=lambda one: str(one["kind"]))


def test_values_are_masked_by_the_dictionary(tmp_path: Path) -> None:
    different, extra = examples(tmp_path)
    assert different["key"] == ["110101********8888"]
    assert different["columns"] == {
        "name": {"left": "张*明", "right": "张*红"},
        "phone": {"left": "138****5678", "right": "138****9999"},
        "salary": {"left": "***", "right": "***"},
        "pin": {"left": "***", "right": "***"},
        "desk": {"left": "A1", "right": "B2"},
    }
    assert (extra["key"], extra["kind"]) == (["110101********0000"], "extra")


def test_values_are_shown_to_who_asks(tmp_path: Path) -> None:
    different, extra = examples(tmp_path, "--show-personal")
    assert different["columns"]["name"] == {"left": "张小明", "right": "张小红"}
    assert extra["key"] == ["110101199003070000"]


def test_a_person_at_the_terminal_sees_masks_too(tmp_path: Path) -> None:
    examples(tmp_path)
    done = inside(tmp_path, "diff", "hr", "pay", "--table", "t_person=people")
    assert "张*明 | 张*红" in done.out + done.err
    assert "张小" not in done.out + done.err
