"""Whether a login may create tables in a database, read from its own grants."""

from __future__ import annotations

import re
from collections.abc import Sequence

_GRANT = re.compile(r"GRANT (?P<what>.+?) ON (?P<where>\S+) TO ")
_ALL = frozenset(("ALL", "ALL PRIVILEGES", "CREATE"))


def may_create(grants: Sequence[str], database: str) -> bool | None:
    """What the lines of SHOW GRANTS say; None where the right may come from a role, whose grants are not shown."""
    unknown = False
    for line in grants:
        found = _GRANT.match(line)
        if found is None:
            unknown = unknown or line.startswith(("GRANT ", "SET DEFAULT ROLE"))
        elif _ALL & {word.strip().upper() for word in found["what"].split(",")} and _covers(found["where"], database):
            return True
    return None if unknown else False


def _covers(where: str, database: str) -> bool:
    """Whether `*.*` or a pattern such as `` `plant\\_a%`.* `` covers the database."""
    if where == "*.*":
        return True
    if not where.endswith(".*"):
        return False
    pattern = where[:-2].strip("`").replace("``", "`")
    parts = re.findall(r"\\.|.", pattern, re.DOTALL)
    told = "".join({"%": ".*", "_": "."}.get(part, re.escape(part[-1])) for part in parts)
    return re.fullmatch(told, database, re.DOTALL) is not None
