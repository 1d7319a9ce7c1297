"""One session of MongoDB as the kit's connection: a transaction that can be undone to a mark, by doing it again up to
there, since MongoDB itself undoes only the whole."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from functools import partial
from typing import Any, TypeVar

from tongqu.connectors.mongodb.failing import meaning, refusal
from tongqu.connectors.mongodb.reach import Reach
from tongqu.core.errors import BusyError, ConnectError, InvalidPlanError, RefusedRowsError, TongquError
from tongqu.kit.db import Db, Row
from tongqu.kit.ledger import PREFIX

T = TypeVar("T")
SESSIONS = f"{PREFIX}sessions"
_MOST_BYTES = 12_000_000
_MOST_DOCUMENTS = 20_000


class ConflictError(BusyError):
    """Another transaction was at the same documents; doing ours again helps."""


class RefusedDocumentError(RefusedRowsError):
    """The server refuses a document; `index` tells which of those that were sent."""

    def __init__(self, error: RefusedRowsError, index: int):
        super().__init__(error.message, field=error.field, hint=error.hint)
        self.index = index


class MongodbDb(Db):
    """`transactional` says whether what is done between `begin` and `commit` is done as a whole; if not, it is done at
    once and `rollback` undoes nothing."""

    def __init__(self, reach: Reach):
        self.reach = reach
        self.where = reach.where
        self.database = reach.database()
        self.transactional = reach.transactional
        self._session: Any = None
        self._done: list[Callable[[], Any]] = []
        self._marks: dict[str, int] = {}
        self._registered = False

    # ---- transactions

    def register(self, sync: str) -> None:
        """Note which session writes for a sync, so that whoever takes over can end its transaction: a server keeps that
        of a process which died for a minute."""
        if self._session is None or self._registered:
            return
        self._registered = True
        identity = self._session.session_id["id"]
        self.reach.sessions.add(bytes(identity))
        self.do(lambda: self.database[SESSIONS].insert_one({"_id": identity, "sync": sync}), again=False)

    @property
    def session(self) -> Any:
        """The driver's session, None where there are no transactions."""
        return self._session if self.transactional else None

    def begin(self) -> None:
        """See Db.begin."""
        if not self.transactional or (self._session is not None and self._session.in_transaction):
            return
        if self._session is None:
            self._session = self.reach.client().start_session()
        self._session.start_transaction()
        self._done.clear()
        self._marks.clear()

    def commit(self) -> None:
        """See Db.commit."""
        if self._session is not None and self._session.in_transaction:
            from pymongo.errors import PyMongoError

            try:
                self._session.commit_transaction()
            except PyMongoError as error:
                failure = self._meaning(error)
                raise (
                    ConnectError(failure.message, path=self.where, hint=failure.hint)
                    if isinstance(failure, ConflictError) else failure
                ) from None  # fmt: skip
        self._done.clear()
        self._marks.clear()

    def rollback(self) -> None:
        """See Db.rollback."""
        self.abandon()
        self._done.clear()
        self._marks.clear()

    def abandon(self) -> None:
        """End the transaction undone; `rollback_to` can still do its beginning again."""
        if self._session is not None and self._session.in_transaction:
            from pymongo.errors import PyMongoError

            try:
                self._session.abort_transaction()
            except PyMongoError:  # the server forgets a transaction of a lost connection by itself
                self._session = None

    def savepoint(self, name: str) -> None:
        """See Db.savepoint."""
        self._marks[name] = len(self._done)

    def rollback_to(self, name: str) -> None:
        """See Db.rollback_to."""
        again, marks = self._done[: self._marks[name]], dict(self._marks)
        if not self.transactional:
            return
        self.abandon()
        self.begin()
        for work in again:
            self.do(work)
        self._marks = marks

    def release(self, name: str) -> None:
        """See Db.release."""
        self._marks.pop(name, None)

    def close(self) -> None:
        """See Db.close."""
        self.rollback()
        if self._session is None:
            return
        if self._registered:
            which = {"_id": self._session.session_id["id"]}
            with suppress(TongquError):
                self.do(lambda: self.database[SESSIONS].delete_one(which), again=False)
        self._session.end_session()
        self._session = None

    # ---- work

    def do(self, work: Callable[[], T], *, again: bool = True) -> T:
        """Work of the open transaction, which is done again when that is undone to a mark; or beside it."""
        from bson.errors import BSONError
        from pymongo.errors import PyMongoError

        try:
            found = work()
        except (PyMongoError, BSONError) as error:
            raise self._meaning(error) from None
        if self.transactional and again:
            self._done.append(work)
        return found

    def one(self, collection: str, which: Mapping[str, Any]) -> Mapping[str, Any] | None:
        """The document that is meant, if there is one."""
        found: Mapping[str, Any] | None = self.do(
            lambda: self.database[collection].find_one(dict(which), session=self.session)
        )
        return found

    def _meaning(self, error: Exception) -> Exception:
        code = getattr(error, "code", None)
        if code in (112, 251, 24) or (code == 246 and "onflict" in str(error)):
            return ConflictError("another process is at the same documents", path=self.where, hint="run it again")
        return meaning(error, self.where)

    def send(self, collection: str, verb: str, key: str, documents: Any) -> list[Mapping[str, Any]]:
        """Send documents (BSON, as a binary array) by a command that takes many; the server's replies.

        In a transaction the first document that is refused raises RefusedDocumentError, and nothing is left of the
        transaction but what `rollback_to` brings back. Without one all others are written, and the replies have
        `writeErrors`.
        """
        from bson.raw_bson import RawBSONDocument

        replies: list[Mapping[str, Any]] = []
        start = 0
        for part in _parts(documents):
            listed = [RawBSONDocument(one) for one in part]

            def work(listed: Sequence[Any] = listed) -> Mapping[str, Any]:
                asked = {verb: collection, key: listed, "ordered": self.transactional}
                reply: Mapping[str, Any] = self.database.command(asked, session=self.session)
                return reply

            reply = dict(self._sent(work, start))
            for error in reply.get("writeErrors", ()):
                error["index"] += start
            replies.append(reply)
            start += len(part)
        return replies

    def _sent(self, work: Callable[[], Mapping[str, Any]], start: int) -> Mapping[str, Any]:
        from pymongo.errors import OperationFailure

        try:
            reply = work()
        except OperationFailure as error:
            errors = (error.details or {}).get("writeErrors")
            if errors:
                raise RefusedDocumentError(refusal(errors[0]), start + int(errors[0]["index"])) from None
            failure = self._meaning(error)
            if isinstance(failure, RefusedRowsError):
                raise RefusedDocumentError(failure, start) from None
            raise failure from None
        except Exception as error:
            self._raise(error)
            raise
        errors = reply.get("writeErrors") or []
        conflict = next((one for one in errors if one.get("code") in (112, 251)), None)
        if conflict:
            raise ConflictError("another process is at the same documents", path=self.where, hint="run it again")
        if errors and self.transactional:
            raise RefusedDocumentError(refusal(errors[0]), start + int(errors[0]["index"]))
        if self.transactional:
            self._done.append(work)
        return reply

    def _raise(self, error: Exception) -> None:
        from bson.errors import BSONError
        from pymongo.errors import PyMongoError

        if isinstance(error, PyMongoError | BSONError):
            raise self._meaning(error) from None

    def rows(self, sql: str, params: Sequence[Any] = ()) -> list[Row]:
        """MongoDB has no SQL."""
        raise InvalidPlanError(f"MongoDB has no SQL ({sql[:40]}, {len(params)} parameters)")

    def run(self, sql: str, params: Sequence[Any] = ()) -> int:
        """MongoDB has no SQL."""
        raise InvalidPlanError(f"MongoDB has no SQL ({sql[:40]}, {len(params)} parameters)")


def end_others(db: MongodbDb, sync: str) -> None:
    """End the sessions, and with them the open transactions, of other processes that wrote for a sync."""
    sessions = db.database[SESSIONS]
    for found in db.do(lambda: list(sessions.find({"sync": sync})), again=False):
        if bytes(found["_id"]) not in db.reach.sessions:
            db.do(partial(db.database.command, "killSessions", [{"id": found["_id"]}]), again=False)
            db.do(partial(sessions.delete_one, {"_id": found["_id"]}), again=False)


def _parts(documents: Any) -> list[list[bytes]]:
    """Documents in parts that one command can carry."""
    made: list[list[bytes]] = []
    size = _MOST_BYTES + 1
    for one in documents.to_pylist():
        if size + len(one) > _MOST_BYTES or len(made[-1]) >= _MOST_DOCUMENTS:
            made.append([])
            size = 0
        made[-1].append(one)
        size += len(one) + 16
    return made
