"""Settings: one declaration that gives YAML, CLI, JSON Schema, the console form, docs and secret handling."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Self

from pydantic import BaseModel, ConfigDict, Field, SecretStr, ValidationError
from pydantic.fields import FieldInfo

from tongqu.core.errors import InvalidSettingsError

Secret = SecretStr


class Settings(BaseModel):
    """Frozen settings; unknown keys are refused and validation is pure (no files, network or secrets).

    The docstring under each field becomes the schema's `description`.
    """

    model_config = ConfigDict(
        frozen=True, extra="forbid", use_attribute_docstrings=True, populate_by_name=True, protected_namespaces=()
    )

    @classmethod
    def parse(cls, values: Mapping[str, Any], path: str = "") -> Self:
        """Build from plain values; raise InvalidSettingsError naming key, value and the valid keys."""
        try:
            return cls.model_validate(dict(values))
        except ValidationError as error:
            raise invalid_settings(cls, error, path) from None


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
    given = "" if _is_secret(model.model_fields.get(str(first["loc"][0])) if first["loc"] else None) else first["input"]
    shown = f" (got {given!r})" if isinstance(given, str | int | float | bool) and given != "" else ""
    return InvalidSettingsError(f"{where}: {first['msg']}{shown}", path=full, hint=_describe(model, where))


def _describe(model: type[BaseModel], where: str) -> str:
    field = model.model_fields.get(where.split(".", maxsplit=1)[0])
    return (field.description or "").strip().split("\n")[0] if field else ""


def _is_secret(field: FieldInfo | None) -> bool:
    return field is not None and "SecretStr" in str(field.annotation)
