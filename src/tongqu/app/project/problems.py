"""Turns pydantic's findings into problems that name file, line, key, valid values and the nearest one."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any, TypeVar, get_args, get_origin

from pydantic import BaseModel, ValidationError

from tongqu.app.project.places import Key, Places, nearest
from tongqu.core.complaints import complaint
from tongqu.core.errors import InvalidSettingsError
from tongqu.core.secret_fields import holds_secret
from tongqu.core.settings import description
from tongqu.store.references import has_reference

Model = TypeVar("Model", bound=BaseModel)


def parse(
    model: type[Model], values: Any, key: Key, places: Places, problems: list[Any], *, references: bool = False
) -> Model | None:
    """The values as the model; None after adding each thing wrong with them to `problems`.

    With `references` a value that holds `${…}` is taken as valid, since only its resolved form can be judged.
    """
    try:
        return model.model_validate(values)
    except ValidationError as error:
        found = [
            item
            for item in error.errors(include_url=False, include_context=True)
            if not (references and has_reference(item["input"]))
        ]
        problems += [_problem(model, item, key, places) for item in found]
        return None
    except InvalidSettingsError as error:  # of a profile, which is more than a value that is wrong
        error.path = places.path((*key, error.path) if error.path else key)
        problems.append(error)
        return None


def _problem(model: type[BaseModel], item: Mapping[str, Any], key: Key, places: Places) -> InvalidSettingsError:
    location = tuple(part for part in item["loc"] if isinstance(part, str | int))
    full = (*key, *location)
    name = str(location[-1]) if location else str(key[-1] if key else "")
    holder = _holder(model, location[:-1])
    valid = _keys(holder) if holder else []
    if item["type"] == "extra_forbidden":
        return InvalidSettingsError(
            f"unknown key {name!r}",
            path=places.path(full),
            hint=nearest(name, valid),
            params={"key": name, "valid": ", ".join(valid)},
        )
    if item["type"] == "missing":
        about = _describe(holder, name)
        return InvalidSettingsError(
            f"missing key {name!r}", path=places.path(full), hint=about or f"add {name}: …", params={"key": name}
        )
    context = item.get("ctx", {})
    if item["type"] in ("literal_error", "enum"):
        choices = re.findall(r"'([^']*)'", str(context.get("expected", "")))
        message = f"{name}: {item['input']!r} is not one of the values allowed"
        return InvalidSettingsError(message, path=places.path(full), hint=nearest(str(item["input"]), choices))
    if item["type"] == "value_error":
        return InvalidSettingsError(str(context.get("error", item["msg"])), path=places.path(full))
    hidden = _secret(model, str(location[0]) if location else "")
    where = f"{full[-2]}[{name}]" if len(full) > 1 and isinstance(full[-1], int) else name
    hint = _describe(holder, name) or _describe(_holder(model, location[:-2]), str(full[-2]) if len(full) > 1 else "")
    return InvalidSettingsError(complaint(where, item, hidden=hidden), path=places.path(full), hint=hint)


def _holder(model: type[BaseModel], location: Sequence[str | int]) -> type[BaseModel] | None:
    """The model that holds the key at the end of the location."""
    current: type[BaseModel] | None = model
    inside = 0
    for part in location:
        if inside:  # a name in a mapping of models, or a number in a list of them
            inside -= 1
            continue
        found = _field(current, str(part))
        current, inside = _model_in(found.annotation) if found else (None, 0)
        if current is None:
            return None
    return current


def _model_in(annotation: Any) -> tuple[type[BaseModel] | None, int]:
    """The model in an annotation, and how many mappings or lists it stands in."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation, 0
    wrapped = get_origin(annotation) in (dict, list, tuple)
    for inner in get_args(annotation):
        found, depth = _model_in(inner)
        if found:
            return found, depth + wrapped
    return None, 0


def _keys(model: type[BaseModel]) -> list[str]:
    return sorted(field.alias or name for name, field in model.model_fields.items())


def _field(model: type[BaseModel] | None, name: str) -> Any:
    return next((f for n, f in model.model_fields.items() if name in (n, f.alias)), None) if model else None


def _describe(model: type[BaseModel] | None, name: str) -> str:
    own = next((n for n, f in model.model_fields.items() if name in (n, f.alias)), name) if model else name
    return description(model, own).strip().split("\n")[0] if model else ""


def _secret(model: type[BaseModel] | None, name: str) -> bool:
    field = _field(model, name)
    return field is not None and holds_secret(field.annotation)
