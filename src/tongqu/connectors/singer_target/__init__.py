"""Singer targets: sinks that other people wrote, each a program of its own (`singer-target:target-jsonl`)."""

from __future__ import annotations

from tongqu.connectors.singer_target.settings import TargetSettings, from_url
from tongqu.core.connector import Can, Connector, Sink


def _sink(settings: TargetSettings) -> Sink:
    from tongqu.connectors.singer_target.sink import TargetSink

    return TargetSink(settings)


connector = Connector(
    name="singer_target",
    title={"zh": "Singer 写入程序 (target)", "en": "Singer target"},
    settings=TargetSettings,
    can=Can.WRITE | Can.APPEND | Can.UPSERT,
    schemes=("singer-target",),
    from_url=from_url,
    sink=_sink,
    label="compatible",
    guarantee={
        "zh": "程序正常结束, 且其交回的 STATE 是最后一个, 其行才算写入; upsert 至少一次, 由目标按键合并, 结果一次; "
        "append 不重发, 结果未知的行进入隔离区; 出站访问不受管控 (egress: not enforced)",
        "en": "rows count as written when the program ended well and the STATE that it gives back is the last one; an "
        "upsert is sent at least once and merged by the target by key; an append is not repeated, rows whose outcome "
        "nobody knows are quarantined; egress: not enforced",
    },
    systems=("target-jsonl 0.1.4 (real, egress: not enforced)", "Singer targets (compatible, egress: not enforced)"),
)
