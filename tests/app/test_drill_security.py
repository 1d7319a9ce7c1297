"""`tongqu drill security` attacks a running gateway with everything it knows, and says what got through."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from pathlib import Path

import pytest

from tongqu.testing.command_line import Done, tongqu
from tongqu.testing.services.gateway import Gateway

PROJECT = """
project: plant
connections:
  lake: {type: sqlite, path: lake.db}
apis:
  inspections:
    source: {connection: lake, dataset: inspection}
    access: {public: true}
    shield: SHIELD
    limit: {requests: 100000}
gateway:
  limits: {address: {requests: 100000}, failures: null}
"""


def project(folder: Path, shield: str) -> Path:
    folder.mkdir()
    with sqlite3.connect(folder / "lake.db") as lake:
        lake.execute("CREATE TABLE inspection (lot TEXT PRIMARY KEY, inspector TEXT)")
        lake.execute("INSERT INTO inspection VALUES ('L1', 'O''Brien')")
    lake.close()
    (folder / "tongqu.yaml").write_text(PROJECT.replace("SHIELD", shield))
    return folder


@pytest.fixture
def gateway(tmp_path: Path) -> Iterator[Gateway]:
    with Gateway(project(tmp_path / "plant", "refuse")) as running:
        yield running


def drill(folder: Path, *more: str, api: str = "inspections") -> Done:
    return tongqu(folder, "drill", "security", "--api", f"/api/v1/{api}", *more, "--json")


def test_a_guarded_gateway_lets_nothing_through_and_the_trend_grows(gateway: Gateway, tmp_path: Path) -> None:
    for drills in (1, 2):
        ended = drill(tmp_path / "plant", "--requests", "120")
        document = ended.document
        assert ended.code == 0, document
        assert (document["passed"], document["broke"], document["harmless_refused"]) == (0, 0, 0)
        assert len(document["trend"]) == drills
        assert len(document["digest"]) == 64
        assert {"smuggling", "tokens", "bodies", "injection: union"} <= {one["family"] for one in document["families"]}
    assert gateway.ask("/api/v1/inspections").status == 200


def test_a_gateway_whose_shield_only_watches_fails_the_drill(tmp_path: Path) -> None:
    with Gateway(project(tmp_path / "plant", "observe")) as running:
        ended = drill(tmp_path / "plant", "--url", running.url, "--requests", "40")
    assert ended.code == 3
    assert not ended.document["ok"]
    assert ended.document["passed"] > 0
    examples = [example for one in ended.document["families"] for example in one["examples"]]
    assert any(example.startswith("200 plain:") for example in examples)


def test_an_api_that_cannot_be_read_is_not_attacked(gateway: Gateway, tmp_path: Path) -> None:
    ended = drill(tmp_path / "plant", "--url", gateway.url, api="none")
    assert ended.code == 1
    assert "/api/v1/none" in ended.document["problems"][0]["message"]
