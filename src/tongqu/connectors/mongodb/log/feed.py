"""One change stream of a database: where it is, and what the server sends of it, a batch of events at a time."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import Any

from tongqu.connectors.mongodb.failing import meaning
from tongqu.connectors.mongodb.ranges import dumped, loaded
from tongqu.connectors.mongodb.reach import Reach
from tongqu.core.data import Position
from tongqu.core.errors import ConnectError, InvalidPlanError, LostPositionError, ReadError, TongquError

RESYNC = "run it again with --restart, which reads all documents anew; a larger oplog keeps more (replSetResizeOplog)"
_LOST = (136, 260, 280, 286)
"""CappedPositionLost, InvalidResumeToken, ChangeStreamFatalError, ChangeStreamHistoryLost."""
_TOO_LARGE = 10334
_NOT_A_SET = 40573
_IMAGES = 17
"""Since this wire version (MongoDB 6.0) a collection may keep its documents as they were before and after changes."""
_MOST_BYTES = 8 * 1024 * 1024
NO_SET = (
    "start mongod with --replSet rs0 and run rs.initiate() once in mongosh: only members of a replica set (it may have "
    "a single one) and routers keep a change log"
)


@dataclass(frozen=True)
class Place:
    """Behind which event a reader is: its cluster time (seconds, number), the server's token for resuming there (in
    MongoDB's JSON, empty for "behind this time"), and the name of the replica set."""

    time: tuple[int, int]
    token: str = ""
    set: str = ""

    def position(self) -> Position:
        """As a position."""
        return {"time": list(self.time), "token": self.token, "set": self.set}


def place(position: Position) -> Place:
    """The opposite of `Place.position`."""
    first, second = position["time"]
    return Place((int(first), int(second)), str(position["token"]), str(position["set"]))


@dataclass(frozen=True)
class Sent:
    """What the server sent at once: events as BSON, the token behind them (empty if it told none), whether more may
    come at once, and whether the server has looked at all there is."""

    events: Sequence[bytes]
    token: str
    full: bool
    looked: bool


class Feed:
    """An open change stream over some collections of a database. Opening raises LostPositionError if the server no
    longer has what is behind the place."""

    def __init__(self, reach: Reach, names: Sequence[str], start: Place, size: int):
        self._reach, self._size = reach, size
        self._cursor, self._collection = 0, ""
        hello = reach.hello()
        if start.set != hello.get("setName", ""):
            raise LostPositionError(
                f"the place is of the replica set {start.set!r}, the server is of {hello.get('setName', '')!r}",
                path=reach.where, hint=RESYNC,
            )  # fmt: skip
        self._session = reach.client().start_session(causal_consistency=False)
        try:
            pipeline = _pipeline(names, start, images=int(hello.get("maxWireVersion", 0)) >= _IMAGES)
            asked = {"aggregate": 1, "pipeline": pipeline, "cursor": {"batchSize": size}}
            self._first: Sent | None = self._ask(asked, "firstBatch")
        except BaseException:
            self._session.end_session()
            raise

    def take(self, seconds: float) -> Sent:
        """What has come; waits at most so long for the first of it."""
        first, self._first = self._first, None
        if first is not None and first.events:
            return first
        if not self._cursor:
            raise ConnectError("the server ended the change stream", path=self._reach.where)
        asked = {"getMore": self._cursor, "collection": self._collection, "batchSize": self._size}
        return self._ask(asked | {"maxTimeMS": max(1, int(seconds * 1000))}, "nextBatch")

    def close(self) -> None:
        """Let the server forget the stream."""
        from pymongo.errors import PyMongoError

        cursor, self._cursor = self._cursor, 0
        with suppress(PyMongoError, TongquError):
            if cursor:
                asked = {"killCursors": self._collection, "cursors": [cursor]}
                self._reach.database().command(asked, session=self._session)
        self._session.end_session()

    def _ask(self, asked: Mapping[str, Any], part: str) -> Sent:
        from bson.codec_options import CodecOptions
        from bson.raw_bson import RawBSONDocument

        raw: Any = CodecOptions(document_class=RawBSONDocument)
        with told(self._reach.where):
            reply = self._reach.database().command(dict(asked), session=self._session, codec_options=raw)
            cursor = reply["cursor"]
            self._cursor = int(cursor["id"])
            self._collection = str(cursor["ns"]).partition(".")[2]
            events = [bytes(one.raw) for one in cursor[part]]
            token = cursor.get("postBatchResumeToken")
            full = len(events) >= self._size or sum(map(len, events)) >= _MOST_BYTES
            return Sent(events, text_of(token.raw) if token is not None else "", full, part == "nextBatch")


def text_of(token: bytes) -> str:
    """A token (BSON) as text for a position."""
    import bson

    return dumped(bson.decode(token))


def seen(token: str) -> tuple[int, int]:
    """The time up to which a token that came without events says that all has been seen: just below its own, which
    MongoDB's tokens (key strings in hexadecimal digits) begin with. Zero for tokens of other servers."""
    _, _, data = token.partition('"_data": "82')
    try:
        whole = (int(data[:8], 16) << 32 | int(data[8:16], 16)) - 1
    except ValueError:
        return 0, 0
    return whole >> 32, whole & 0xFFFFFFFF


def _pipeline(names: Sequence[str], start: Place, *, images: bool) -> list[dict[str, Any]]:
    """What is asked of the server: the events of these collections, with images where they are kept. A before image is
    wanted of deletes only, and what an update changed is in its document."""
    from bson import Timestamp

    options: dict[str, Any] = {"fullDocument": "whenAvailable", "fullDocumentBeforeChange": "whenAvailable"}
    options = options if images else {}
    if start.token:
        options["resumeAfter"] = loaded(start.token)
    else:
        options["startAtOperationTime"] = Timestamp(start.time[0], start.time[1] + 1)
    ours = {"$in": list(names)}
    ends = {"operationType": {"$in": ["invalidate", "dropDatabase"]}}
    steps: list[dict[str, Any]] = [
        {"$changeStream": options}, {"$match": {"$or": [{"ns.coll": ours}, {"to.coll": ours}, ends]}},
        {"$project": {"updateDescription": 0}},
    ]  # fmt: skip
    if images:
        deleted = {"$eq": ["$operationType", "delete"]}
        before = {"$cond": [deleted, "$fullDocumentBeforeChange", "$$REMOVE"]}
        steps.append({"$set": {"fullDocumentBeforeChange": before}})
    return steps


@contextmanager
def told(where: str) -> Iterator[None]:
    """Raise what the driver says of a change stream as our errors."""
    from bson.errors import BSONError
    from pymongo.errors import PyMongoError

    try:
        yield
    except (PyMongoError, BSONError) as error:
        raise _failure(error, where) from None


def _failure(error: Exception, where: str) -> TongquError:
    found, code = meaning(error, where, reading=True), getattr(error, "code", None)
    if code in _LOST:
        return LostPositionError(f"the server no longer has this place: {found.message}", path=where, hint=RESYNC)
    if code == _TOO_LARGE:
        hint = "switch the images of the collection off (changeStreamPreAndPostImages), then --restart"
        return ReadError(f"a change is larger than 16 MB: {found.message}", path=where, hint=hint)
    return InvalidPlanError(found.message, path=where, hint=NO_SET) if code == _NOT_A_SET else found
