"""Looks at what following a MongoDB needs: a replica set, the right, room in its log, images of documents."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from tongqu.connectors.mongodb.failing import told
from tongqu.connectors.mongodb.log.feed import NO_SET
from tongqu.connectors.mongodb.reach import Reach
from tongqu.core.errors import PrivilegeError, TongquError
from tongqu.core.log import Finding

_DAY = 86_400
_ENOUGH = 2 * _DAY
_STREAMS, _IMAGES = 7, 17
"""Wire versions of MongoDB 4.0, which has streams over databases, and 6.0, which has images."""


def examine(reach: Reach, names: Sequence[str], follow: Callable[[], None]) -> list[Finding]:
    """See Log.examine; `follow` opens a stream and closes it."""
    hello = reach.hello()
    one = hello.get("setName") or ("a router" if hello.get("msg") == "isdbgrid" else "")
    if not one:
        return [Finding("replica_set", "error", "the server is alone", NO_SET)]
    found = [Finding("replica_set", "ok", str(one))]
    wire = int(hello.get("maxWireVersion", 0))
    if wire < _STREAMS:
        fix = "upgrade the server to MongoDB 4.0 or newer"
        return [*found, Finding("version", "error", f"older than MongoDB 4.0 (wire version {wire})", fix)]
    return [*found, _right(reach, follow), _window(reach), *_images(reach, names, able=wire >= _IMAGES)]


def kept(reach: Reach) -> tuple[int, int] | None:
    """The seconds of the oldest and newest operation that the server's log holds; None where that cannot be seen."""
    try:
        with told(reach.where, reading=True):
            log = reach.client()["local"]["oplog.rs"]
            ends = [log.find_one({}, {"ts": 1}, sort=[("$natural", way)]) for way in (1, -1)]
    except TongquError:
        return None
    times = [end["ts"].time for end in ends if end]
    return (times[0], times[-1]) if times else None


def _right(reach: Reach, follow: Callable[[], None]) -> Finding:
    settings = reach.settings
    try:
        follow()
    except PrivilegeError as error:
        role = f'{{role: "read", db: "{settings.database}"}}'
        fix = f'use {settings.auth_source}; db.grantRolesToUser("{settings.user}", [{role}])'
        return Finding("change_stream", "error", error.message, fix)
    except TongquError as error:
        return Finding("change_stream", "error", error.message, error.hint or "see the server's log")
    return Finding("change_stream", "ok", "can be opened")


def _window(reach: Reach) -> Finding:
    """How long the log reaches back: it is what an outage may last."""
    fix = "db.adminCommand({replSetResizeOplog: 1, size: Double(51200), minRetentionHours: 48})"
    ends = kept(reach)
    if ends is None:
        allow = 'grant read on "local" to see it'
        return Finding("oplog_window", "warning", "it cannot be seen how far the log reaches back", allow)
    seconds = ends[1] - ends[0]
    if seconds < _ENOUGH:
        return Finding("oplog_window", "warning", f"{seconds / 3600:.1f} hours", fix)
    return Finding("oplog_window", "ok", f"{seconds / _DAY:.1f} days")


def _images(reach: Reach, names: Sequence[str], *, able: bool) -> list[Finding]:
    """Whether collections keep their documents as they were: without, an update shows the document of a later time, and
    a delete its `_id` only."""
    found: list[Finding] = []
    with told(reach.where, reading=True):
        listed: list[dict[str, Any]] = list(reach.database().list_collections(filter={"name": {"$in": list(names)}}))
    options = {str(one["name"]): one.get("options") or {} for one in listed}
    for name in names:
        what = f"images {name}"
        if (options.get(name, {}).get("changeStreamPreAndPostImages") or {}).get("enabled"):
            found.append(Finding(what, "ok", "kept"))
            continue
        fix = f'db.runCommand({{collMod: "{name}", changeStreamPreAndPostImages: {{enabled: true}}}})'
        told_of = "not kept: an update shows the document as it is when it is read, a delete its _id"
        found.append(Finding(what, "warning", told_of, fix if able else "MongoDB 6.0 or newer can keep them"))
    return found
