"""Orders of rows as steps write them: `[line_id, -ts]`, each a column, with a minus from the greatest to the least.

Text is ordered by code point whatever the database's collation (binary), NaN is the greatest number, and nulls stand
where `nulls` says, whichever way a column runs.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from tongqu.core.columns import unknown_column
from tongqu.core.data import Dataset
from tongqu.meaning.sandbox import quoted


def terms(order: Sequence[str], dataset: Dataset) -> list[tuple[str, bool]]:
    """Each (column, whether it runs down); raises UnknownNameError. A column whose own name begins with a minus is
    meant by that name."""
    found = []
    for term in order:
        if term in dataset.columns:
            found.append((term, False))
        elif term[:1] == "-" and term[1:] in dataset.columns:
            found.append((term[1:], True))
        else:
            raise unknown_column(term.removeprefix("-"), dataset)
    return found


def order_sql(found: Sequence[tuple[str, bool]], names: Mapping[str, str], nulls: str = "last") -> list[str]:
    """The SQL terms of an order, with columns written as `names` has them."""
    return [f"{quoted(names[c])} {'DESC' if down else 'ASC'} NULLS {nulls.upper()}" for c, down in found]
