"""Finds the first record of the audit trail that was edited, removed, moved, added or cut off."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from tongqu.core.errors import AuditError
from tongqu.store.audit.chain import Place, lines, torn
from tongqu.store.audit.line import Line, Link, first
from tongqu.store.audit.reading import Wanted, every

_MAIN = "main"


@dataclass(frozen=True)
class Verdict:
    """What was found. `first_bad` is `{chain day seq reason}` of the first record that is not as it was written.

    Its `reason` is one of `form order hash mac` (the line), `cut` (records are missing at the end), `missing` (a chain
    or its beginning), `unknown` (a chain that never began, or a record behind its end), `head` (its head was changed),
    `link` (it does not fit what another chain says of it). `gaps` are the windows that killed processes lost, as they
    were recorded.
    """

    records: int
    chains: int
    first_bad: Mapping[str, Any] | None
    gaps: list[dict[str, Any]]

    @property
    def ok(self) -> bool:
        """Whether everything is as it was written."""
        return self.first_bad is None

    def to_json(self) -> dict[str, Any]:
        """The document of `tongqu audit verify`."""
        return {"ok": self.ok, "records": self.records, "first_bad": self.first_bad, "chains": self.chains,
                "gaps": self.gaps}  # fmt: skip


@dataclass
class _Told:
    """What the shared chain says of the others. Of each chain: links it had, its last link once it was closed, and the
    links at whose days it was cut after their time."""

    begun: set[str] = field(default_factory=set)
    links: dict[str, dict[int, str]] = field(default_factory=dict)
    ended: dict[str, tuple[Link, bool]] = field(default_factory=dict)
    purged: dict[str, set[Link]] = field(default_factory=dict)
    gaps: list[dict[str, Any]] = field(default_factory=list)
    hashes: dict[int, str] = field(default_factory=dict)


class _BadError(Exception):
    def __init__(self, chain: str, reason: str, seq: int, day: str = ""):
        super().__init__(reason)
        self.told = {"chain": chain, "day": day, "seq": seq, "reason": reason}


def verify(place: Place) -> Verdict:
    """Read the whole trail and check it; processes may go on writing meanwhile.

    Found are changes by whoever does not have the key, and by whoever has it but not the sinks: a copy of the folder as
    it once was, put back whole, is only found by comparing with a second sink. Raises OSError.
    """
    told = _Told()
    records = 0
    names: set[str] = set()
    try:
        upto, sizes = _snapshot(place)
        names = set(place.chains())
        records = _main(place, told, upto)
        names |= told.begun | set(told.links) | set(told.ended)
        for name in sorted(names - {_MAIN}):
            records += _one(place, name, told, sizes.get(name, {}))
    except _BadError as bad:
        return Verdict(records, len(names), bad.told, told.gaps)
    return Verdict(records, len(names), None, told.gaps)


def _snapshot(place: Place) -> tuple[int, dict[str, dict[str, int]]]:
    """How far the shared chain is, then how large the files of the others are: nothing it says up to there is newer
    than what is read of them."""
    upto = _head(place, _MAIN)
    sizes = {name: {day: path.stat().st_size for day, path in place.segments(name)} for name in place.chains()}
    return (upto.seq if upto else -1), sizes


def _head(place: Place, chain: str) -> Link | None:
    try:
        head = place.read_head(chain)
    except ValueError:
        raise _BadError(chain, "head", -1) from None
    return head.link if head else None


def _main(place: Place, told: _Told, upto: int) -> int:
    if not place.head(_MAIN).exists():
        if any(place.segments(name) for name in place.chains()):
            raise _BadError(_MAIN, "missing", 0)
        return 0
    head, last, day, count = _head(place, _MAIN), Link(-1, ""), "", 0
    start = _origin(place, _MAIN, _purges(place))
    for day, _, line in _walk(place, _MAIN, start, None):  # noqa: B007  # the last day is told
        count += 1
        last = line.link
        told.hashes[last.seq] = last.hash
        record = line.record
        if last.seq <= upto or record["kind"] in ("begin", "purge"):
            _learn(told, record)
    if head and head.seq > last.seq:
        raise _BadError(_MAIN, "cut", last.seq + 1, day)
    if head and head.seq >= 0 and told.hashes.get(head.seq) != head.hash:
        raise _BadError(_MAIN, "link", head.seq, day)
    if start and start.seq >= 0 and start not in told.purged.get(_MAIN, ()):
        raise _BadError(_MAIN, "missing", 0)
    return count


def _purges(place: Place) -> dict[str, set[Link]]:
    """What purges say of the shared chain itself, before it is checked: its own beginning hangs on it."""
    told = _Told()
    for record in every(place, Wanted(kind="purge")):
        _learn(told, record)
    return told.purged


def _learn(told: _Told, record: Mapping[str, Any]) -> None:
    kind, chain = record["kind"], str(record.get("chain", ""))
    if kind == "begin":
        told.begun.add(chain)
    elif kind == "anchor":
        told.links.setdefault(chain, {})[record["seq"]] = record["hash"]
    elif kind in ("end", "gap") and "seq" in record:
        told.ended[chain] = (Link(record["seq"], record["hash"]), bool(record.get("torn")))
    elif kind == "purge":
        for name, links in record["chains"].items():
            told.purged.setdefault(name, set()).update(Link(*link) for link in links)
    if kind == "gap":
        told.gaps.append({name: value for name, value in record.items() if name not in ("kind", "hash")})


def _origin(place: Place, name: str, purged: Mapping[str, set[Link]]) -> Link | None:
    """The link that the first record on disk must follow: the chain's origin, or where older days were removed."""
    seq = _first_seq(place, name)
    if seq <= 0:
        return first(name, place.scheme)
    found = next((link for link in purged.get(name, ()) if link.seq == seq - 1), None)
    if found is None:
        raise _BadError(name, "missing", 0)
    return found


def _one(place: Place, name: str, told: _Told, sizes: dict[str, int]) -> int:
    head, segments = _head(place, name), place.segments(name)
    links, known = _links(name, head, told)
    if not known:
        if (head is None or head.seq < 0) and not any(path.stat().st_size for _, path in segments):
            return 0  # its process was killed before it began
        raise _BadError(name, "unknown", 0)
    if not segments and name in told.purged and max(link.seq for link in told.purged[name]) >= max(links):
        return 0  # all its days were removed after their time
    count, last, day = 0, Link(-1, ""), ""
    for day, _, line in _walk(place, name, _origin(place, name, told.purged), sizes):
        count += 1
        last = line.link
        if links.get(last.seq, last.hash) != last.hash or not _fits(line, told):
            raise _BadError(name, "link", last.seq, day)
    if head is None:
        raise _BadError(name, "head", last.seq)
    if max(links, default=-1) > last.seq:
        raise _BadError(name, "cut", last.seq + 1, day)
    ended = told.ended.get(name)
    if ended and (last.seq > ended[0].seq or (torn(place, name) and not ended[1])):
        raise _BadError(name, "unknown", ended[0].seq + 1, day)
    return count


def _links(name: str, head: Link | None, told: _Told) -> tuple[dict[int, str], bool]:
    """The links that a chain must have, and whether the shared chain knows it."""
    links = dict(told.links.get(name, {}))
    purged = told.purged.get(name, set())
    known = bool(name in told.begun or links or purged)
    links |= {link.seq: link.hash for link in purged}
    if head and head.seq >= 0:
        links[head.seq] = head.hash
    if name in told.ended:
        links |= {told.ended[name][0].seq: told.ended[name][0].hash}
    return links, known


def _fits(line: Line, told: _Told) -> bool:
    """Whether what a record says of the shared chain is so; what was removed after its time cannot be compared."""
    if b'"main":[' not in line.body:
        return True
    record = line.record
    if record.get("kind") not in ("begin", "anchor"):
        return True
    seq, hash = record["main"]
    return bool(told.hashes.get(seq, hash if seq < min(told.hashes, default=0) else "") == hash)


def _first_seq(place: Place, name: str) -> int:
    found = place.segments(name)
    if not found:
        return -1
    with found[0][1].open("rb") as stream:
        parts = stream.readline().split(b" ", 2)
    return int(parts[1]) if len(parts) > 1 and parts[1].isdigit() else -1


def _walk(place: Place, name: str, after: Link | None, sizes: dict[str, int] | None) -> Iterator[tuple[str, int, Line]]:
    try:
        yield from lines(place, name, after, until=sizes)
    except AuditError as error:
        raise _BadError(name, error.params["reason"], error.params["seq"], error.params["day"]) from None
