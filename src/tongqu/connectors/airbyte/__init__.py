"""Airbyte sources: low-code manifests (YAML) and Python packages, each run as a program of its own (`airbyte:…`)."""

from __future__ import annotations

from tongqu.connectors.airbyte.settings import AirbyteSettings, from_url
from tongqu.core.connector import Can, Connector, Source


def _source(settings: AirbyteSettings) -> Source:
    from tongqu.connectors.airbyte.source import AirbyteSource

    return AirbyteSource(settings)


connector = Connector(
    name="airbyte",
    title={"zh": "Airbyte 源", "en": "Airbyte source"},
    settings=AirbyteSettings,
    can=Can.READ | Can.INCREMENTAL | Can.TRACKS,
    schemes=("airbyte",),
    from_url=from_url,
    source=_source,
    label="compatible",
    guarantee={
        "zh": "只读; 全量读取整体生效, 中断后重读; 增量的状态与数据在同一事务提交, 可在状态处续传, 重复的行按键合并; "
        "程序在隔离的进程与虚拟环境中运行; 出站访问不受管控 (egress: not enforced)",
        "en": "read only; a full read takes effect as a whole and begins anew when it was cut; an incremental read "
        "commits the state with the data and goes on after any state, rows that come twice are merged by key; the "
        "program runs in a process and a virtual environment of its own; egress: not enforced",
    },
    systems=(
        "low-code manifests, airbyte-cdk 7.39 (real against a mock API, egress: not enforced)",
        "Airbyte sources in Python (compatible, egress: not enforced)",
    ),
)
