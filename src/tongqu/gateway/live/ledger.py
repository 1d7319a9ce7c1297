"""Writes what calls change into the feed, by the keys of the rows."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from tongqu.gateway.asking import Compare, Joined
from tongqu.gateway.live.keys import key_text
from tongqu.gateway.tracing import here
from tongqu.kit.serving.texts import parsed
from tongqu.store.feed import TOUCHED, Changed, Feed, Op

if TYPE_CHECKING:
    from tongqu.core.server import Change
    from tongqu.gateway.asking import Condition
    from tongqu.gateway.publication import Api
    from tongqu.gateway.writing import Edit, Written

_OPS: Mapping[str, Op] = {
    "insert": "insert", "ignore": "insert", "upsert": "update", "update": "update", "delete": "delete"
}  # fmt: skip


class FeedLedger:
    """The `gateway.ledger.Ledger` of a feed. That a write begins is kept first, so that one whose process dies between
    commit and note still counts as a change of the table."""

    def __init__(self, feed: Feed):
        self._feed = feed

    def began(self, api: Api) -> int:
        """See gateway.ledger.Ledger."""
        return self._feed.begin(place_of(api)) if api.tables else 0  # made-up rows are nobody's table

    def undone(self, begun: int) -> None:
        """See gateway.ledger.Ledger."""
        if begun:
            self._feed.cancel(begun)

    def done(self, begun: int, api: Api, edit: Edit, changes: Sequence[Change], written: Written) -> None:
        """See gateway.ledger.Ledger."""
        if not begun:
            return
        if written.replayed or not written.touched:
            self._feed.cancel(begun)
            return
        self._feed.append(place_of(api), changed(api, edit, changes, written), "call", begun=begun,
                          trace=here().header)  # fmt: skip


def place_of(api: Api) -> str:
    """The API's table in the feed."""
    return f"{api.connection}/{api.table}"


def changed(api: Api, edit: Edit, changes: Sequence[Change], written: Written) -> list[Changed]:
    """The rows that an edit changed; `TOUCHED` at the end where not all of them are known by their key."""
    key = api.dataset.key
    if not key:
        return [TOUCHED]
    pinned = _pinned(key, edit.where)
    keys = _given(key, edit, written)
    if edit.verb in ("insert", "upsert", "ignore") and len(keys) < written.touched:
        keys = _sent(key, changes) or keys
    if not keys and pinned is not None and edit.verb in ("update", "delete"):
        keys = [pinned]
    found = [Changed(_OPS[edit.verb], one) for one in keys]
    if edit.verb == "update" and any(column.name in key for change in changes for column in change.columns):
        found = [Changed("update", one) for one in keys]
        found += [Changed("delete", pinned)] if pinned is not None and pinned not in keys else [TOUCHED]
    return found if len(keys) >= written.touched else [*found, TOUCHED]


def _given(key: tuple[str, ...], edit: Edit, written: Written) -> list[dict[str, str]]:
    """The keys that the database gave back."""
    if written.keys:
        return [dict(zip(key, one, strict=True)) for one in written.keys if len(one) == len(key)]
    returned = edit.returning
    if not written.body or returned is None or written.decision is None:
        return []
    names = {item.field for item in returned.wanted or () if _plain(item)} if returned.wanted is not None else set(key)
    plain = all(name in names and written.decision.fields.get(name, ()) is None for name in key)
    if not plain:
        return []
    rows: list[dict[str, Any]] = parsed(written.body.decode())
    return [{name: key_text(row[name]) for name in key} for row in rows if all(name in row for name in key)]


def _plain(item: Any) -> bool:
    return not (item.cast or item.path or item.aggregate or (item.name and item.name != item.field))


def _sent(key: tuple[str, ...], changes: Sequence[Change]) -> list[dict[str, str]]:
    """The keys of new rows, where the caller sent them."""
    found: list[dict[str, str]] = []
    for change in changes:
        names = [column.name for column in change.columns]
        if not all(name in names for name in key):
            return []
        at = [names.index(name) for name in key]
        found += [{name: key_text(row[place]) for name, place in zip(key, at, strict=True)} for row in change.rows]
    return found


def _pinned(key: tuple[str, ...], where: Condition | None) -> dict[str, str] | None:
    """The key that a condition fixes, if it fixes all of it."""
    parts = where.parts if isinstance(where, Joined) and where.word == "and" else (where,)
    flat = [inner for part in parts for inner in (part.parts if _both(part) else (part,))]  # type: ignore[union-attr]  # _both tells
    found = {
        part.field: key_text(part.value)
        for part in flat
        if isinstance(part, Compare) and part.operator == "eq" and not part.path and not part.quantifier
    }
    return {name: found[name] for name in key} if set(key) <= set(found) else None


def _both(part: Condition | None) -> bool:
    return isinstance(part, Joined) and part.word == "and"
