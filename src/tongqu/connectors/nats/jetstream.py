"""JetStream's interface: what streams there are, reading one from a sequence, and the shapes that we wrote.

Source: "JetStream wire API Reference" (docs.nats.io): questions and answers in JSON under `$JS.API`.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from time import monotonic
from typing import Any

from tongqu.connectors.nats.settings import NatsSettings
from tongqu.connectors.nats.wire import Message, Wire
from tongqu.core.errors import (
    BusyError,
    ConnectError,
    InvalidPlanError,
    LostPositionError,
    NotFoundError,
    PrivilegeError,
    ReadError,
    TongquError,
)

INTERNAL = ("KV_", "OBJ_", "_tongqu_", "$")
_NO_STREAM, _NO_CONSUMER, _NO_MESSAGE, _NO_JETSTREAM, _NAME_TAKEN = 10059, 10014, 10037, (10039, 10076), 10058
_BYTES, _MOST = 8 << 20, 5_000


@dataclass(frozen=True)
class Stream:
    """What the server tells of a stream. `made` tells it from another of the same name; sequences begin at 1."""

    name: str
    made: str
    first: int
    last: int
    messages: int
    bytes: int
    config: Mapping[str, Any]

    @property
    def at_once(self) -> int:
        """How many messages are asked for at a time, so that they fit into memory."""
        return max(1, min(_MOST, _BYTES * max(self.messages, 1) // max(self.bytes, 1)))

    @property
    def seconds(self) -> float | None:
        """How long messages are kept; None for as long as there is room."""
        nanoseconds = int(self.config.get("max_age") or 0)
        return nanoseconds / 1e9 if nanoseconds else None


class JetStream:
    """Questions to one server over one connection; not thread-safe."""

    def __init__(self, settings: NatsSettings):
        self.settings = settings
        self.wire = Wire(settings)
        self.where = self.wire.where
        self._api = f"$JS.{settings.domain}.API" if settings.domain else "$JS.API"

    def ask(self, what: str, question: Mapping[str, Any] | None = None, missing: str = "") -> dict[str, Any]:
        """The answer; raises NotFoundError for what is not there, and others of what the server refuses."""
        came = self.wire.ask(f"{self._api}.{what}", question)
        if came.status == 503:
            raise NotFoundError("the server has no JetStream", path=self.where, hint="start it with JetStream (-js)")
        answer: dict[str, Any] = json.loads(came.data)
        if "error" in answer:
            raise self._refused(answer["error"], missing)
        return answer

    def _refused(self, error: Mapping[str, Any], missing: str) -> TongquError:
        number, text = int(error.get("err_code", 0)), str(error.get("description", ""))
        if number in (_NO_STREAM, _NO_CONSUMER, _NO_MESSAGE):
            return NotFoundError(missing or text, path=self.where, hint="check the stream's name and the prefix")
        if number in _NO_JETSTREAM:
            return PrivilegeError(f"JetStream: {text}", path=self.where, hint="enable JetStream for this account")
        if int(error.get("code", 0)) == 503:
            return ConnectError(f"JetStream: {text}", path=self.where, hint="try again when the cluster has a leader")
        return ReadError(f"JetStream: {text}", path=self.where)

    # ---- streams

    def names(self) -> list[str]:
        """The streams that are no internal ones, below the prefix."""
        found: list[str] = []
        while True:
            page = self.ask("STREAM.NAMES", {"offset": len(found)})
            found += page.get("streams") or []
            if not page.get("streams") or len(found) >= int(page["total"]):
                break
        prefix = self.settings.prefix
        held = [name for name in found if name.startswith(prefix)]
        return sorted(name for name in held if not name[len(prefix) :].startswith(INTERNAL))

    def stream(self, name: str) -> Stream:
        """What there is of a stream now; raises NotFoundError."""
        told = self.ask(f"STREAM.INFO.{name}", missing=f"there is no stream {name!r}")
        state, config = told["state"], told["config"]
        return Stream(
            name, told["created"], max(int(state["first_seq"]), 1), int(state["last_seq"]), int(state["messages"]),
            int(state["bytes"]), config,
        )  # fmt: skip

    def create(self, name: str, subjects: Sequence[str], *, newest: bool = False) -> None:
        """Make a stream that keeps its messages; harmless if it is there. `newest`: one message of each subject."""
        seconds = self.settings.duplicates_seconds
        wanted = {
            "name": name, "subjects": list(subjects), "retention": "limits", "storage": "file", "max_consumers": -1,
            "max_msgs": -1, "max_bytes": -1, "max_age": 0, "max_msg_size": -1, "discard": "old",
            "num_replicas": self.settings.replicas, "duplicate_window": int(seconds * 1e9),
            "max_msgs_per_subject": 1 if newest else -1,
        }  # fmt: skip
        try:
            self.stream(name)
        except NotFoundError:
            self.ask(f"STREAM.CREATE.{name}", wanted)

    def message(self, stream: str, question: Mapping[str, Any]) -> dict[str, Any] | None:
        """One stored message (`{seq}`, `{last_by_subj}`, `{next_by_subj, seq}`); None if there is none."""
        try:
            found: dict[str, Any] = self.ask(f"STREAM.MSG.GET.{stream}", question)["message"]
        except NotFoundError:
            return None
        return found

    # ---- reading

    def reading(self, stream: Stream, subject: str, after: int) -> Reading:
        """Messages behind a sequence. Raises InvalidPlanError for a stream that gives each message once only."""
        return Reading(self, stream, subject, after)

    def newest(self, stream: Stream, subject: str, count: int) -> list[Message]:
        """Up to so many of the newest messages, of a subject among them."""
        if not stream.messages:
            return []
        reading = self.reading(stream, subject, max(stream.first - 1, stream.last - count))
        try:
            found = [message for part in reading.until(stream.last) for message in part]
        finally:
            reading.close()
        if not found and subject:
            last = self.message(stream.name, {"last_by_subj": subject})
            if last is not None and int(last["seq"]) <= stream.last:
                reading = self.reading(stream, subject, int(last["seq"]) - 1)
                try:
                    return [message for part in reading.until(stream.last) for message in part]
                finally:
                    reading.close()
        return found

    def close(self) -> None:
        """Release the connection; may be called twice."""
        self.wire.close()


class Reading:
    """Pulls a stream's messages in order from a sequence on, through a consumer that is forgotten by itself. `at` is
    the sequence of the last message that came, or of one behind it of which is known that none before is for us."""

    def __init__(self, jetstream: JetStream, stream: Stream, subject: str, after: int):
        kept = stream.config.get("retention", "limits")
        if kept != "limits":
            raise InvalidPlanError(
                f"the stream {stream.name!r} gives messages up once they are consumed (retention: {kept})",
                path=jetstream.where, hint="source it into a stream with retention: limits, and read that",
            )  # fmt: skip
        self.at = after
        self.stream = stream
        self._js, self._wire = jetstream, jetstream.wire
        self._sid, self._inbox = self._wire.subscribe()
        config: dict[str, Any] = {
            "deliver_policy": "by_start_sequence", "opt_start_seq": after + 1, "ack_policy": "none",
            "replay_policy": "instant", "max_deliver": 1, "num_replicas": 1, "mem_storage": True,
            "inactive_threshold": int(300e9), "description": "tongqu",
        } | ({"filter_subject": subject} if subject else {})  # fmt: skip
        made = self._js.ask(f"CONSUMER.CREATE.{stream.name}", {"stream_name": stream.name, "config": config})
        self._consumer = made["name"]
        self._counted = 0
        self._left = 0
        self._silent = True
        self._known: int | None = None
        if int(made.get("num_pending", 1)) == 0:
            self._pass(stream.last)  # what the stream had before the consumer was made is not for us

    def _pass(self, to: int) -> int:
        """Go on behind messages that are not for us; returns where the stream ends. Raises LostPositionError if what
        they were cannot be known, since they are gone."""
        now = self._js.stream(self.stream.name)
        if now.first > self.at + 1 or now.made != self.stream.made:
            raise lost(now, self.at, self._js.where)
        self.at = max(self.at, to)
        return now.last

    def ask(self) -> None:
        """Ask for the next messages, if none are asked for; they wait for a second for the first."""
        if self._left:
            return
        wanted = self.stream.at_once
        question = {"batch": wanted, "expires": int(1e9)}
        self._left, self._silent = wanted, True
        subject = f"{self._js._api}.CONSUMER.MSG.NEXT.{self.stream.name}.{self._consumer}"
        self._wire.publish(subject, json.dumps(question).encode(), reply=self._inbox)
        self._wire.flush()

    def take(self, message: Message) -> Message | None:
        """The message if it is one proper; None for a word of the server. Raises ConnectError if the consumer is gone,
        or has passed a message over."""
        if not message.status:
            sequence, counted, _ = told(message)
            if counted != self._counted + 1:
                raise ConnectError(f"{self.stream.name}: messages were lost on the way", path=self._js.where)
            self._counted, self.at, self._silent = counted, sequence, False
            self._left -= 1
            return message
        if message.status in (404, 408):
            self._left = 0
            if self._silent:
                self._known = self._pass(self.at if self._known is None else self._known)
            else:
                self._known = None
            return None
        if message.status == 100:
            return None
        reason = message.head.split(b"\r\n", 1)[0].decode("utf-8", "replace")[9:]
        raise ConnectError(f"the consumer of {self.stream.name} has ended: {reason}", path=self._js.where)

    def mine(self, message: Message) -> bool:
        """Whether a message came for this reading."""
        return message.sid == self._sid

    def until(self, last: int, most: int = _MOST) -> Iterator[list[Message]]:
        """The messages up to a sequence, in parts; an empty part about every second while nothing comes."""
        deadline = monotonic() + self._js.settings.answer_seconds
        while self.at < last:
            self.ask()
            part: list[Message] = []
            came = self._wire.next(1.0)
            while came is not None:
                found = self.take(came) if self.mine(came) else None
                if found is not None:
                    part.append(found)
                if self.at >= last or len(part) >= most:
                    break
                came = self._wire.next(0)
            if part:
                deadline = monotonic() + self._js.settings.answer_seconds
            elif monotonic() > deadline:
                raise ReadError(f"{self.stream.name} gives no more, and is not at its end", path=self._js.where)
            yield [message for message in part if told(message)[0] <= last]

    def close(self) -> None:
        """Have the server forget the consumer now instead of by itself."""
        self._wire.publish(f"{self._js._api}.CONSUMER.DELETE.{self.stream.name}.{self._consumer}", b"")
        self._wire.flush()


def told(message: Message) -> tuple[int, int, int]:
    """The stream's sequence of a message, the consumer's, and when it was stored (nanoseconds since 1970).

    They stand in its reply subject: `$JS.ACK.stream.consumer.delivered.sequence.consumer's.time.pending`, behind
    `$JS.ACK` a domain and an account where the server names them.
    """
    parts = message.reply.split(".")
    start = 4 if len(parts) == 9 else 6
    return int(parts[start + 1]), int(parts[start + 2]), int(parts[start + 3])


def lost(stream: Stream, after: int, where: str) -> LostPositionError:
    """The error for a position that the stream does not have any more."""
    return LostPositionError(
        f"the stream {stream.name} begins at {stream.first} and we have read up to {after}: its limits have overtaken "
        "us, it was purged, or it was made anew",
        path=where,
        hint="raise max_age, max_msgs or max_bytes of the stream above the longest outage; then sync again with "
        "--restart, which reads what the stream still has",
    )


def busy(stream: str, where: str) -> BusyError:
    """The error for a stream that changed while it was read."""
    return BusyError(f"the stream {stream} was made anew while it was read", path=where, hint="run again")


def instant(text: str) -> datetime:
    """A time as the server writes it, with nanoseconds."""
    whole, _, rest = text.rstrip("Z").partition(".")
    return datetime.fromisoformat(f"{whole}.{(rest or '0')[:6]:0<6}").replace(tzinfo=UTC)
