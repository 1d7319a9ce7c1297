"""Changing the keys of the secrets while they are in use; what was begun and killed is finished by the next try."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from tongqu.core.errors import SecretError
from tongqu.kit.faults import crash_point
from tongqu.store.secrets.envelope import Key
from tongqu.store.secrets.keys import Keyring
from tongqu.store.secrets.sealed import Secrets

_AT_ONCE = 100


@dataclass(frozen=True)
class Rotated:
    """What a rotation did."""

    resumed: bool
    """It finished one that had been interrupted, and began none of its own."""
    key: str
    data_key: str
    rewrapped: int
    """Data keys that went under the new key."""
    resealed: int
    """Secrets that went under the new data key."""
    retired: Sequence[str]
    """Keys that are gone."""
    removable: Sequence[str]
    """Keys from outside under which nothing is left: whoever gave them can take them away."""

    def to_json(self) -> dict[str, Any]:
        """As documents show it."""
        return {**asdict(self), "retired": list(self.retired), "removable": list(self.removable)}


def unfinished(store: Secrets, ring: Keyring) -> bool:
    """Whether keys are there that a rotation should have retired."""
    keys = store.data_keys()
    outside = any(wrapped_by != ring.current.id for _, _, wrapped_by, _ in keys)
    return len(keys) > 1 or (store.keys.own and (len(ring.keys) > 1 or outside))


def rotate(
    store: Secrets, *, key: bool = True, data: bool = True, algorithm: str = "", at_once: int = _AT_ONCE
) -> Rotated:
    """Put the data keys under a new key (`key`) and the secrets under a new data key (`data`).

    Values can be read and set all the time: old and new keys live side by side, and an old one is retired only when
    nothing is left under it. Each step is one transaction that is on disk before the next begins, so that a rotation
    that was killed leaves every secret readable, and the next call finishes it. Keys from outside are never made
    here: the first of several is the new one. Raises SecretError, also if another rotation is going on.
    """
    with store.keys.alone():
        ring = store.keys.load()
        resumed = unfinished(store, ring)
        if not resumed:
            ring = _begun(store, ring, key=key, data=data, algorithm=algorithm)
        rewrapped = _rewrap(store, ring.current)
        if data and not resumed:
            with store.writing():
                store.add_key(ring.current)
        resealed = 0
        while moved := store.reseal(at_once):
            resealed += moved
            crash_point("mid_rotation")
        crash_point("before_retire")
        retired = list(store.retire())
        crash_point("in_retire")
        used = {wrapped_by for _, _, wrapped_by, _ in store.data_keys()}
        idle = [one.id for one in ring.keys if one.id not in used and one.id != ring.current.id]
        if idle and store.keys.own:
            store.keys.write([one for one in ring.keys if one.id not in idle])
            retired += idle
        left = [] if store.keys.own else idle
        return Rotated(resumed, ring.current.id, store.data_key().id, rewrapped, resealed, retired, left)


def _begun(store: Secrets, ring: Keyring, *, key: bool, data: bool, algorithm: str) -> Keyring:
    """The keys with a new one before them where it is ours to make."""
    wanted, origin = algorithm or ring.current.algorithm, ring.origin
    if key and store.keys.own:
        ring = store.keys.write([Key.fresh(wanted), *ring.keys])
        crash_point("after_new_key")
        return ring
    if wanted != ring.current.algorithm:
        raise SecretError(
            f"the key from {origin} is for {ring.current.algorithm}, and data keys are for the algorithm of their key",
            hint="rotate both keys" if store.keys.own else "put a new key first: 32 bytes for AES, 16 for SM4",
        )
    if not data and all(wrapped_by == ring.current.id for _, _, wrapped_by, _ in store.data_keys()):
        raise SecretError(
            f"the key from {origin} is in use already, and there is no newer one to change to",
            hint="put a new key before it, divided by a comma: $(openssl rand -base64 32),OLD",
        )
    return ring


def _rewrap(store: Secrets, key: Key) -> int:
    under = [id for id, _, wrapped_by, _ in store.data_keys() if wrapped_by != key.id]
    for id in under:
        with store.writing():
            store.rewrap(id, key)
        crash_point("mid_rotation")
    return len(under)
