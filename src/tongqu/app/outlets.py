"""Standard output and standard error as a shell may give them: closed, full, or unable to write Chinese."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Mapping
from contextlib import suppress
from typing import Any, TextIO


class UnwritableError(Exception):
    """Standard output takes no more; the text says why."""


def ready() -> None:
    """Make all three standard streams usable, whatever this process was given.

    One that is closed becomes the null device, so that no database or file of ours gets its number. Characters that the
    encoding does not have (a `✓` in GBK, Chinese in ASCII, an undecodable name of a file) are written as `\\u…` escapes
    instead of failing.
    """
    for number in range(3):
        try:
            os.fstat(number)
        except OSError:
            os.set_inheritable(os.open(os.devnull, os.O_RDWR), True)  # takes the lowest number that is free: this one
    for number, name in ((1, "stdout"), (2, "stderr")):
        if getattr(sys, name) is None:
            setattr(sys, name, open(number, "w", encoding="utf-8", closefd=False))  # noqa: SIM115  # stays open
        if reconfigure := getattr(getattr(sys, name), "reconfigure", None):
            reconfigure(errors="backslashreplace")


def say(text: str) -> None:
    """Text on stdout; raises UnwritableError, or BrokenPipeError where its reader has gone."""
    try:
        sys.stdout.write(text)
    except BrokenPipeError:
        raise
    except OSError as error:
        raise UnwritableError(error.strerror) from None


def say_document(document: Mapping[str, Any]) -> None:
    """One JSON document on stdout, at once; raises as `say`. What its encoding lacks stands as JSON's own escapes."""
    text = json.dumps(document, ensure_ascii=False, indent=2, default=str)
    try:
        text.encode(getattr(sys.stdout, "encoding", None) or "utf-8")
    except UnicodeEncodeError:
        text = json.dumps(document, indent=2, default=str)
    say(text + "\n")
    flush()


def tell(text: str) -> None:
    """A line on stderr, at once. One that nobody can read any more is no reason to stop what is being done."""
    with suppress(OSError):
        sys.stderr.write(text + "\n")
        sys.stderr.flush()


def flush() -> None:
    """Hand over what was said; raises as `say`."""
    try:
        sys.stdout.flush()
    except BrokenPipeError:
        raise
    except OSError as error:
        raise UnwritableError(error.strerror) from None


def leave() -> None:
    """What could not be written goes to the null device, so that the interpreter's end does not fail of it."""
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except OSError:
            _discard(stream)


def _discard(stream: TextIO) -> None:
    null = os.open(os.devnull, os.O_WRONLY)
    os.dup2(null, stream.fileno())
    os.close(null)
    stream.flush()
