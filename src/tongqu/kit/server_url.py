"""Takes the URL of a database server apart: `scheme://user:password@host:port/database?parameter=value`."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any
from urllib.parse import parse_qsl, unquote

from tongqu.core.errors import InvalidSettingsError


def server_url(url: str, database: str = "database") -> tuple[dict[str, Any], list[tuple[str, str]]]:
    """The values `host port user password` and the one called `database`, decoded and without those that are not there;
    and the parameters in order. IPv6 addresses stand in brackets."""
    rest, _, query = url.split(":", 1)[-1].removeprefix("//").partition("?")
    authority, _, name = rest.partition("/")
    userinfo, _, place = authority.rpartition("@")
    user, _, password = userinfo.partition(":")
    host, _, port = place[1:].partition("]") if place.startswith("[") else place.partition(":")
    values = {
        "host": unquote(host), "port": port.lstrip(":"), "user": unquote(user), "password": unquote(password),
        database: unquote(name),
    }  # fmt: skip
    return {key: value for key, value in values.items() if value}, parse_qsl(query)


def known_parameters(
    parameters: Collection[tuple[str, str]], fields: Collection[str], called: Mapping[str, str] | None = None
) -> dict[str, str]:
    """The parameters by the fields that they mean, of which some are `called` otherwise too. Raises
    InvalidSettingsError for others, with the valid ones."""
    names = called or {}
    found: dict[str, str] = {}
    for key, value in parameters:
        field = names.get(key, key)
        if field not in fields:
            valid = ", ".join(sorted({*names, *fields}))
            raise InvalidSettingsError(f"unknown URL parameter {key!r}", path="url", hint=f"valid parameters: {valid}")
        found[field] = value
    return found
