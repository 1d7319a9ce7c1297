"""The security axis: transport, who may call what, what answers give away."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

from tongqu.catalog.assessing.findings import Check, Evidence, Finding, found
from tongqu.catalog.assessing.measured import Measured, Tls
from tongqu.catalog.assessing.shapes import Interface, Member, Operation, Scheme, fields
from tongqu.catalog.assessing.words import lead
from tongqu.catalog.suspicions import personal

AXIS = "security"
_STRENGTH = {
    "oauth2": 1.0,
    "openid": 1.0,
    "mtls": 1.0,
    "signature": 0.9,
    "bearer": 0.9,
    "digest": 0.6,
    "key": 0.6,
    "basic": 0.4,
}
_UNKNOWN, _IN_QUERY = 0.5, 0.2
_MASKED = re.compile(r"mask|desensiti|redact|脱敏|掩码|打码|\*{2,}", re.IGNORECASE)
_SECRET = re.compile(r"^(password|passwd|pwd|secret|app_?secret|access_?token|token|密码)$", re.IGNORECASE)
_LIMITED = re.compile(r"rate-?limit|retry-after", re.IGNORECASE)
_GOOD = ("strict-transport-security", "x-content-type-options", "cache-control")
_SOON_DAYS = 30


def security(interface: Interface, measured: Measured | None) -> list[Check]:
    """All checks of the axis."""
    tls = measured.tls if measured else None
    return [
        _transport(interface),
        _tls(tls),
        _ciphers(tls),
        _certificate(tls),
        _auth(interface),
        _enforced(measured),
        _scopes(interface),
        _masking(interface, measured),
        _limiting(interface, measured),
        _headers(measured),
        _addresses(interface),
    ]


def _transport(interface: Interface) -> Check:
    plain = tuple(one for one in interface.servers if one.startswith("http://"))
    if not interface.servers:
        return Check("transport", AXIS, 3, None)
    notes = (found("transport.plain", AXIS, "high", plain, servers=", ".join(plain[:3])),) if plain else ()
    score = 1 - len(plain) / len(interface.servers)
    evidence = tuple(map(Evidence, plain or interface.servers[:3]))
    return Check("transport", AXIS, 3, score, {"count": len(interface.servers), "without": len(plain)}, evidence, notes)


def _tls(tls: Tls | None) -> Check:
    """TLS 1.3 counts whole, 1.2 four fifths; accepting an older version takes half away."""
    if tls is None or (not tls.version and not tls.refused):
        return Check("tls", AXIS, 2, None)
    evidence = (Evidence(f"{tls.place}: {tls.version or tls.refused}", "call"),)
    score = {"TLSv1.3": 1.0, "TLSv1.2": 0.8}.get(tls.version, 0.0) * (0.5 if tls.old else 1)
    notes = []
    if tls.old:
        notes.append(found("tls.old", AXIS, "high", (tls.place,), "call", versions=", ".join(tls.old)))
    if not tls.version:
        notes.append(found("tls.refused", AXIS, "high", (tls.place,), "call", reason=tls.refused))
    return Check("tls", AXIS, 2, score, {"version": tls.version or "—"}, evidence, tuple(notes))


def _ciphers(tls: Tls | None) -> Check:
    """Half for forward secrecy, half for authenticated encryption."""
    if tls is None or not tls.cipher:
        return Check("ciphers", AXIS, 1, None)
    name = tls.cipher.upper()
    forward = tls.version == "TLSv1.3" or name.startswith(("ECDHE", "DHE"))
    sealed = any(word in name for word in ("GCM", "CHACHA20", "CCM"))
    evidence = (Evidence(f"{tls.place}: {tls.cipher}", "call"),)
    good = forward and sealed
    notes = () if good else (found("ciphers.weak", AXIS, "medium", (tls.place,), "call", cipher=tls.cipher),)
    return Check("ciphers", AXIS, 1, 0.5 * forward + 0.5 * sealed, {"cipher": tls.cipher}, evidence, notes)


def _certificate(tls: Tls | None) -> Check:
    if tls is None or (tls.days is None and not tls.refused):
        return Check("certificate", AXIS, 1, None)
    bad = bool(tls.refused) or tls.days is None or tls.days < 0
    soon = not bad and tls.days is not None and tls.days < _SOON_DAYS
    evidence = (Evidence(tls.place, "call"),)
    params = {"days": "—" if tls.days is None else tls.days}
    notes: tuple[Finding, ...]
    if bad:
        notes = (found("certificate.refused", AXIS, "high", (tls.place,), "call", reason=tls.refused or "expired"),)
    else:
        notes = (found("certificate.soon", AXIS, "low", (tls.place,), "call", **params),) if soon else ()
    return Check("certificate", AXIS, 1, 0.0 if bad else 0.5 if soon else 1.0, params, evidence, notes)


def _auth(interface: Interface) -> Check:
    """The mean over operations of the weakest way that opens them; 0 where none is asked for."""
    called = [op for op in interface.operations if op.method != "WEBHOOK"]
    if not called:
        return Check("auth", AXIS, 3, None)
    scores = {op: _opened(op, interface) for op in called}
    free = tuple(op.place for op in called if scores[op] == 0)
    used = {name for op in called for way in op.access or () for name in way}
    schemes = [interface.schemes[name] for name in sorted(used) if name in interface.schemes]
    notes = []
    if free:
        level = "high" if len(free) > len(called) / 2 or not schemes else "medium"
        notes.append(found("auth.none", AXIS, level, free, count=len(called), without=len(free)))
    if weak := [one for one in schemes if one.kind == "basic"]:
        notes.append(found("auth.basic", AXIS, "medium", tuple(one.place for one in weak)))
    if leaking := [one for one in schemes if one.kind == "key" and one.where == "query"]:
        notes.append(found("auth.query", AXIS, "high", tuple(one.place for one in leaking), names=_names(leaking)))
    kinds = ", ".join(sorted({one.kind for one in schemes})) or "—"
    params = {"count": len(called), "without": len(free), "kinds": kinds}
    evidence = tuple(Evidence(one.place) for one in schemes[:5]) or tuple(map(Evidence, free[:5]))
    return Check("auth", AXIS, 3, sum(scores.values()) / len(called), params, evidence, tuple(notes))


def _opened(operation: Operation, interface: Interface) -> float:
    if not operation.access:
        return 0.0
    return min(max((_strength(interface.schemes.get(name)) for name in way), default=0.0) for way in operation.access)


def _strength(scheme: Scheme | None) -> float:
    if scheme is None:
        return _UNKNOWN
    return _IN_QUERY if scheme.kind == "key" and scheme.where == "query" else _STRENGTH.get(scheme.kind, _UNKNOWN)


def _names(schemes: Sequence[Scheme]) -> str:
    return ", ".join(one.name for one in schemes)


def _enforced(measured: Measured | None) -> Check:
    """The share of calls without credentials that were refused."""
    tried = (*measured.open_calls, *measured.closed_calls) if measured else ()
    if not measured or not tried:
        return Check("enforced", AXIS, 3, None)
    score = len(measured.closed_calls) / len(tried)
    evidence = tuple(Evidence(one, "call") for one in tried[:5])
    notes = (found("enforced.open", AXIS, "high", measured.open_calls, "call"),) if measured.open_calls else ()
    params = {"count": len(tried), "without": len(measured.open_calls)}
    return Check("enforced", AXIS, 3, score, params, evidence, notes)


def _scopes(interface: Interface) -> Check:
    """The share of operations that name the scopes they need; without OAuth 2 or OpenID there are none."""
    called = [op for op in interface.operations if op.method != "WEBHOOK"]
    if not called:
        return Check("scopes", AXIS, 1, None)
    without = tuple(op.place for op in called if not op.scopes)
    declared = sum(one.scopes for one in interface.schemes.values())
    params: dict[str, Any] = {"count": len(called), "without": len(without), "declared": declared}
    notes = (found("scopes.none", AXIS, "medium" if declared == 0 else "low", without, **params),) if without else ()
    return Check("scopes", AXIS, 1, 1 - len(without) / len(called), params, tuple(map(Evidence, without[:5])), notes)


def _masking(interface: Interface, measured: Measured | None) -> Check:
    """The share of answer fields with data about people that are masked: seen in answers, else said in the document."""
    seen: dict[str, bool] = {}
    for one in measured.answered if measured else ():
        for path, masked in one.personal.items():
            place = f"{one.operation} {path}"
            seen[place] = seen.get(place, True) and masked
    if seen:
        bare = tuple(place for place, masked in seen.items() if not masked)
        return _masks(len(seen), bare, "call")
    named: dict[str, Member] = {}
    for op in interface.operations:
        for _, member in fields(op.gives):
            if not member.shape.members and personal(member.name, lead(member.description), {}):
                named[member.place] = member
    bare = tuple(p for p, m in named.items() if not (m.hidden or _MASKED.search(m.description)))
    return _masks(len(named), bare, "document")


def _masks(count: int, bare: tuple[str, ...], kind: str) -> Check:
    if not count:
        return Check("masking", AXIS, 2, None, {"count": 0, "without": 0})
    params: dict[str, Any] = {"count": count, "without": len(bare)}
    notes = (found(f"masking.{kind}", AXIS, "medium", bare, kind, **params),) if bare else ()
    return Check(
        "masking", AXIS, 2, 1 - len(bare) / count, params, tuple(Evidence(one, kind) for one in bare[:10]), notes
    )


def _limiting(interface: Interface, measured: Measured | None) -> Check:
    """Whether somebody who calls too often is slowed down: 429 or limits described, or headers of limits seen."""
    seen = [name for name in (measured.headers if measured else ()) if _LIMITED.search(name)]
    told = [
        op.place for op in interface.operations if "429" in op.statuses or any(_LIMITED.search(h) for h in op.headers)
    ]
    evidence = tuple(Evidence(one, "call") for one in seen) or tuple(map(Evidence, told[:3]))
    notes = () if evidence else (found("limiting.none", AXIS, "medium", ("#/paths",)),)
    return Check("limiting", AXIS, 2, 1.0 if evidence else 0.0, {"seen": len(seen), "told": len(told)}, evidence, notes)


def _headers(measured: Measured | None) -> Check:
    """A third for each of `Strict-Transport-Security` (https only), `X-Content-Type-Options` and a `Cache-Control` of
    `no-store` or `private`; not measured without calls."""
    if not measured or not measured.answered:
        return Check("headers", AXIS, 1, None)
    held = measured.headers
    wanted = _GOOD if measured.tls is not None else _GOOD[1:]
    kept = [
        name for name in wanted
        if name in held and (name != "cache-control" or re.search(r"no-store|private", held[name], re.IGNORECASE))
    ]  # fmt: skip
    missing = [name for name in wanted if name not in kept]
    places = tuple(one.shown for one in measured.answered[:3])
    notes = [found("headers.missing", AXIS, "low", places, "call", names=", ".join(missing))] if missing else []
    if re.search(r"\d", held.get("server", "") + held.get("x-powered-by", "")):
        notes.append(found("headers.tell", AXIS, "low", places, "call"))
    params = {"count": len(wanted), "without": len(missing)}
    evidence = tuple(Evidence(name, "call") for name in kept)
    return Check("headers", AXIS, 1, len(kept) / len(wanted), params, evidence, tuple(notes))


def _addresses(interface: Interface) -> Check:
    """Whether passwords and tokens stay out of addresses, which are written into logs."""
    secret = tuple(
        p.place
        for op in interface.operations
        for p in op.parameters
        if p.where in ("query", "path") and _SECRET.match(p.name)
    )
    if not interface.operations:
        return Check("addresses", AXIS, 1, None)
    notes = (found("addresses.secret", AXIS, "high", secret, count=len(secret)),) if secret else ()
    return Check(
        "addresses", AXIS, 1, 0.0 if secret else 1.0, {"count": len(secret)}, tuple(map(Evidence, secret[:5])), notes
    )
