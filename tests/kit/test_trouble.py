"""A part that fails for a while is told once, waits longer each time, and is told when it is over."""

from __future__ import annotations

import errno
import logging
import sqlite3

import pytest

from tongqu.core.errors import ConnectError
from tongqu.kit.trouble import LONGEST_SECONDS, REMIND_SECONDS, Trouble, passing, why

LOGGER = logging.getLogger("tongqu.tests.trouble")


class Hour:
    """A clock that a test sets."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


def test_a_trouble_is_told_once_and_again_when_it_is_another_or_lasts_or_ends(caplog: pytest.LogCaptureFixture) -> None:
    hour = Hour()
    trouble = Trouble("mail", "mail cannot be sent", LOGGER, clock=hour, chance=lambda: 1.0)
    full = sqlite3.OperationalError("database or disk is full")
    with caplog.at_level(logging.INFO, LOGGER.name):
        waits = [trouble.failed(full) for _ in range(8)]
        trouble.failed(OSError(errno.ENOSPC, "No space left on device", "/a"))  # the same in other words
        trouble.failed(OSError(errno.EMFILE, "Too many open files"))
        hour.now = REMIND_SECONDS
        trouble.failed(OSError(errno.EMFILE, "Too many open files"))
        assert trouble.lasting
        trouble.over()
        trouble.over()
    assert waits == [1.0, 2.0, 4.0, 8.0, *[LONGEST_SECONDS] * 4]
    said = [record.getMessage() for record in caplog.records]
    assert [text.partition(" (")[0] for text in said] == [
        "mail cannot be sent: the disk is full",
        "mail cannot be sent: this process has as many files open as it may",
        "mail cannot be sent: this process has as many files open as it may",
        "mail cannot be sent: over after 3600 s and 11 attempts",
    ]
    assert (trouble.total, trouble.lasting) == (11, False)


def test_only_what_may_be_a_mistake_in_the_program_has_a_trace(caplog: pytest.LogCaptureFixture) -> None:
    for error in (ConnectError("erp does not answer"), MemoryError(), KeyError("x")):
        Trouble("x", "x fails", LOGGER).failed(error)
    assert [bool(record.exc_info) for record in caplog.records] == [False, False, True]


def test_waits_differ_by_chance() -> None:
    assert Trouble("x", "x fails", LOGGER, chance=lambda: 0.0).failed(ConnectError("no")) == 0.5


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (MemoryError(), "there is no memory left (MemoryError)"),
        (RuntimeError("can't start new thread"), "there is no memory left (RuntimeError: can't start new thread)"),
        (OSError(errno.ENFILE, "Too many open files in system"), "this machine has as many files open as it may"),
        (ConnectError("jobs cannot be used: database or disk is full"), "the disk is full (jobs cannot be used"),
        (ConnectError("erp does not answer"), "erp does not answer"),
    ],
)
def test_what_a_machine_has_run_out_of_is_said_in_words(error: Exception, said: str) -> None:
    assert why(error).startswith(said)
    assert passing(error)
