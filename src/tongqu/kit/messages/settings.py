"""What a user says about the messages of one topic, queue or subject: their format, envelope and fields."""

from __future__ import annotations

from typing import Literal

from pydantic import field_validator

from tongqu.core.settings import Names, Settings, titled

Format = Literal["json", "avro", "protobuf", "text", "bytes"]
Envelope = Literal["plain", "upsert", "debezium", "canal"]


class MessageSettings(Settings):
    """How the messages of one dataset are read and written."""

    format: Format = titled("格式", "Format", "json")
    """`avro` and `protobuf` need a schema registry; `text` and `bytes` make one column, `value`."""
    envelope: Envelope = titled("信封", "Envelope", "plain")
    """What a message tells: a row (`plain`), the newest state of its key, or that it is gone (`upsert`, compacted
    topics), a change as Debezium or canal writes it."""
    key: Names = titled("键", "Key", ())
    """Fields that tell rows apart; needed for changes. Left out: those of the message key in the sample."""
    fields: dict[str, str] = titled("字段", "Fields", {})
    """Names and types of the fields: `{id: int64, amount: "decimal(12,2)", at: timestamptz}`. Left out: learnt from a
    sample of messages."""
    others: Literal["", "error", "ignore"] = titled("未知字段", "Unknown fields", "")
    """What becomes of a message with a field that is not known: `error` sets it aside in quarantine, `ignore` leaves
    the field out. Left out: `ignore` where fields are declared, else `error`."""
    times: Literal["s", "ms", "us", "ns"] = titled("时间单位", "Unit of times", "ms")
    """What a number in a field of a time counts, since 1970-01-01 UTC; numbers in dates are days."""
    table: str = titled("表", "Table", "")
    """Only changes of this table, where messages of several come together: `orders` or `sales.orders`."""
    message: str = titled("消息类型", "Message type", "")
    """Protobuf: the message's full name; left out, that which the message's own index names."""

    @field_validator("fields")
    @classmethod
    def _known(cls, value: dict[str, str]) -> dict[str, str]:
        from tongqu.kit.formats.types import named

        for name, kind in value.items():
            named(name, kind)
        return value

    @property
    def strict(self) -> bool:
        """Whether a field that is not known makes a message bad."""
        return self.others == "error" or (not self.others and not self.fields)

    @property
    def changes(self) -> bool:
        """Whether messages tell changes."""
        return self.envelope != "plain"
