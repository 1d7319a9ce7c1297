"""Singer taps: hundreds of sources that other people wrote, each a program of its own (`singer:tap-jsonl`)."""

from __future__ import annotations

from tongqu.connectors.singer.settings import SingerSettings, from_url
from tongqu.core.connector import Can, Connector, Source


def _source(settings: SingerSettings) -> Source:
    from tongqu.connectors.singer.source import SingerSource

    return SingerSource(settings)


connector = Connector(
    name="singer",
    title={"zh": "Singer 抽取程序 (tap)", "en": "Singer tap"},
    settings=SingerSettings,
    can=Can.READ | Can.INCREMENTAL | Can.TRACKS,
    schemes=("singer",),
    from_url=from_url,
    source=_source,
    label="compatible",
    guarantee={
        "zh": "只读; 全量读取整体生效, 中断后重读; 增量的 STATE 与数据在同一事务提交, 可在 STATE 处续传, "
        "重复的行按键合并; 程序在隔离的进程与虚拟环境中运行; 出站访问不受管控 (egress: not enforced)",
        "en": "read only; a full read takes effect as a whole and begins anew when it was cut; an incremental read "
        "commits STATE with the data and goes on after any STATE, rows that come twice are merged by key; the program "
        "runs in a process and a virtual environment of its own; egress: not enforced",
    },
    systems=("tap-jsonl 0.3.1 (real, egress: not enforced)", "Singer taps (compatible, egress: not enforced)"),
)
