"""Settings: one declaration that gives YAML, CLI, JSON Schema, the console form, docs and secret handling."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from inspect import get_annotations
from itertools import pairwise
from typing import Annotated, Any, ClassVar, Self

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    GetJsonSchemaHandler,
    SecretStr,
    ValidationError,
    WithJsonSchema,
)
from pydantic.fields import FieldInfo

from tongqu.core.complaints import complaint
from tongqu.core.errors import InvalidSettingsError
from tongqu.core.secret_fields import holds_secret

Secret = SecretStr


def _listed(raw: Any) -> Any:
    return [raw] if isinstance(raw, str) else raw


def _mapped(raw: Any) -> Any:
    names = _listed(raw)
    return {str(name): str(name) for name in names} if isinstance(names, list | tuple) else raw


_SEVERAL: list[Any] = [{"type": "string"}, {"type": "array", "items": {"type": "string"}}]
_PAIRS = {"type": "object", "additionalProperties": {"type": "string"}}

Names = Annotated[tuple[str, ...], BeforeValidator(_listed), WithJsonSchema({"anyOf": _SEVERAL})]
"""Several names; one may be written without a list."""
Pairs = Annotated[dict[str, str], BeforeValidator(_mapped), WithJsonSchema({"anyOf": [_PAIRS, *_SEVERAL]})]
"""Names with names; a name or a list stands for each with itself."""


class Settings(BaseModel):
    """Frozen settings; unknown keys are refused and validation is pure (no files, network or secrets).

    The docstring under each field becomes the schema's `description`; it is read from the source when asked for, so
    that a start which needs no schema does not parse it.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", populate_by_name=True, protected_namespaces=())
    shorthand: ClassVar[Mapping[str, Any]] = {}
    """What a validator of the whole that runs before the fields' own accepts too, as JSON Schema: by the field that it
    stands in, or by `""` in place of all fields. Validators of one field say it with `json_schema_input_type`."""

    @classmethod
    def __get_pydantic_json_schema__(cls, core_schema: Any, handler: GetJsonSchemaHandler) -> dict[str, Any]:
        schema = handler(core_schema)
        properties = handler.resolve_ref_schema(schema).get("properties", {})
        for name, field in cls.model_fields.items():
            said = description(cls, name)
            for key in {name, field.alias or name} & set(properties) if said else ():
                properties[key].setdefault("description", said)
        for key, short in cls.shorthand.items():
            body = properties[key] if key else handler.resolve_ref_schema(schema)
            full = {word: body.pop(word) for word in set(body) - {"title", "description", "default", "x-i18n"}}
            body["anyOf"] = [dict(short), *full.pop("anyOf", ())] if set(full) == {"anyOf"} else [dict(short), full]
        return schema

    @classmethod
    def parse(cls, values: Mapping[str, Any], path: str = "") -> Self:
        """Build from plain values; raise InvalidSettingsError naming key, value and the valid keys."""
        try:
            return cls.model_validate(dict(values))
        except ValidationError as error:
            raise invalid_settings(cls, error, path) from None


def description(model: type[BaseModel], name: str) -> str:
    """What is said about a field: its `description`, or the docstring under it in the class that declares it."""
    field = model.model_fields.get(name)
    if field is None or field.description:
        return (field and field.description) or ""
    declared = (one for one in model.__mro__ if name in get_annotations(one))
    return _docstrings(next(declared, model)).get(name, "")


@cache
def _docstrings(model: type) -> dict[str, str]:
    """The docstrings under the fields of a class; none where its source is not there."""
    import ast
    from inspect import cleandoc, getsource
    from textwrap import dedent

    try:
        statements = ast.parse(dedent(getsource(model))).body[0]
    except (OSError, TypeError):
        return {}
    found: dict[str, str] = {}
    for one, other in pairwise(getattr(statements, "body", ())):
        if isinstance(one, ast.AnnAssign) and isinstance(one.target, ast.Name) and isinstance(other, ast.Expr):
            text = other.value.value if isinstance(other.value, ast.Constant) else None
            if isinstance(text, str):
                found[one.target.id] = cleandoc(text)
    return found


REFERENCE = r"^\$\{[a-z]+:[^}]+\}$"
"""Pattern of a setting that names a secret and never holds one: `${secret:NAME}`."""


def titled(zh: str, en: str, default: Any = ..., **extra: Any) -> Any:
    """A field with a bilingual title (`x-i18n`) for forms and docs."""
    hints: dict[str, Any] = {"x-i18n": {"zh": zh, "en": en}, **extra.pop("json_schema_extra", {})}
    return Field(default, title=en, json_schema_extra=hints, **extra)


def invalid_settings(model: type[BaseModel], error: ValidationError, path: str) -> InvalidSettingsError:
    """Translate pydantic's first error into ours: what, where, valid values. Input values of secrets stay out."""
    first = error.errors(include_url=False)[0]
    where = ".".join(str(part) for part in first["loc"])
    full = ".".join(part for part in (path, where) if part)
    if first["type"] == "extra_forbidden":
        valid = ", ".join(sorted(f.alias or name for name, f in model.model_fields.items()))
        return InvalidSettingsError(
            f"unknown key {where!r}", path=full, hint=f"valid keys: {valid}", params={"key": where, "valid": valid}
        )
    if first["type"] == "missing":
        return InvalidSettingsError(f"missing key {where!r}", path=full, hint=_describe(model, where))
    hidden = _is_secret(model.model_fields.get(str(first["loc"][0])) if first["loc"] else None)
    if first["type"] == "string_pattern_mismatch" and first["ctx"]["pattern"] == REFERENCE:
        hidden = True  # what stands where a reference belongs may be the secret itself
    shown = complaint(where or path.rpartition(".")[2], first, hidden=hidden)
    return InvalidSettingsError(shown, path=full, hint=_describe(model, where))


def _describe(model: type[BaseModel], where: str) -> str:
    return description(model, where.split(".", maxsplit=1)[0]).strip().split("\n")[0]


def _is_secret(field: FieldInfo | None) -> bool:
    return field is not None and holds_secret(field.annotation)


class Endpoint(Settings):
    """Settings of a connection that can say what they identify and show themselves without secrets."""

    def identity(self) -> str:
        """What the connection points to, without credentials; part of a sync's identity."""
        raise NotImplementedError(type(self).__name__)

    def display(self) -> str:
        """A URL fit for logs and errors: no password."""
        return self.identity()
