"""Tables that others inherit from: a read of them has their children's rows, which the log does not tell as theirs."""

from __future__ import annotations

from collections.abc import Sequence

from tongqu.connectors.postgres import catalog
from tongqu.connectors.postgres.db import PgDb

_CHILDREN = """
SELECT i.inhparent::bigint, string_agg(i.inhrelid::regclass::text, ', ' ORDER BY i.inhrelid)
FROM pg_catalog.pg_inherits i JOIN pg_catalog.pg_class c ON c.oid = i.inhparent AND c.relkind = 'r'
WHERE i.inhparent = ANY (?::oid[]) GROUP BY 1
"""
FIX = "follow the children as tables of their own and leave the parent out, or sync it with --mode full"


def inherited(db: PgDb, tables: Sequence[catalog.Relation]) -> dict[str, str]:
    """Those of these tables that have children (INHERITS; partitions are none), and what is told of them."""
    names = {relation.oid: relation.name for relation in tables}
    return {
        names[int(parent)]: f"{names[int(parent)]} has the rows of {children} too (INHERITS), and the log does not "
        "tell them as its own"
        for parent, children in db.rows(_CHILDREN, (list(names),))
    }
