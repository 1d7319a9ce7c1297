"""Makes attempts of a call until one succeeds or none may follow."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar

from tongqu.core.errors import AuthError, CancelledError, ConnectorError, TongquError
from tongqu.kit.http.auth.credentials import Ticket
from tongqu.kit.http.call import Call, Repeat, Reply
from tongqu.kit.http.clock import Clock
from tongqu.kit.http.exchange import Answer, Exchange
from tongqu.kit.http.outcome import judged
from tongqu.kit.http.request import Request, changes, repeat_of
from tongqu.kit.http.retry import Verdict, doubtful, failure, pause, unknown, verdict
from tongqu.kit.http.settings import Outcome, Retry, Timeouts
from tongqu.kit.http.sharing import Terms
from tongqu.kit.http.status import refusal
from tongqu.kit.http.watch import Watch

_T = TypeVar("_T")
_ERROR_BYTES = 256 * 1024


@dataclass(frozen=True)
class _Attempt:
    call: Call
    request: Request
    ticket: Ticket | None
    watch: Watch
    repeat: Repeat


@dataclass(frozen=True)
class Trials:
    """What all calls of a client share while they are tried."""

    timeouts: Timeouts
    retry: Retry
    clock: Clock
    exchange: Exchange
    terms: Terms
    outcome: Outcome | None = None

    def run(
        self, call: Call, request: Request, read: Callable[[Answer], _T], held: list[Answer] | None = None
    ) -> tuple[_T, int]:
        """The answer as `read` takes it in, and how many attempts it took. With `held` the answer stays open there
        and keeps its turn. Raises as `tongqu.kit.http.client.Http` says."""
        deadline = self.clock.monotonic() + (call.seconds or self.timeouts.call_seconds)
        repeat = repeat_of(call)
        what = f"{request.method} {request.place}"
        doubt = renewed = False
        attempt = 0
        self.terms.budget.deposit()
        while True:
            attempt += 1
            ticket = self._ticket(request, doubt=doubt, what=what)
            watch = Watch(self.timeouts, deadline - self.clock.monotonic(), call.stop, self.clock.monotonic)
            try:
                return self._attempt(_Attempt(call, request, ticket, watch, repeat), read, held), attempt
            except TongquError as error:
                if ticket and _rejected(error) and not renewed and self.terms.credentials.renew(ticket):
                    renewed = True
                    continue
                doubt = doubt or (changes(call) and watch.sent and doubtful(error))
                judged = verdict(error, repeat, sent=watch.sent, statuses=self.retry.statuses)
                wait = pause(self.retry, attempt, self.clock.random())
                spent = attempt >= self.retry.attempts or self.clock.monotonic() + wait > deadline
                if judged is not Verdict.AGAIN or spent or not self.terms.budget.take():
                    _tell(error, what, doubt=doubt)
                    raise
                self._pause(wait, call, error, what, doubt=doubt)

    def _ticket(self, request: Request, *, doubt: bool, what: str) -> Ticket | None:
        if not request.signed:
            return None
        try:
            return self.terms.credentials.ticket()
        except TongquError as error:
            _tell(error, what, doubt=doubt)
            raise

    def _pause(self, wait: float, call: Call, error: TongquError, what: str, *, doubt: bool) -> None:
        try:
            self.clock.wait(wait, call.stop)
        except CancelledError:
            _tell(error, what, doubt=doubt)
            raise

    def _attempt(self, attempt: _Attempt, read: Callable[[Answer], _T], held: list[Answer] | None) -> _T:
        place = attempt.request.origin.own
        self.terms.breaker.admit(place)
        entered = kept = False
        try:
            begun = self.clock.monotonic()
            self.terms.pace.enter(attempt.watch.left, attempt.call.stop)
            entered = True
            attempt.watch.spend(self.clock.monotonic() - begun)
            result, answer = self._answered(attempt, read)
            if held is not None:
                held.append(answer)
                kept = True
        except TongquError as error:
            if failure(error):
                self.terms.breaker.failed(place)
            elif attempt.watch.sent and isinstance(error, ConnectorError):
                self.terms.breaker.succeeded(place)
            else:
                self.terms.breaker.left(place)
            raise
        finally:
            if entered and not kept:
                self.terms.pace.leave()
        self.terms.breaker.succeeded(place)
        return result

    def _answered(self, attempt: _Attempt, read: Callable[[Answer], _T]) -> tuple[_T, Answer]:
        ticket, method = attempt.ticket, attempt.request.method
        sign = ticket.sign if ticket else _unsigned
        sure = attempt.repeat is Repeat.NEVER
        answer = self.exchange.answer(attempt.request, sign, attempt.watch, sure=sure)
        self.terms.pace.learn(answer.status, answer.headers)
        if not 200 <= answer.status < 300 and answer.status not in attempt.call.accepts:
            try:
                content = answer.beginning(_ERROR_BYTES)
            except ConnectorError:
                content = b""
            what = f"{method} {answer.request.place}"
            told = judged(self.outcome, content, what) if self.outcome else None
            if told and told.status != 400:
                raise told
            refused = refusal(answer.status, answer.headers, content, what)
            bare = ticket and not self.terms.credentials.given and not attempt.request.header("Authorization")
            if answer.status == 401 and bare:
                refused.hint = "; ".join(part for part in (refused.hint, _NO_AUTH) if part)
            raise refused
        try:
            result = read(answer)
        except BaseException:
            answer.close()
            raise
        if ticket and isinstance(result, Reply) and self.terms.credentials.refuses(result):
            error = AuthError(f"{method} {answer.request.place}: the system no longer accepts the token")
            error.status, error.answer = 401, result.content[:_ERROR_BYTES]
            raise error
        if self.outcome and isinstance(result, Reply):
            told = judged(self.outcome, result.content, f"{method} {answer.request.place}")
            if told:
                raise told
        return result, answer


_NO_AUTH = "the connection gives no credentials: write `auth`, see docs/http.md"


def _unsigned(request: Request) -> Request:
    return request


def _rejected(error: TongquError) -> bool:
    return isinstance(error, AuthError) and error.status == 401


def _tell(error: TongquError, what: str, *, doubt: bool) -> None:
    """Say in the error which call it was; raises UnknownOutcomeError instead where that is what it means."""
    if doubt:
        raise unknown(error, what) from error
    error.path = error.path or what
