"""Finds the datasets of a source that a name means."""

from __future__ import annotations

from tongqu.core.connector import Source
from tongqu.core.data import Dataset
from tongqu.core.errors import NotFoundError
from tongqu.kit.ledger import PREFIX
from tongqu.kit.patterns import nearest


def datasets_of(source: Source, name: str, side: str) -> list[Dataset]:
    """The datasets that a name or glob means, the one of exactly that name if there is one; raises NotFoundError."""
    found = [dataset for dataset in source.datasets([name]) if not dataset.name.rpartition(".")[2].startswith(PREFIX)]
    exact = [dataset for dataset in found if dataset.name == name]
    if not found:
        known = [dataset.name for dataset in source.datasets(None)]
        raise NotFoundError(
            f"there is no table {name!r} on the {side} side", params={"name": name},
            hint=f"similar or present: {nearest(name, known) or 'none'}",
        )  # fmt: skip
    return exact or found
