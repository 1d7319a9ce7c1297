"""What a DDL statement does to a followed table, as far as that must be known."""

from __future__ import annotations

import re
from typing import Literal

Meaning = Literal["empties", "alters", "ends", "nothing"]
_APART = re.compile(r"'[^']*(?:''[^']*)*'|\"[^\"]*\"|/\*.*?\*/|--[^\n]*", re.DOTALL)
"""Texts, quoted names and comments."""
_EMPTIES = re.compile(r"TRUNCATE TABLE ")
_NOTHING = re.compile(
    r"(COMMENT|GRANT|REVOKE|ANALYZE|AUDIT|NOAUDIT|LOCK|CREATE|ASSOCIATE|DISASSOCIATE|EXPLAIN|PURGE)\b"
    r"|(ALTER|DROP) (INDEX|TRIGGER|SYNONYM|PUBLIC SYNONYM|MATERIALIZED VIEW LOG|SNAPSHOT LOG|STATISTICS)\b"
)
_ENDS = re.compile(
    r"DROP TABLE |RENAME |FLASHBACK |ALTER TABLE .*\b("
    r"RENAME TO |DROP SUPPLEMENTAL LOG |EXCHANGE (SUB)?PARTITION |DROP (SUB)?PARTITIONS? |"
    r"TRUNCATE (SUB)?PARTITIONS? |MODIFY OPAQUE |NOLOGGING\b)"
)
_ALTERS = re.compile(r"ALTER TABLE ")


def meaning(sql: str) -> Meaning:
    """Whether the table is emptied, has other columns perhaps, can no longer be followed, or none of it. A statement
    that is not known ends it: what it did to the rows is in no log."""
    words = _APART.sub(lambda one: "x" if one[0][0] in "'\"" else " ", sql)
    plain = " ".join(words.upper().rstrip("; \n\0").split()) + " "
    if _EMPTIES.match(plain):
        return "empties"
    if _ENDS.match(plain):
        return "ends"
    if _NOTHING.match(plain):
        return "nothing"
    return "alters" if _ALTERS.match(plain) else "ends"
