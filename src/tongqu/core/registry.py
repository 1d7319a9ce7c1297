"""Finds connectors by type or URL scheme; a connector's module is imported when it is first asked for."""

from __future__ import annotations

import importlib
import importlib.util
import pkgutil
from collections.abc import Iterator
from functools import cache
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from tongqu.core.connector import Connector
from tongqu.core.errors import UnknownConnectorError

if TYPE_CHECKING:
    from importlib.metadata import EntryPoint

_PACKAGE = "tongqu.connectors"


@cache
def names() -> tuple[str, ...]:
    """All connector names: the files and folders of `tongqu.connectors`, then the entry points of the same group."""
    return (*_own(), *sorted(_foreign()))


@cache
def _own() -> tuple[str, ...]:
    package = importlib.import_module(_PACKAGE)
    return tuple(sorted(module.name for module in pkgutil.iter_modules(package.__path__)))


@cache
def _foreign() -> dict[str, EntryPoint]:
    """Connectors of other packages; looked for only when none of our own is meant, since that reads every package."""
    from importlib.metadata import entry_points

    return {point.name: point for point in entry_points(group=_PACKAGE) if point.name not in _own()}


@cache
def connector(name: str) -> Connector:
    """The connector of that type; raises UnknownConnectorError listing the valid types."""
    if name in _own():
        found = importlib.import_module(f"{_PACKAGE}.{name}").connector
    elif name in _foreign():
        found = _foreign()[name].load()
    else:
        raise UnknownConnectorError(
            f"unknown connection type {name!r}",
            hint=f"valid types: {', '.join(names())}",
            params={"type": name, "valid": ", ".join(names())},
        )
    assert isinstance(found, Connector), f"{name} does not export a Connector"  # noqa: S101
    return found


def _likely(scheme: str) -> Iterator[str]:
    """All names, those first that probably have the scheme, since whoever is asked is imported: namesakes, then those
    whose source has it in quotes."""
    namesakes = sorted((n for n in _own() if scheme.startswith(n)), key=lambda n: (n != scheme, n))
    yield from namesakes
    others = [n for n in _own() if n not in namesakes]
    yield from sorted(others, key=lambda n: f'"{scheme}"' not in _source(n))
    yield from sorted(_foreign(), key=lambda n: (n != scheme, not scheme.startswith(n), n))


def _source(name: str) -> str:
    """The text of one of our own connectors' modules, which is not imported for it; empty if there is none."""
    spec = importlib.util.find_spec(f"{_PACKAGE}.{name}")
    return (getattr(spec.loader, "get_source", lambda _: "")(spec.name) or "") if spec else ""


def by_url(url: str) -> Connector:
    """The connector for a URL's scheme (`postgresql://…`, `sqlite:x.db`); raises UnknownConnectorError."""
    scheme = urlsplit(url).scheme.lower()
    for name in _likely(scheme):
        found = connector(name)
        if scheme in found.schemes and (found.claims is None or found.claims(url)):
            return found
    valid = sorted({s for name in names() for s in connector(name).schemes})
    raise UnknownConnectorError(
        f"unknown URL scheme {scheme!r}" if scheme else "this is neither a URL nor the name of a connection",
        hint=f"valid schemes: {', '.join(valid)}",
        params={"scheme": scheme, "valid": ", ".join(valid)},
    )
