"""A profile: what a file says about a vendor's API, so that a connection needs no more than its credentials."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import Any, Literal

from pydantic import Field

from tongqu.core.errors import InvalidSettingsError
from tongqu.core.settings import Names, Settings

Texts = dict[Literal["zh", "en"], str]
ENDINGS = (".yaml", ".yml")
Class = Literal["public", "internal", "personal", "sensitive", "secret"]


class Followed(Settings):
    """A public document that the profile follows."""

    url: str
    """Where it is."""
    seen: str
    """When it was read, or the date that it bears: `2026-11`."""
    about: str = ""
    """What it tells."""


class Asked(Settings):
    """A setting that a connection with this profile has."""

    title: Texts
    """What it is called."""
    help: Texts = Field(default_factory=dict)
    """Where it is found, in a sentence."""
    kind: Literal["text", "number", "list", "day"] = "text"
    """`list` takes one or several values, `day` a date or a day counted from today (`today-6`)."""
    secret: bool = False
    """Whether nobody may see it."""
    default: str | int | list[str] | None = None
    """Taken if nothing is given; without it the setting is needed."""
    example: str | int | list[str]
    """What the mock of this API takes."""


class ProfileField(Settings):
    """One field of a dataset."""

    type: str
    """Its type, as under `fields` of a dataset."""
    title: Texts
    """What it is called."""
    class_: Class | None = Field(default=None, alias="class")
    """Who may see it."""
    unit: str = ""
    """The unit of a number: `min`, `kg`, `degC`."""


class ProfileDataset(Settings):
    """One dataset: how it is asked for, its fields, and rows that the mock answers with."""

    title: Texts
    """What it is called."""
    covers: Names = ()
    """What it is about, in words that all profiles share: `employee`, `attendance record`, `inspection result`."""
    reading: dict[str, Any]
    """The dataset's settings in the connection, but for fields and title."""
    fields: dict[str, ProfileField]
    """Its fields."""
    sample: list[Any]
    """Records as the API gives them. A key that begins with @ is the parent's value that the record is given for."""


class Mock(Settings):
    """What the mock does that neither datasets nor settings tell."""

    page_size: int = 2
    """Most records in a page."""
    envelope: dict[str, Any] = Field(default_factory=dict)
    """Keys of every answer (of those that fail, too), beside code and records: `{request_id: r1}`."""
    token: dict[str, Any] = Field(default_factory=dict)
    """More keys of the answer that holds a token."""


class Profile(Settings):
    """One vendor's API. `name` is the file's."""

    name: str
    """Its name."""
    title: Texts
    """What it is called."""
    connector: Literal["rest"] = "rest"
    """The connection's type."""
    label: Literal["tested against mock", "starter, tested against mock"] = "tested against mock"
    """How far it was tried. A starter follows no vendor: it shows how such systems often look, to be adapted."""
    follows: list[Followed] = Field(default_factory=list)
    """The public documents that it was made of."""
    address: Texts = Field(default_factory=dict)
    """What `base_url` of a connection is, where every customer has an address of its own; else it is under
    `connection`."""
    settings: dict[str, Asked]
    """What a connection is asked for beside its address."""
    connection: dict[str, Any]
    """The connection's settings, with `<name>` where a setting's value goes."""
    datasets: dict[str, ProfileDataset]
    """The datasets."""
    missing: list[Texts] = Field(default_factory=list)
    """What the API has and the profile leaves out, or what must be known before it is used."""
    mock: Mock = Mock()
    """What the mock does."""

    def text(self, texts: Mapping[Any, str], language: str) -> str:
        """A text in a language, else in the other one."""
        return texts.get(language) or next(iter(texts.values()), "")


def names() -> list[str]:
    """The profiles that come along, in order."""
    folder = files("tongqu").joinpath("profiles")
    return sorted(one.name.rpartition(".")[0] for one in folder.iterdir() if one.name.endswith(ENDINGS))


def profile(name: str) -> Profile:
    """The profile of that name, or in the file of that path (`./profiles/ours.yaml`). Raises InvalidSettingsError."""
    if name.endswith(ENDINGS):
        path = Path(name)
        if not path.is_file():
            raise InvalidSettingsError(f"there is no profile file {name}", path="profile", hint="a path or a name")
        return _read(path.stem, path.read_text(encoding="utf-8"))
    if name not in names():
        raise InvalidSettingsError(
            f"there is no profile {name!r}", path="profile", hint=f"profiles: {', '.join(names())}; or a file *.yaml"
        )
    return _own(name)


@cache
def _own(name: str) -> Profile:
    return _read(name, files("tongqu").joinpath("profiles").joinpath(f"{name}.yaml").read_text(encoding="utf-8"))


def _read(name: str, text: str) -> Profile:
    from ruamel.yaml import YAML
    from ruamel.yaml.error import YAMLError

    try:
        values = YAML(typ="safe", pure=True).load(text)
    except YAMLError as error:
        raise InvalidSettingsError(f"the profile {name} is no YAML: {error}", path="profile") from None
    if not isinstance(values, dict):
        raise InvalidSettingsError(f"the profile {name} is no mapping", path="profile")
    values.pop("shared", None)  # a place for anchors
    return Profile.parse({**values, "name": name}, f"profile {name}")
