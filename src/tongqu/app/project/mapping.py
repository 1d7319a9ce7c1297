"""`mapping: sheet.xlsx` in a pipeline: the steps that the mapping sheet stands for."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from tongqu.core.errors import InvalidSettingsError

VERB = "mapping"


def expanded(steps: Sequence[Any], folder: Path, path: str) -> list[tuple[int, Any, str]]:
    """Each step as (its place in the file, the step, the sheet it comes from), mapping steps as the steps of their
    sheets: the first of those reads what the mapping reads, the last has its name. Raises InvalidSettingsError or
    NotFoundError with the sheet's cell."""
    found: list[tuple[int, Any, str]] = []
    taken = 0
    for at, raw in enumerate(steps):
        if not isinstance(raw, Mapping) or VERB not in raw:
            found.append((at, raw, ""))
            continue
        taken += 1
        sheet = raw[VERB]
        where = f"{path}.steps[{at}]"
        if set(raw) - {"id", "from", VERB} or not isinstance(sheet, str):
            raise InvalidSettingsError(
                "a mapping step names one sheet", path=f"{where}.{VERB}", hint="mapping: mapping.xlsx"
            )
        from tongqu.catalog.mapping_sheet import read_sheet

        name = str(raw.get("id") or (VERB if taken == 1 else f"{VERB}_{taken}"))
        made = read_sheet(folder / sheet).steps()
        for number, step in enumerate(made):
            verb = next(iter(step))
            own: dict[str, Any] = {"id": name if number == len(made) - 1 else f"{name}_{verb}", **step}
            if number == 0 and "from" in raw:
                own["from"] = raw["from"]
            found.append((at, own, sheet))
    return found
