"""Asks sqlglot's parser whether a text in a number's place becomes more than a comparison with a plain expression."""

from __future__ import annotations

from functools import lru_cache

LONGEST = 2000
"""Characters beyond which a text is not parsed."""
DEEPEST = 12
"""Parentheses beyond which a text is not parsed: a parser that tries alternatives takes its time with them."""
_DIALECTS = ("mysql", "postgres", "tsql")


@lru_cache(maxsize=2048)
def changes(text: str) -> bool:
    """Whether `SELECT 1 FROM t WHERE c = TEXT` can be parsed in some dialect and then holds a query, a second statement
    or a set operation; those are on no allow-list. False for what cannot be parsed."""
    if len(text) > LONGEST or text.count("(") > DEEPEST:
        return False
    import sqlglot
    from sqlglot import exp
    from sqlglot.errors import SqlglotError

    for dialect in _DIALECTS:
        try:
            trees = sqlglot.parse(f"SELECT 1 FROM t WHERE c = {text}", dialect=dialect)
        except (SqlglotError, RecursionError):
            continue
        if len(trees) > 1 or not isinstance(trees[0], exp.Select):
            return True
        return sum(1 for _ in trees[0].find_all(exp.Select, exp.SetOperation, exp.Command)) > 1
    return False
