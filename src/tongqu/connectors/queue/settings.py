"""Settings of a queue, and its URL form."""

from __future__ import annotations

from typing import Literal

from tongqu.core.settings import Endpoint, titled
from tongqu.kit.local_path import absolute, local_path
from tongqu.kit.queue.queue import Keep, Queue

_DAY = 86_400.0


class QueueSettings(Endpoint):
    """A durable queue in a file."""

    path: str = titled("文件", "File", min_length=1)
    """Path of the file, relative to the project's folder; a sink creates it, a source never does."""
    keep_days: float | None = titled("保留天数", "Days to keep", 7.0, gt=0)
    """Records that are older are dropped; empty: never because of their age."""
    keep_bytes: int | None = titled("每主题保留字节数", "Bytes to keep per topic", None, gt=0)
    """The oldest records of a topic that has more than this are dropped."""
    drop_unread: bool = titled("允许丢弃未读记录", "Drop unread records", False)
    """Whether records are dropped although a pipeline that follows the topic has not read them; that pipeline then
    stops and says so. Otherwise they are kept for as long as it takes."""
    file_bytes: int | None = titled("文件上限字节数", "Most bytes of the file", None, ge=1_048_576)
    """When the file has grown to this, writers stop as on a full disk until there is room again."""
    start: Literal["whole", "oldest", "newest"] = titled("起点", "Where to begin", "whole")
    """Where a pipeline begins that follows a topic for the first time: `whole`: at its first record, refused where the
    changes of a table begin with records that are dropped already; `oldest`: at the oldest that is kept; `newest`:
    after the last."""
    busy_seconds: float = titled("锁等待(秒)", "Busy timeout, seconds", 30.0, ge=0)
    """Give up after waiting this long for another process that is writing the file."""

    def identity(self) -> str:
        """See Endpoint.identity."""
        return f"queue://{absolute(self.path)}"

    def display(self) -> str:
        """See Endpoint.display."""
        return f"queue:{self.path}"

    def opened(self) -> Queue:
        """The queue; nothing is opened before it is used."""
        seconds = None if self.keep_days is None else self.keep_days * _DAY
        keep = Keep(self.keep_bytes, seconds, self.drop_unread, self.file_bytes)
        return Queue(self.path, keep, busy_seconds=self.busy_seconds)


def from_url(url: str) -> QueueSettings:
    """Settings from `queue:rel.queue` or `queue:///abs.queue`, with settings as query parameters."""
    path, query = local_path(url)
    return QueueSettings.parse({"path": path, **query}, "url")
