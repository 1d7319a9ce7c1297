"""Programs of our own that stand for other people's, installed in a folder: they behave as they are told."""

from __future__ import annotations

import sys
from pathlib import Path

from tongqu.kit.foreign.shelf import VENV, Installed, Shelf

TAP, TARGET, SOURCE, DLT = "tap-mock", "target-mock", "source-mock", "dlt-mock"
_SCRIPTS = {TAP: "foreign_tap.py", TARGET: "foreign_target.py", SOURCE: "foreign_airbyte.py", DLT: "foreign_dlt.py"}


def furnished(folder: Path) -> Path:
    """Install the mock programs, as packages of their names, into a folder; returns it."""
    shelf = Shelf(folder)
    for name, script in _SCRIPTS.items():
        path = Path(__file__).with_name(script)
        program = "python" if name == DLT else name
        put(shelf, name, program, f'#!/bin/sh\nexec "{sys.executable}" -I -S "{path}" "$@"\n')
    return folder


def put(shelf: Shelf, name: str, program: str, text: str) -> None:
    """Install a package with one program, which is this text."""
    place = shelf.place(name) / VENV / "bin"
    place.mkdir(parents=True)
    file = place / program
    file.write_text(text, encoding="utf-8")
    file.chmod(0o700)
    shelf.write(Installed(name, "1", "", 1, (program,), "", ""))
