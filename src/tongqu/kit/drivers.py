"""Imports a driver on first use and says which extra brings a missing one."""

from __future__ import annotations

import importlib
from contextlib import suppress
from threading import Thread
from typing import Any

from tongqu.core.errors import MissingDriverError


def driver(module: str, extra: str) -> Any:
    """The imported module; raises MissingDriverError naming the extra."""
    try:
        return importlib.import_module(module)
    except ModuleNotFoundError as error:
        if error.name and not module.startswith(error.name.split(".")[0]):
            raise
        raise MissingDriverError(
            f"the {extra} connector needs the package {module.partition('.')[0]!r}, which is not installed",
            hint=f"pip install 'tongqu[{extra}]'",
            params={"extra": extra, "module": module},
        ) from error


def ahead(module: str) -> None:
    """Begin to import a driver that will be needed, beside what is waited for. Who needs it learns if it is missing."""

    def work() -> None:
        with suppress(ImportError):
            importlib.import_module(module)

    Thread(target=work, name="tongqu-import", daemon=True).start()
