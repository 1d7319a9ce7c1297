"""Names with places for columns, one for each row: a subject, an exchange, a routing key, a topic."""

from __future__ import annotations

from collections.abc import Sequence
from string import Formatter
from typing import TYPE_CHECKING, Annotated

from pydantic import AfterValidator

from tongqu.core.errors import InvalidPlanError

if TYPE_CHECKING:
    import pyarrow as pa


def names_in(template: str) -> list[str]:
    """The places of a template; raises ValueError for what is no plain `{column}`."""
    found = []
    for _, name, spec, conversion in Formatter().parse(template):
        if name is None:
            continue
        if not name or spec or conversion or any(character in name for character in ".[]"):
            raise ValueError(f"{template!r}: a place is a column's name in braces; write {{{{ for a brace")
        found.append(name)
    return found


def _placed(value: str) -> str:
    names_in(value)
    return value


Placed = Annotated[str, AfterValidator(_placed)]
"""A setting that is a template."""


class Template:
    """A name for each row. Raises InvalidPlanError for a place that no column fills."""

    def __init__(self, text: str, columns: Sequence[str], path: str):
        self._parts = [(before, name) for before, name, _, _ in Formatter().parse(text)]
        self.places = names_in(text)
        for name in self.places:
            if name not in columns:
                raise InvalidPlanError(
                    f"{text!r} needs a column {name!r}, which does not arrive", path=path,
                    hint=f"columns: {', '.join(columns)}",
                )  # fmt: skip

    def of(self, rows: pa.Table) -> list[str | None]:
        """The name for each row; None where a column that it needs is null, or has not come with these rows."""
        from tongqu.kit.originals import shown

        count = rows.num_rows
        held = {name: shown(rows.column(name)) if name in rows.column_names else [None] * count for name in self.places}
        made: list[str | None] = []
        for number in range(count):
            parts: list[str] = []
            for before, name in self._parts:
                value = "" if name is None else held[name][number]
                if value is None:
                    break
                parts += (before, value)
            made.append("".join(parts) if len(parts) == 2 * len(self._parts) else None)
        return made
