"""What one grant gives of one field: its value, its masked value, or nothing."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

import pyarrow as pa
from pydantic import ValidationError

from tongqu.core.data import Dataset, Meta
from tongqu.core.errors import InvalidPlanError
from tongqu.core.policy import Actor
from tongqu.gateway.policy.grants import Grant, known
from tongqu.gateway.policy.settings import Access, FieldAccess
from tongqu.meaning.fields import metadata
from tongqu.meaning.keyed_masks import fits, read_mask_key
from tongqu.meaning.masks import KEYED, Mask, masked

CLASSES = ("public", "internal", "personal", "sensitive", "secret")
"""Every class of fields, each above the one before."""
_OPEN = 1
Shown = Literal["plain", "mask", ""]


def level(word: str) -> int:
    """The place of a class; what is no class is the highest."""
    return CLASSES.index(word) if word in CLASSES else len(CLASSES)


def clearance(actor: Actor) -> int | None:
    """The highest class that an actor's attribute `clearance` admits; None without one. What is no class admits only
    what is public."""
    word = actor.attributes.get("clearance")
    return None if word is None else CLASSES.index(word) if word in CLASSES else 0


@dataclass(frozen=True)
class FieldRule:
    """One published field with its class, its mask and the access rule that names it."""

    name: str
    level: int
    mask: Mask | None
    entry: FieldAccess | None
    written: bool
    """Whether a value can be set at all."""

    def shown(self, grant: Grant, actor: Actor, cleared: int | None) -> Shown:
        """What the actor sees of it by this grant."""
        found = self._by_rule(grant, actor)
        if cleared is None or not found:
            return found
        own = level(self.mask.class_) if found == "mask" and self.mask and self.mask.class_ else self.level
        return found if own <= cleared else ""

    def settable(self, grant: Grant, actor: Actor, cleared: int | None) -> bool:
        """Whether the actor may set it by this grant: as `write` says, else if it is not hidden or masked for it."""
        if not self.written or (grant.fields is not None and self.name not in grant.fields):
            return False
        if self.entry is not None and self.entry.write is not None:
            return bool(actor.roles & set(self.entry.write))
        return self.shown(grant, actor, cleared) == "plain"

    def _by_rule(self, grant: Grant, actor: Actor) -> Shown:
        if grant.fields is not None and self.name not in grant.fields:
            return ""
        named = grant.fields is not None
        entry = self.entry
        if entry is None:
            return "plain" if named or self.level <= _OPEN else ""
        if grant.public or (entry.purposes and actor.purpose not in entry.purposes):
            return ""
        bound = self.mask.purposes if self.mask is not None else ()
        if actor.roles & set(entry.roles):
            return "mask" if bound and actor.purpose not in bound else "plain"
        if bound and not entry.roles and actor.purpose in bound:
            return "plain"
        if entry.roles or entry.mask is not None or "otherwise" in entry.model_fields_set or _says_nothing(entry):
            return "mask" if self.mask is not None else ""
        return "plain" if named or entry.purposes or self.level <= _OPEN else ""


def _says_nothing(entry: FieldAccess) -> bool:
    return not entry.purposes and entry.write is None


def field_rules(
    access: Access, dataset: Dataset, secret: Callable[[str], bytes] | None, path: str
) -> tuple[tuple[FieldRule, ...], dict[str, bytes]]:
    """The rules of all fields, and the keys of their masks by reference. Raises UnknownNameError, InvalidPlanError."""
    known(list(access.fields), dataset, f"{path}.fields")
    keys: dict[str, bytes] = {}
    made = []
    for field in dataset.schema:
        told, entry = metadata(field), access.fields.get(field.name)
        mask = _mask(field, entry, dataset.schema, f"{path}.fields.{field.name}")
        if mask is not None and mask.key is not None:
            if secret is None:
                raise InvalidPlanError(f"the key of the mask of {field.name!r} cannot be looked up here", path=path)
            keys[mask.key] = secret(mask.key)
            read_mask_key(mask, keys[mask.key])
        written = Meta.GENERATED not in told
        made.append(FieldRule(field.name, level(told.get(Meta.CLASS, "internal")), mask, entry, written))
    return tuple(made), keys


def _mask(field: pa.Field[Any], entry: FieldAccess | None, schema: pa.Schema, path: str) -> Mask | None:
    """The mask that others see the field through; None where they do not see it."""
    if entry is None or not (entry.otherwise == "mask" or (entry.mask and "otherwise" not in entry.model_fields_set)):
        return None
    mask = entry.mask
    if mask is None:
        word = metadata(field).get(Meta.MASK, "")
        try:
            mask = Mask.model_validate({"with": word}) if word else None
        except ValidationError:
            mask = None
        if mask is None:
            hint = "give it here: mask: {with: name}; or a word that needs no more in the data dictionary: mask: name"
            raise InvalidPlanError(f"no mask is known for {field.name!r}", path=path, hint=hint)
    try:
        if mask.with_ in KEYED:
            fits(mask, field.name, field.type)
        else:
            masked(mask, field.name, schema)
    except InvalidPlanError as error:
        raise InvalidPlanError(error.message, hint=error.hint, path=path) from None
    return mask
