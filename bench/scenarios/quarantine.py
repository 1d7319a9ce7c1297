"""What quarantine costs: a run in which every tenth row is refused, against the same run without a bad row."""

from __future__ import annotations

from bench.measure import Method, Row
from bench.scenarios.scenario import Scenario
from bench.world import World

_PROJECT = """\
project: bench
connections:
  src: {type: postgres, url: "SRC"}
  dst: {type: postgres, url: "DST"}
pipelines:
  clean:
    source: {connection: src, dataset: orders}
    steps: [{check: {order_no: {required: true, pattern: "SO[0-9]+-[0-9]+"}, amount: {min: 0}}}]
    sink: {connection: dst, dataset: orders_checked}
  dirty:
    source: {connection: src, dataset: orders}
    steps: [{check: {order_no: {required: true, pattern: "SO[0-9]+-[0-9]+[1-9]"}, amount: {min: 0}}}]
    sink: {connection: dst, dataset: orders_checked}
"""


def _tenth(world: World) -> list[Row]:
    folder = world.folder / "quarantine"
    folder.mkdir(exist_ok=True)
    (folder / "tongqu.yaml").write_text(_PROJECT.replace("SRC", world.url("src")).replace("DST", world.url("dst")))

    def before() -> None:
        world.sql("dst", "DROP TABLE IF EXISTS _tongqu_quarantine")
        world.settle("dst")

    def kept() -> str:
        return world.sql("dst", "SELECT count(*), count(DISTINCT original) FROM _tongqu_quarantine")

    bad = world.rows // 10
    return world.compare(
        Method("tongqu run: no row is bad", f"{world.tongqu} run clean --project {folder} --json", before, kept, "0|0"),
        Method("tongqu run: every tenth row is bad",
               f"{world.tongqu} run dirty --project {folder} --json || [ $? -eq 3 ]", before, kept, f"{bad}|{bad}"),
    )  # fmt: skip


SCENARIOS = [
    Scenario("quarantine", "Check in which 10 % of the rows are bad", "the same run without bad rows",
             1 / 1.4, 1 / 2, _tenth),
]  # fmt: skip
