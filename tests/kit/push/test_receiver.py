"""What a receiver meets is told to who reads."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from threading import Event
from time import monotonic, sleep

import pytest

from tongqu.kit.push.receiver import Patience, Receiver
from tongqu.kit.push.spool import Message, Spool

SECONDS = 60.0


class Broken:
    """A feed with a defect."""

    wait: float | None = None

    def messages(self, resume: str, stop: Event) -> Iterator[Message]:
        del resume, stop
        yield Message(b"one", 1.0, "1")
        raise ValueError("a defect")


def test_a_defect_ends_the_stream_instead_of_silence(tmp_path: Path) -> None:
    spool = Spool(tmp_path, 1.0)
    spool.declare("t")
    receiver = Receiver(spool, "t", Broken(), Patience(0.1, 0.1))
    receiver.start()
    until = monotonic() + SECONDS
    try:
        with pytest.raises(ValueError, match="a defect"):
            while monotonic() < until:
                receiver.check()
                sleep(0.01)
    finally:
        receiver.close()
        assert spool.resume("t") == "1"
        spool.close()


def test_a_server_that_wants_no_wait_gets_a_short_one() -> None:
    assert [Patience(1.0, 60.0).after(failures, 0.0, 1.0) for failures in (1, 2, 3)] == pytest.approx([0.1, 0.2, 0.4])
