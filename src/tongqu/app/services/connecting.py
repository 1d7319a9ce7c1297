"""`connect`: makes the connection of a project out of an API's own document."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

from tongqu.core.errors import InvalidPlanError, NotFoundError, learnt
from tongqu.kit.openapi.lists import Found
from tongqu.kit.openapi.reading import described
from tongqu.kit.openapi.security import auth, required
from tongqu.kit.patterns import nearest, wanted


def imported(
    *, openapi: str, postman: str, name: str = "", base_url: str = "", datasets: Sequence[str] = ()
) -> dict[str, Any]:
    """The connection that a document describes: `name`, `connection` in a project's plain values, `credentials` with
    the `schemes` by which calls must be authenticated and whether they are `written` as `auth`, `datasets` with the
    operation each comes from and the parameters it still `needs`, and `left_out` with the reason for every other
    operation. `datasets` are globs that choose among them.

    Raises InvalidPlanError unless exactly one document is named, NotFoundError if there is none, or no list in it, and
    InvalidSettingsError if it is no such document.
    """
    if bool(openapi) == bool(postman):
        raise InvalidPlanError("name one document", path="--openapi", hint="--openapi FILE|URL or --postman FILE")
    with learnt():
        base, found, document = described(openapi=openapi, postman=postman)
    lists = [one for one in found if one.settings]
    chosen = [one for one in lists if wanted(one.name, datasets or None)]
    if not chosen:
        names = [one.name for one in lists]
        raise NotFoundError(
            "the document has no such list of records" if lists else "the document describes no list of records",
            path=openapi or postman, hint=f"there are: {nearest(datasets[0], names)}" if lists and datasets else "",
        )  # fmt: skip
    named = name or _name(base_url or base)
    connection: dict[str, Any] = {"type": "rest", "base_url": base_url or base or "https://…"}
    credentials = auth(document, f"${{secret:{named}}}") if document else {}
    if credentials:
        connection["auth"] = credentials
    connection["datasets"] = {one.name: _plain(one) for one in _with_parents(chosen, lists)}
    return {
        "name": named,
        "connection": connection,
        "credentials": {"schemes": required(document) if document else [], "written": bool(credentials)},
        "datasets": [{"name": one.name, "operation": one.operation, "needs": list(one.needs)} for one in chosen],
        "left_out": [{"operation": one.operation, "reason": one.reason} for one in found if not one.settings],
    }


def _with_parents(chosen: Sequence[Found], lists: Sequence[Found]) -> list[Found]:
    """The chosen ones after the datasets that fill their paths."""
    by_name = {one.name: one for one in lists}
    kept: dict[str, Found] = {}

    def take(one: Found) -> None:
        above = one.settings.get("parent", {}).get("dataset")
        if above and above not in kept:
            take(by_name[above])
        kept.setdefault(one.name, one)

    for one in chosen:
        take(one)
    return list(kept.values())


def _plain(one: Found) -> dict[str, Any]:
    """Its settings, with a place for each parameter that is still to be given."""
    settings = dict(one.settings)
    if one.needs:
        settings["params"] = {**settings.get("params", {}), **dict.fromkeys(one.needs, "…")}
    return settings


def _name(base: str) -> str:
    host = re.sub(r"^https?://", "", base).partition("/")[0].partition(":")[0]
    words = [word for word in host.split(".") if word not in ("api", "www", "com", "cn", "org", "net", "io", "example")]
    return re.sub(r"\W", "_", words[0]) if words and not words[0].isdigit() else "api"
