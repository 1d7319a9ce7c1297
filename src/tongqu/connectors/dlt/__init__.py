"""dlt sources: verified ones, of `dlt` itself and one's own, each a program of its own (`dlt:module:function`)."""

from __future__ import annotations

from tongqu.connectors.dlt.settings import DltSettings, from_url
from tongqu.core.connector import Can, Connector, Source


def _source(settings: DltSettings) -> Source:
    from tongqu.connectors.dlt.source import DltSource

    return DltSource(settings)


connector = Connector(
    name="dlt",
    title={"zh": "dlt 源", "en": "dlt source"},
    settings=DltSettings,
    can=Can.READ | Can.INCREMENTAL | Can.TRACKS,
    schemes=("dlt",),
    from_url=from_url,
    source=_source,
    label="compatible",
    guarantee={
        "zh": "只读; 全量与增量读取都整体生效, 中断后重读; 增量的状态与数据在同一事务提交; "
        "程序在隔离的进程与虚拟环境中运行; 出站访问不受管控 (egress: not enforced)",
        "en": "read only; full and incremental reads begin anew when they were cut; the state of an incremental read "
        "is committed with its last rows; the program runs in a process and a virtual environment of its own; "
        "egress: not enforced",
    },
    systems=(
        "dlt.sources.rest_api of dlt 1.31 (real against a mock API, egress: not enforced)",
        "dlt sources (compatible, egress: not enforced)",
    ),
)
