"""Entity tags: keyed digests of what a caller is shown, so that nothing hidden can be told from them."""

from __future__ import annotations

import hmac
import re
from hashlib import blake2b

from tongqu.gateway.policy.decision import Decision

_SIZE = 15
_PLANS = 1000
_CELL = re.compile(rb"tq1\.(?:aes|sm4)-gcm\.[A-Za-z0-9_.-]+")
"""A cell of the mask `encrypt` (see `meaning.ciphers`)."""


class Tags:
    """Makes and compares strong entity tags. `key` is the gateway's own secret (at least 16 bytes, at most 64)."""

    def __init__(self, key: bytes) -> None:
        if not 16 <= len(key) <= 64:
            raise ValueError("the key of entity tags has 16 to 64 bytes")
        self._key = key
        self._plans: dict[str, tuple[bool, bytes]] = {}

    def tag(self, body: bytes, decision: Decision, variant: str = "") -> str:
        """The tag, in quotes. `body` is the JSON of the rows as shown, or the bytes of a format that has no rows.

        Rows in an array and one of them alone have the same digest; the variant behind it tells formats apart. Two
        callers who see other fields of a row have different tags even where all values they share are equal.
        """
        if self._shown(decision)[
            0
        ]:  # looks different each time: a change of the row can be told from it, a repetition not
            variant += "~" + blake2b(body, digest_size=_SIZE, key=self._key).hexdigest()
        return f'"{self._digest(body, decision)}{"." if variant else ""}{variant}"'

    def same(self, header: str, tag: str) -> bool:
        """Whether `If-None-Match` names the tag: the representation has not changed (weak comparison)."""
        return any(known in ("*", tag) for known in _listed(header))

    def unmodified(self, header: str, body: bytes, decision: Decision) -> bool:
        """Whether `If-Match` names the rows, in whatever format they were read; a weak tag never fits."""
        digest = self._digest(body, decision)
        return any(
            known == "*" or (known.startswith('"') and hmac.compare_digest(known.strip('"').partition(".")[0], digest))
            for known in _listed(header, weak=True)
        )

    def _digest(self, body: bytes, decision: Decision) -> str:
        inner = body[1:-1] if body[:1] == b"[" and body[-1:] == b"]" else body
        sealed, names = self._shown(decision)
        if sealed:
            inner = _CELL.sub(b"", inner)
        made = blake2b(inner.strip(), digest_size=_SIZE, key=self._key)
        made.update(names)
        return made.hexdigest()

    def _shown(self, decision: Decision) -> tuple[bool, bytes]:
        """Whether a field is encrypted, and the names of all fields; equal for all decisions of one plan."""
        found = self._plans.get(decision.plan) if decision.plan else None
        if found is None:
            sealed = any(mask is not None and mask.with_ == "encrypt" for mask in decision.fields.values())
            found = sealed, b"\0" + "\0".join(sorted(decision.fields)).encode()
            if len(self._plans) >= _PLANS:
                self._plans.clear()
            self._plans[decision.plan] = found
        return found


def _listed(header: str, weak: bool = False) -> list[str]:
    found = [part.strip() for part in header.split(",") if part.strip()]
    return found if weak else [part.removeprefix("W/") for part in found]
