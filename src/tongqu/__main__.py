"""The command `tongqu`, and `python -m tongqu`: clears the process title of passwords, then loads the command line."""

from __future__ import annotations

import sys
from typing import Any


def main() -> None:
    """Run the command line. Ctrl-C while it is being loaded stops it once it is there, without a traceback: exit 1; the
    second quits at once. SIGTERM meanwhile stops a command that goes on for long in order, once it can."""
    from tongqu.app import early

    early.keep()
    from tongqu.app.cli.title import clear_title

    clear_title(sys.argv[1:])
    import os
    import signal

    asked: list[int] = []

    def later(number: int, frame: Any) -> None:
        del frame
        if asked:
            os._exit(1)
        asked.append(number)

    before = signal.getsignal(signal.SIGINT)
    if before is signal.default_int_handler:  # else it is ignored, as `nohup` and shells ask for
        signal.signal(signal.SIGINT, later)
    from tongqu.app.cli.main import main as command
    from tongqu.app.cli.main import reordered

    def loaded() -> None:
        early.settle(next(iter(reordered(sys.argv[1:])), ""))
        _restored(before, asked)

    command(before=loaded)


def _restored(handler: Any, asked: list[int]) -> None:
    import signal

    signal.signal(signal.SIGINT, handler)
    if asked:
        raise KeyboardInterrupt


if __name__ == "__main__":
    main()
