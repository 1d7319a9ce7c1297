"""Webhooks that stand beside the APIs: one entry for several of them, checked as those under an API are."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tongqu.testing.command_line import inside, make

PROJECT = """
project: plant
connections:
  lake: {type: sqlite, path: lake.db}
apis:
  orders:
    source: {connection: lake, dataset: orders}
    webhooks: {own: {url: 'https://own.example/in', as: erp, secret: '${secret:own}'}}
  lots: {version: v2, source: {connection: lake, dataset: orders}}
webhooks:
"""
ENTRY = "{apis: [orders, lots], url: 'https://erp.example/in', as: erp, secret: '${secret:erp}', events: insert}"


def asked(folder: Path, entry: str, *command: str) -> Any:
    (folder / "tongqu.yaml").write_text(PROJECT + f"  erp: {entry}\n", encoding="utf-8")
    return inside(folder, *command, "--json")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    make(tmp_path / "lake.db", "orders", "id INTEGER PRIMARY KEY", [(1,)])
    return tmp_path


def test_one_entry_sends_the_changes_of_several_apis(folder: Path) -> None:
    told = asked(folder, ENTRY.replace("events: insert", "events: [insert]"), "webhook", "list").document["webhooks"]
    assert {one["name"] for one in told} == {"v1/orders/own", "v1/orders/erp", "v2/lots/erp"}
    [plan] = [one for one in asked(folder, ENTRY.replace("insert", "[delete]"), "plan").document["changes"]
              if one["resource"].startswith("webhooks")]  # fmt: skip
    assert plan["resource"] == "webhooks.erp"


@pytest.mark.parametrize(
    ("entry", "path", "hint"),
    [(ENTRY.replace("lots", "lot").replace("insert", "[insert]"), "webhooks.erp.apis", "lots"),
     ("{url: 'https://x.example', as: erp, secret: '${secret:h}'}", "webhooks.erp.apis", ""),
     ("{apis: lots, url: 'ftp://x.example', as: erp, secret: '${secret:h}'}", "webhooks.erp.url", "")],
    ids=["unknown", "missing", "address"],
)  # fmt: skip
def test_what_is_wrong_with_an_entry_names_its_place(folder: Path, entry: str, path: str, hint: str) -> None:
    problems = asked(folder, entry, "check").document["problems"]
    [problem] = [one for one in problems if path in one["path"]]
    assert hint in problem["hint"]


def test_a_name_stands_once_for_an_api(folder: Path) -> None:
    text = PROJECT.replace("own: {", "erp: {") + f"  erp: {ENTRY.replace('insert', '[insert]')}\n"
    (folder / "tongqu.yaml").write_text(text, encoding="utf-8")
    done = inside(folder, "check", "--json")
    assert done.code == 2 and "webhooks.erp.apis" in done.document["problems"][0]["path"]
