"""Effects on their way to a broker: one message for each, with its key."""

from __future__ import annotations

from dataclasses import dataclass

from tongqu.kit.messages.encoder import Encoder
from tongqu.kit.remote.effect import Effects, Op


@dataclass(frozen=True, slots=True)
class Post:
    """One message. `value` is None where it tells that its key is gone."""

    key: bytes | None
    value: bytes | None


def outgoing(encoder: Encoder, effects: Effects, at: int) -> list[Post]:
    """The message of each effect, in order, written at `at` (milliseconds since 1970)."""
    if effects.op is Op.DELETE:
        made = encoder.gone(effects.rows, at)
        both = zip(made.keys, made.values, strict=True)
        told = [Post(key, value) for key, value in both]
        if encoder.settings.envelope == "debezium":  # a broker without compaction needs no tombstone after it
            told = [post for post in told if post.value is not None]
        return told
    made = encoder.encode(effects.rows, at, "c" if effects.op is Op.CREATE else "u")
    return [Post(key, value) for key, value in zip(made.keys, made.values, strict=True)]
