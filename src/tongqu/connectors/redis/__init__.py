"""Redis streams: entries as rows and as logs that are followed by id, rows appended once by an id of their own."""

from __future__ import annotations

from tongqu.connectors.redis.settings import RedisSettings, from_url
from tongqu.core.connector import Can, Connector, Sink, Source


def _source(settings: RedisSettings) -> Source:
    from tongqu.connectors.redis.source import RedisSource

    return RedisSource(settings)


def _sink(settings: RedisSettings) -> Sink:
    from tongqu.connectors.redis.sink import RedisSink

    return RedisSink(settings)


connector = Connector(
    name="redis",
    title={"zh": "Redis 流", "en": "Redis streams"},
    settings=RedisSettings,
    can=Can.READ | Can.WRITE | Can.RESUME | Can.STREAM | Can.APPEND,
    schemes=("redis", "rediss"),
    from_url=from_url,
    source=_source,
    sink=_sink,
    extra="redis",
    guarantee={
        "zh": "读取按自有条目标识续传, 未读条目被修剪或流被重建即停止并说明; 写入: 条目与其固定标识由一个脚本一起记下, "
        "在去重窗口内恰好一次; 服务器只保有其持久化设置 (AOF) 所写下的内容",
        "en": "reads resume from our own entry id and stop, saying so, where entries were trimmed before they were "
        "read or the stream was made anew; writes: one script notes each entry together with its fixed id, so it is "
        "there exactly once within the window of duplicates; the server itself keeps what its persistence (AOF) has "
        "written",
    },
    systems=("Redis 7.0, one server (real)", "Redis 7.2 and newer, Valkey, replicas (not run here)"),
)
