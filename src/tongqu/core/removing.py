"""How a source says that a row of its incremental reads was deleted."""

from __future__ import annotations

from typing import ClassVar


class Removing:
    """A source whose incremental reads tell what was deleted: as a row that has its key and, in one column, why."""

    removed: ClassVar[str]
    """That column; it is null in every other row, and datasets without it tell nothing of the kind."""
