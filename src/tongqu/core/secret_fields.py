"""Which settings hold a secret, also deep inside settings of settings."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, get_args

from pydantic import BaseModel, SecretStr


def models_in(annotation: Any) -> Iterator[type[BaseModel]]:
    """The models that an annotation names, through unions, lists, mappings and `Annotated`."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield annotation
    for part in get_args(annotation):
        yield from models_in(part)


def holds_secret(annotation: Any) -> bool:
    """Whether a value of this annotation is a secret or has one somewhere in it."""
    waiting, seen = [annotation], set[type[BaseModel]]()
    while waiting:
        one = waiting.pop()
        if _is_secret(one):
            return True
        for model in models_in(one):
            if model not in seen:
                seen.add(model)
                waiting += [field.annotation for field in model.model_fields.values()]
    return False


def _is_secret(annotation: Any) -> bool:
    return annotation is SecretStr or any(_is_secret(part) for part in get_args(annotation))
