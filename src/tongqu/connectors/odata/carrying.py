"""Brings calls to a service: several in one `$batch` where the service takes it, each by itself where it does not."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import replace
from threading import Lock
from typing import Literal

from tongqu.connectors.odata.batches import Answers, Asked, as_json, multipart, of_json, parted
from tongqu.connectors.odata.service import Service
from tongqu.core.errors import (
    AnswerError,
    CallRefusedError,
    InvalidPlanError,
    NotFoundError,
    TongquError,
    UnknownOutcomeError,
)
from tongqu.kit.http.call import Call, Repeat, Reply
from tongqu.kit.http.status import refusal

Batch = Literal["auto", "multipart", "json", "off"]
Found = Reply | TongquError

_log = logging.getLogger(__name__)
_NOT_TAKEN = (400, 404, 405, 406, 415, 501)
"""Answers to a batch as a whole that say that none of its calls was looked at."""


class Carrier:
    """Sends calls of one writer; from several threads at once. `most` is how many go in one batch, 1 where the service
    takes none. `changeset` says which changes take place all or none; `divides`, whether rows of a refused change set
    are tried without those that it is refused for."""

    def __init__(self, service: Service, batch: Batch, most: int, changeset: Literal["row", "batch", "whole"]):
        self._service, self._atomic, self.divides = service, changeset != "row", changeset != "whole"
        self._version = service.model.version
        ways = {"auto": ["multipart", "json"], "multipart": ["multipart"], "json": ["json"], "off": []}[batch]
        if self._version == 2:
            ways = [way for way in ways if way != "json"]
        self._ways = ways if service.model.batches and most > 1 else []
        self._most = most
        self._lock = Lock()

    @property
    def most(self) -> int:
        """How many calls go in one."""
        return self._most if self._ways else 1

    def read(self, asked: Sequence[Asked], accepts: Sequence[int]) -> list[Found]:
        """Calls that change nothing: what each was answered with, an error for a status that is not accepted."""
        if len(asked) > 1 and self._ways:
            answers = self._batch(asked, changes=False)
            if answers is not None:
                lost = UnknownOutcomeError("the answer of the batch has no part for this call")
                return [self._judged(asked[at], answers.of.get(at), accepts) or lost for at in range(len(asked))]
        return [self._alone(one, accepts, safe=True) for one in asked]

    def change(self, asked: Sequence[Asked], accepts: Sequence[int]) -> list[Found]:
        """Calls that change something: what each was answered with, or the error that it is. An error that several
        share, the very same object, is of all of them together. Raises as `Service.change` does for all of them."""
        found: dict[int, Found] = {}
        waiting = list(range(len(asked)))
        while len(waiting) > 1 and self._ways:
            answers = self._batch([asked[place] for place in waiting], changes=True)
            if answers is None:
                break
            went, left = self._sorted([asked[place] for place in waiting], answers, accepts)
            found |= {waiting[at]: one for at, one in went.items()}
            waiting = [waiting[at] for at in left]
        if len(waiting) > 1 and not self.divides:
            raise InvalidPlanError(
                "the service takes no $batch, so its changes cannot take place all or none", path="write.changeset",
                hint="changeset: row, where each row may be written by itself",
            )  # fmt: skip
        for place in waiting:
            found[place] = self._alone(asked[place], accepts, safe=False, lone=len(asked) == 1)
        return [found[place] for place in range(len(asked))]

    def _sorted(
        self, asked: Sequence[Asked], answers: Answers, accepts: Sequence[int]
    ) -> tuple[dict[int, Found], list[int]]:
        """What is answered, and the calls that certainly were not carried out and go again: fewer than there were."""
        everyone = range(len(asked))
        if answers.refused:
            reply, blamed = answers.refused[0]
            named = asked[min(blamed)] if len(blamed) == 1 else asked[0]
            if reply.status in (412, 428) or (len(blamed) == 1 and reply.status in accepts):
                answer: Found = reply
            else:
                answer = self._error(named, reply)
            if not self.divides or not blamed or reply.status >= 500:
                return dict.fromkeys(everyone, answer), []
            return dict.fromkeys(blamed, answer), [at for at in everyone if at not in blamed]
        found = {at: one for at in everyone if (one := self._judged(asked[at], answers.of.get(at), accepts))}
        missing = [at for at in everyone if at not in found]
        last = answers.of[max(answers.of)] if answers.of else None
        stopped = self._version == 4 and not self._atomic and last is not None and last.status >= 400
        if stopped and missing == list(range(len(found), len(asked))):
            return found, missing  # the service stops at an error: what follows it was not looked at
        lost = UnknownOutcomeError("the answer of the batch has no part for this call, which may have been carried out")
        return found | dict.fromkeys(missing, lost), []

    # ---- one batch

    def _batch(self, asked: Sequence[Asked], *, changes: bool) -> Answers | None:
        """What a batch was answered with; None where the service takes none, which is remembered."""
        for way in list(self._ways):
            put, read = (as_json, of_json) if way == "json" else (multipart, parted)
            kind, body = put(asked, changes=changes, atomic=self._atomic)
            headers = {"Content-Type": kind, "Accept": "application/json" if way == "json" else "multipart/mixed"}
            if self._version == 4:
                headers |= {"OData-Version": "4.01" if way == "json" else "4.0", "OData-MaxVersion": "4.01"}
                headers["Prefer"] = "odata.continue-on-error"
            else:
                headers |= {"DataServiceVersion": "2.0", "MaxDataServiceVersion": "2.0"}
            repeat = Repeat.NEVER if changes else Repeat.SAFE
            url = self._service.url("$batch")
            call = Call("POST", url, (), headers, body, repeat, accepts=_NOT_TAKEN, keep_seconds=0)
            reply = self._service.change(call)
            if reply.status not in _NOT_TAKEN:
                try:
                    answers = read(reply, len(asked), changes=changes, atomic=self._atomic)
                except AnswerError as error:  # nobody knows what became of its calls
                    raise UnknownOutcomeError(error.message, path=error.path) from error
                plain = {at: replace(one, content=self._service.plain(one.content)) for at, one in answers.of.items()}
                return replace(answers, of=plain)
            self._refused(way, url.partition("?")[0], reply.status)
        return None

    def _refused(self, way: str, where: str, status: int) -> None:
        """Remember that batches are not taken so, and tell it once."""
        with self._lock:
            left = [one for one in self._ways if one != way]
            first, self._ways = len(left) < len(self._ways), left
        if first:
            then = f"{left[0]} is tried" if left else "each change is a call of its own now"
            _log.warning("%s: the service takes no $batch as %s (status %d): %s", where, way, status, then)

    def _judged(self, one: Asked, reply: Reply | None, accepts: Sequence[int]) -> Found | None:
        if reply is None or 200 <= reply.status < 300 or reply.status in accepts:
            return reply
        return self._error(one, reply)

    @staticmethod
    def _error(one: Asked, reply: Reply) -> TongquError:
        return refusal(reply.status, reply.headers, reply.content, f"{one.method} {one.path} in a batch")

    # ---- one call

    def _alone(self, one: Asked, accepts: Sequence[int], *, safe: bool, lone: bool = False) -> Found:
        url, headers, body = self._service.url(one.path), one.headers, one.body.encode()
        try:
            if safe:
                return self._service.send(
                    Call("GET", url, (), headers, b"", Repeat.SAFE, accepts=accepts, keep_seconds=0)
                )
            repeat = None if one.method in ("PUT", "DELETE") and "If-Match" not in headers else Repeat.NEVER
            return self._service.change(Call(one.method, url, (), headers, body, repeat, accepts=accepts))
        except TongquError as error:
            if lone and not isinstance(error, CallRefusedError | NotFoundError):
                raise
            return error
