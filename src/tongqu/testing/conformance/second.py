"""A second process that wants to write where another one is writing: prints how it was told."""

from __future__ import annotations

import sys
from pathlib import Path

from tongqu.core import registry
from tongqu.core.data import WriteMode
from tongqu.core.errors import TongquError
from tongqu.testing.conformance.place import Place, items


def main(name: str, url: str, home: str = "") -> str:
    """Try to begin the same sync; the code of the error, or `ok`."""
    place = Place(registry.connector(name), url, Path(home) if home else None)
    write = place.ask(items([]), WriteMode.APPEND)
    try:
        with place.sink() as sink:
            sink.start(write.sync, write.run, False)
            sink.open(write)
    except TongquError as error:
        return error.code
    return "ok"


if __name__ == "__main__":
    sys.stdout.write(main(*sys.argv[1:4]))
