"""The technical axis: how well an interface is made, by its document and by what was measured."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from statistics import median
from typing import Any

from tongqu.catalog.assessing.findings import Check, Evidence, Finding, found
from tongqu.catalog.assessing.measured import Measured
from tongqu.catalog.assessing.shapes import Interface, Member, Operation, fields
from tongqu.catalog.assessing.traits import incremental, once, pages
from tongqu.kit.openapi.vocabulary import plain

AXIS = "technical"
_VERSIONED = re.compile(r"(^|[/._-])v\d+([._]\d+)*([/._-]|$)|\d{4}-\d{2}-\d{2}|/\d+\.\d+(/|$)", re.IGNORECASE)
_PROMISE = re.compile(
    r"backward.?compatib|deprecat|sunset|breaking change|semantic versioning|semver|compatibility (policy|promise)"
    r"|向[后下前]兼容|兼容性?(承诺|策略|说明|政策)|弃用|停用(通知|策略)|版本(策略|政策|承诺)",
    re.IGNORECASE,
)
_LIMITS = re.compile(r"rate.?limit|retry-after|quota|限流|频率限制|调用频次", re.IGNORECASE)
_CODES = frozenset(["code", "errcode", "errorcode", "error", "type", "subcode", "faultcode", "resultcode", "errno"])
_SAYINGS = frozenset(
    ["message", "msg", "errmsg", "errormessage", "detail", "title", "description", "faultstring", "errors"]
)
_STEPS = ((0.3, 1.0), (1.0, 0.75), (3.0, 0.4))
_SLOWEST = 0.1


def technical(interface: Interface, measured: Measured | None, key_places: frozenset[str]) -> list[Check]:
    """All checks of the axis. `key_places` are the places of fields that scenarios need or that stand in addresses."""
    members = [member for shape in interface.shapes() for member in shape.members.values()]
    return [
        _protocol(interface),
        _version(interface),
        _promise(interface),
        _lists("paging", 2, interface, pages),
        _lists("incremental", 2, interface, incremental),
        _idempotency(interface),
        _errors(interface),
        _descriptions(members, key_places),
        _shares("types", 2, members, lambda m: m.shape.typed),
        _shares("examples", 1, members, lambda m: m.example or bool(m.shape.choices)),
        _limits(interface, measured),
        _latency(measured),
        _conformance(measured),
    ]


def _protocol(interface: Interface) -> Check:
    """OpenAPI 3 counts whole, Swagger 2 and WSDL 70 %."""
    name = interface.protocol
    score = 1.0 if name.startswith("OpenAPI") else 0.7
    notes = [found("protocol.old", AXIS, "info", (), protocol=name)] if score < 1 else []
    if interface.unread:
        notes.append(found("protocol.unread", AXIS, "medium", interface.unread, count=len(interface.unread)))
    return Check("protocol", AXIS, 1, score, {"protocol": name}, (Evidence("#"),), tuple(notes))


def _version(interface: Interface) -> Check:
    """Half for a version of the document, half for one that a caller can hold on to: in addresses or a header."""
    addressed = [*interface.servers, *(op.path for op in interface.operations[:200])]
    held = next((one for one in addressed if _VERSIONED.search(one)), "")
    header = next(
        (p.place for op in interface.operations for p in op.parameters if re.search(r"version|^accept$", p.name, re.I)
         and p.where in ("header", "query")), "",
    )  # fmt: skip
    if not held and interface.protocol.startswith("WSDL"):
        held = interface.version  # of the namespace, which every message carries
    notes = []
    if not interface.version:
        notes.append(found("version.document", AXIS, "medium", ("#/info/version",)))
    if not held and not header:
        notes.append(found("version.address", AXIS, "medium", ("#/servers",)))
    score = 0.5 * bool(interface.version) + 0.5 * bool(held or header)
    params: dict[str, Any] = {"version": interface.version or "—", "address": held or header or "—"}
    return Check("version", AXIS, 1, score, params, (Evidence("#/info/version"),), tuple(notes))


def _promise(interface: Interface) -> Check:
    told = _PROMISE.search(interface.said)
    marked = [op for op in interface.operations if op.deprecated or {"sunset", "deprecation"} & set(op.headers)]
    score = 1.0 if told else 0.5 if marked else 0.0
    places = ("#/info/description",) if told else tuple(op.place for op in marked[:3])
    notes = () if told else (found("promise.none", AXIS, "medium", ("#/info/description",)),)
    params: dict[str, Any] = {
        "said": told[0] if told else "—",
        "deprecated": sum(op.deprecated for op in interface.operations),
    }
    return Check("promise", AXIS, 1, score, params, tuple(map(Evidence, places)), notes)


def _lists(id: str, weight: float, interface: Interface, has: Callable[[Operation], bool]) -> Check:
    """The share of operations that give lists and can do something."""
    lists = [op for op in interface.operations if op.records is not None and "read" in op.does]
    without = [op for op in lists if not has(op)]
    return _share(id, weight, len(lists), [op.place for op in without], "medium")


def _share(id: str, weight: float, count: int, without: Sequence[str], severity: str) -> Check:
    if not count:
        return Check(id, AXIS, weight, None, {"count": 0, "without": 0})
    params: dict[str, Any] = {"count": count, "without": len(without), "share": round(len(without) / count, 4)}
    level = severity if len(without) / count > 0.5 else "low"
    notes = (found(f"{id}.without", AXIS, level, tuple(without), **params),) if without else ()
    return Check(id, AXIS, weight, 1 - len(without) / count, params, tuple(map(Evidence, without[:10])), notes)


def _idempotency(interface: Interface) -> Check:
    """The share of operations that create something, and take a key by which a repeated call is known."""
    makes = [op for op in interface.operations if "create" in op.does and op.method in ("POST", "CALL")]
    without = [op.place for op in makes if not once(op)]
    return _share("idempotency", 2, len(makes), without, "medium")


def _errors(interface: Interface) -> Check:
    """For each operation half for describing a failure, half for a body with a code and a message in it."""
    called = [op for op in interface.operations if op.method != "WEBHOOK"]
    if not called:
        return Check("errors", AXIS, 2, None)
    scores = {op: _error_score(op) for op in called}
    without = tuple(op.place for op in called if scores[op] < 0.5)
    params: dict[str, Any] = {"count": len(called), "without": len(without)}
    notes: tuple[Finding, ...] = ()
    if without:
        level = "medium" if len(without) > len(called) / 2 else "low"
        notes = (found("errors.without", AXIS, level, without, **params),)
    evidence = tuple(map(Evidence, without[:10]))
    return Check("errors", AXIS, 2, sum(scores.values()) / len(called), params, evidence, notes)


def _error_score(operation: Operation) -> float:
    told = any(s[:1] in "45" or s in ("default", "fault") for s in operation.statuses)
    names = {plain(member.name) for _, member in fields(operation.error)}
    body = 0.5 * (bool(names & _CODES) + bool(names & _SAYINGS))
    return 0.5 * told + 0.5 * body


def _descriptions(members: Sequence[Member], key_places: frozenset[str]) -> Check:
    """The share of key fields with a description: those that are required, that a scenario needs, or that stand in
    an address. Without any, of all fields."""
    keys = [one for one in members if one.required or one.place in key_places]
    counted = keys or list(members)
    without = [one.place for one in counted if not one.description]
    everywhere = sum(not one.description for one in members)
    if not counted:
        return Check("descriptions", AXIS, 3, None, {"count": 0, "without": 0})
    share = len(without) / len(counted)
    params: dict[str, Any] = {
        "count": len(counted), "without": len(without), "share": round(share, 4),
        "fields": len(members), "fields_without": everywhere,
    }  # fmt: skip
    level = "high" if share > 0.5 else "medium" if share > 0.1 else "low"
    notes = (found("descriptions.without", AXIS, level, tuple(without), **params),) if without else ()
    return Check("descriptions", AXIS, 3, 1 - share, params, tuple(map(Evidence, without[:10])), notes)


def _shares(id: str, weight: float, members: Sequence[Member], has: Callable[[Member], bool]) -> Check:
    without = [one.place for one in members if not has(one)]
    return _share(id, weight, len(members), without, "medium" if id == "types" else "low")


def _limits(interface: Interface, measured: Measured | None) -> Check:
    """Whether limits of use are told: by the document (429, headers, prose) or by headers of answers."""
    seen = {n: v for n, v in (measured.headers if measured else {}).items() if _LIMITS.search(n)}
    told = [
        op.place for op in interface.operations
        if "429" in op.statuses or any(_LIMITS.search(name) for name in op.headers)
    ]  # fmt: skip
    prose = _LIMITS.search(interface.said)
    score = 1.0 if seen or told else 0.5 if prose else 0.0
    evidence = (
        tuple(Evidence(f"{name}: {value}", "call") for name, value in sorted(seen.items()))
        or tuple(map(Evidence, told[:3])) or ((Evidence("#/info/description"),) if prose else ())
    )  # fmt: skip
    notes = () if score else (found("limits.unknown", AXIS, "low", ("#/info/description",)),)
    params: dict[str, Any] = {"seen": ", ".join(f"{n}: {v}" for n, v in sorted(seen.items())) or "—", "told": len(told)}
    return Check("limits", AXIS, 1, score, params, evidence, notes)


def _latency(measured: Measured | None) -> Check:
    """By the 95th percentile of the answered calls: to 0.3 s 100 %, to 1 s 75 %, to 3 s 40 %, beyond 10 %."""
    calls = measured.answered if measured else ()
    times = sorted(seconds for one in calls for seconds in one.seconds)
    if not times:
        return Check("latency", AXIS, 1, None)
    p95 = times[min(len(times) - 1, int(len(times) * 0.95))]
    score = next((score for limit, score in _STEPS if p95 <= limit), _SLOWEST)
    slow = tuple(f"{one.shown}, {max(one.seconds) * 1000:.0f} ms" for one in calls if max(one.seconds) >= p95)
    params: dict[str, Any] = {
        "calls": len(times),
        "p50_ms": round(median(times) * 1000, 1),
        "p95_ms": round(p95 * 1000, 1),
    }
    notes = (found("latency.slow", AXIS, "medium", slow, "call", **params),) if score < 0.75 else ()
    return Check("latency", AXIS, 1, score, params, tuple(Evidence(one, "call") for one in slow[:5]), notes)


def _conformance(measured: Measured | None) -> Check:
    """The share of answers that are as the document describes them, among those that could be compared, and calls that
    failed though the document says how to make them."""
    calls = [one for one in (measured.calls if measured else ()) if one.checked or not 200 <= one.status < 300]
    if not any(one.checked for one in calls):
        places = tuple(one.shown for one in calls)
        silent = (found("conformance.silent", AXIS, "medium", places, "call", count=len(calls)),) if calls else ()
        return Check("conformance", AXIS, 3, None, findings=silent)
    wrong = [one for one in calls if one.deviations or not one.described or not one.checked]
    notes = []
    for one in wrong:
        what = "; ".join(f"{path}: {kind}" for path, kind in one.deviations[:5]) or f"{one.status or '—'}"
        level = "high" if any(kind in ("type", "missing") for _, kind in one.deviations) else "medium"
        notes.append(
            found(
                "conformance.deviates", AXIS, level, (one.shown, one.place), "call", operation=one.operation, what=what
            )
        )
    params: dict[str, Any] = {"count": len(calls), "without": len(wrong)}
    evidence = tuple(Evidence(one.shown, "call") for one in wrong[:10] or calls[:10])
    return Check("conformance", AXIS, 3, 1 - len(wrong) / len(calls), params, evidence, tuple(notes[:20]))
