"""The connections of one SQL sink: its own, those its sessions share, and those that are being made ahead of use."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Future
from threading import RLock, Thread

from tongqu.kit.db import Db


class Connections:
    """Makes connections with `connect`, keeps those that sessions give back; safe to use from their threads.

    What goes wrong with a connection that is made ahead is raised by whoever asks for it.
    """

    def __init__(self, connect: Callable[[], Db]):
        self._connect = connect
        self._lock = RLock()
        self._control: Future[Db] | None = None
        self._idle: list[Future[Db]] = []
        self._foreseen = False

    def control(self) -> Db:
        """The sink's own connection, for everything that is not a split's."""
        with self._lock:
            if self._control is None:
                self._control = _made(self._connect)
            future = self._control
        try:
            return future.result()
        except BaseException:
            self.forget_control()
            raise

    def forget_control(self) -> None:
        """Close the sink's own connection; the next use makes a new one."""
        with self._lock:
            future, self._control = self._control, None
        if future is not None:
            _close(future)

    def lease(self) -> Db:
        """A connection for a session: one that another session gave back, one made ahead, or a new one."""
        with self._lock:
            future = self._idle.pop() if self._idle else None
        return future.result() if future is not None else self._connect()

    def give_back(self, db: Db) -> None:
        """Keep a connection without open transaction for the next session."""
        future: Future[Db] = Future()
        future.set_result(db)
        with self._lock:
            self._idle.append(future)

    def prepare(self) -> None:
        """Begin to make the sink's own connection, if there is none."""
        with self._lock:
            if self._control is None:
                self._control = _begun(self._connect)

    def ahead(self, sessions: int) -> None:
        """Begin to make connections for so many sessions that will soon ask; the first time only, later ones find
        what others gave back."""
        with self._lock:
            if not self._foreseen:
                self._idle += [_begun(self._connect) for _ in range(sessions)]
            self._foreseen = True

    def forget(self) -> None:
        """Close all that no session has: after one was lost, none of them can be trusted to be there."""
        with self._lock:
            idle, self._idle = self._idle, []
        for future in idle:
            _close(future)
        self.forget_control()

    def close(self) -> None:
        """Close all that no session has; may be called twice."""
        self.forget()


def _made(connect: Callable[[], Db]) -> Future[Db]:
    future: Future[Db] = Future()
    try:
        future.set_result(connect())
    except BaseException as error:  # noqa: BLE001  # raised by `result`
        future.set_exception(error)
    return future


def _begun(connect: Callable[[], Db]) -> Future[Db]:
    """A connection that is made in a thread of its own."""
    future: Future[Db] = Future()

    def work() -> None:
        try:
            future.set_result(connect())
        except BaseException as error:  # noqa: BLE001  # raised by `result`
            future.set_exception(error)

    Thread(target=work, name="tongqu-connect", daemon=True).start()
    return future


def _close(future: Future[Db]) -> None:
    """Close the connection, now or when it is there; one that could not be made needs no closing."""
    future.add_done_callback(lambda done: None if done.exception() else done.result().close())
