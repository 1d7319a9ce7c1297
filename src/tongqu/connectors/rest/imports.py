"""Adds to a connection's settings the datasets that its document describes."""

from __future__ import annotations

from typing import Any
from urllib.parse import urlsplit

from tongqu.connectors.rest.settings import DatasetSettings, RestSettings
from tongqu.core.errors import InvalidSettingsError
from tongqu.kit.openapi.reading import described


def imported(settings: RestSettings) -> RestSettings:
    """The settings with the datasets of their document. A dataset that the settings name too has the document's values
    where they say nothing; those that need values that nobody gave are left out. Raises InvalidSettingsError where the
    document names no address, or another host than its own: who wrote it could otherwise have credentials sent there.
    """
    if not settings.openapi and not settings.postman:
        return settings
    base, found, _ = described(openapi=settings.openapi, postman=settings.postman, http=_reader(settings))
    own = {name: one.model_dump(exclude_unset=True) for name, one in settings.datasets.items()}
    datasets: dict[str, Any] = {}
    for one in found:
        if not one.settings or one.settings["path"].startswith(("http://", "https://")):
            continue  # nothing, or at another place than the API: a document does not vouch for it
        values = merged(one.settings, own.pop(one.name, {}))
        if all(
            need in values.get("params", {}) or need in values.get("parent", {}).get("values", {}) for need in one.needs
        ):
            datasets[one.name] = values
    datasets |= own
    kept = {n: v for n, v in datasets.items() if (v.get("parent") or {}).get("dataset", n) in datasets}
    address = settings.base_url or _trusted(settings, base)
    whole = {name: DatasetSettings.parse(values, f"datasets.{name}") for name, values in kept.items()}
    return settings.model_copy(update={"base_url": address, "datasets": whole, "openapi": "", "postman": ""})


def _trusted(settings: RestSettings, base: str) -> str:
    """The address that a document names, if it is where the document itself came from."""
    place = settings.openapi or settings.postman
    shown = place.partition("?")[0]
    if not base:
        raise InvalidSettingsError(
            f"{shown} names no address of the API", path="base_url", hint="give base_url: https://host/path"
        )
    if place_of(place) != place_of(base):
        raise InvalidSettingsError(
            f"{shown} says that the API is at {base}, which is not where the document is", path="base_url",
            hint=f"if that is right, say so yourself: base_url: {base}",
        )  # fmt: skip
    return base


def place_of(url: str) -> tuple[str, str, int | None]:
    """Scheme, host and port of a URL; nothing of a file's path."""
    parts = urlsplit(url)
    web = parts.scheme in ("http", "https")
    return (parts.scheme, parts.hostname or "", parts.port) if web else ("", "", None)


def merged(document: dict[str, Any], own: dict[str, Any]) -> dict[str, Any]:
    """A document's values of a dataset with the settings' own over them; mappings are put together."""
    values = dict(document)
    for name, value in own.items():
        before = values.get(name)
        together = (
            isinstance(before, dict) and isinstance(value, dict) and name in ("params", "types", "titles", "headers")
        )
        values[name] = {**before, **value} if together and isinstance(before, dict) else value
    return values


def _reader(settings: RestSettings) -> RestSettings:
    """The settings by which the document itself is fetched: the connection's own, without a recording of its calls."""
    base = settings.base_url or settings.openapi
    return settings.model_copy(update={"base_url": base, "record": None})
