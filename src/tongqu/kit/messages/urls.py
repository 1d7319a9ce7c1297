"""URLs of brokers: login, place, path, and settings as parameters."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from typing import Any
from urllib.parse import parse_qsl, unquote

from tongqu.core.errors import InvalidSettingsError


@dataclass(frozen=True)
class BrokerUrl:
    """The parts of `scheme://user:password@host:port/path?name=value`; empty where they are left out."""

    scheme: str
    place: str
    """What stands between the login and the path, as it is."""
    user: str
    password: str
    bare: bool
    """Whether the login has no colon."""
    path: str
    parameters: dict[str, str]

    def settings(self, **more: Any) -> dict[str, Any]:
        """Host, port, parameters and more as settings; what is empty is left out, so that defaults hold."""
        host, _, port = self.place.rpartition(":") if self.place.rpartition(":")[2].isdigit() else (self.place, "", "")
        values = {"host": host.strip("[]"), "port": port, **self.parameters}
        given = {name: value for name, value in more.items() if not values.get(name)}
        return {name: value for name, value in (values | given).items() if value != ""}


def broker_url(url: str, known: Collection[str]) -> BrokerUrl:
    """The parts of a URL; raises InvalidSettingsError for a parameter that is no setting."""
    scheme, _, rest = url.partition("://")
    rest, _, query = rest.partition("?")
    authority, _, path = rest.partition("/")
    userinfo, _, place = authority.rpartition("@")
    user, colon, password = userinfo.partition(":")
    parameters = dict(parse_qsl(query))
    for key in parameters:
        if key not in known:
            hint = f"valid parameters: {', '.join(sorted(known))}"
            raise InvalidSettingsError(f"unknown URL parameter {key!r}", path="url", hint=hint)
    return BrokerUrl(scheme, place, unquote(user), unquote(password), not colon, unquote(path), parameters)
