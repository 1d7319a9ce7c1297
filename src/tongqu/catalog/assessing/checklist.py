"""Checklists of what an interface is bought for: scenarios with their words and fields, ready ones and own ones."""

from __future__ import annotations

from collections.abc import Mapping
from importlib.resources import files
from typing import Any, Literal, Self

from pydantic import field_validator, model_validator

from tongqu.core.errors import InvalidSettingsError, NotFoundError
from tongqu.core.settings import Names, Settings, titled

READY = ("qms", "attendance", "order_crm", "mes", "erp")


class ScenarioSettings(Settings):
    """One thing that must be possible through the interface."""

    title: dict[Literal["zh", "en"], str] = titled("名称", "Title")
    """What it is called, in Chinese and English."""
    does: tuple[Literal["read", "create", "update", "delete", "notify"], ...] = titled("动作", "Does")
    """What the operation must do; one of several suffices."""
    about: tuple[Names, ...] = titled("对象", "About")
    """Groups of phrases; of each group one phrase must be in the operation's identifier, path, tags or title."""
    unless: Names = titled("排除", "Unless", ())
    """Phrases by which an operation is about something else."""
    fields: dict[str, Names] = titled("字段", "Fields", {})
    """Fields that it must exchange, each with other names of it."""
    needs: tuple[Literal["list", "paging", "incremental"], ...] = titled("要求", "Needs", ())
    """What else it must be: a list, a list in pages, a list of what has changed."""
    weight: float = titled("权重", "Weight", 1.0, gt=0, le=100)
    """How much it counts."""

    @field_validator("does", mode="before")
    @classmethod
    def _several(cls, value: Any) -> Any:
        return [value] if isinstance(value, str) else value

    @field_validator("fields", mode="before")
    @classmethod
    def _bare(cls, value: Any) -> Any:
        return dict.fromkeys(value, ()) if isinstance(value, list) else value

    @model_validator(mode="after")
    def _something(self) -> Self:
        if not self.does or not self.about or not all(self.about):
            raise ValueError("a scenario says what it `does` and what it is `about`")
        return self


class Checklist(Settings):
    """The scenarios that an interface is measured against."""

    name: str = titled("标识", "Name", pattern=r"^\w+$")
    """A short name."""
    title: dict[Literal["zh", "en"], str] = titled("名称", "Title")
    """What it is called, in Chinese and English."""
    scenarios: dict[str, ScenarioSettings] = titled("场景", "Scenarios")
    """The scenarios by a short name."""

    @model_validator(mode="after")
    def _some(self) -> Self:
        if not self.scenarios:
            raise ValueError("a checklist has a scenario")
        return self


def ready(name: str) -> Checklist:
    """A checklist of the package; raises NotFoundError."""
    if name not in READY:
        raise NotFoundError(
            f"there is no checklist {name!r}", path="--checklist", hint=f"there are: {', '.join(READY)}"
        )
    text = files("tongqu.catalog.assessing").joinpath("checklists", f"{name}.yaml").read_bytes()
    return read(text, f"{name}.yaml")


def read(text: bytes, where: str) -> Checklist:
    """A checklist from YAML; raises InvalidSettingsError."""
    return Checklist.parse(yaml_mapping(text, where), where)


def yaml_mapping(text: bytes, where: str) -> Mapping[str, Any]:
    """The mapping of a YAML text; raises InvalidSettingsError."""
    from tongqu.kit.openapi.document import parsed_text

    raw = parsed_text(text, where)
    if not isinstance(raw, Mapping):
        raise InvalidSettingsError(f"{where} holds no mapping", path=where)
    return raw
