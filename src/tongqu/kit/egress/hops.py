"""Makes the hops of a connection from its settings."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from tongqu.core.errors import InvalidSettingsError
from tongqu.core.settings import Secret
from tongqu.kit.drivers import driver
from tongqu.kit.egress.place import Place

if TYPE_CHECKING:
    from tongqu.kit.egress.dial import Hop
    from tongqu.kit.egress.settings import HopSettings, SshHop


def build(via: Sequence[HopSettings]) -> tuple[Hop, ...]:
    """The hops, numbered from 1 in what they are called; raises InvalidSettingsError for a host that is none."""
    return tuple(_hop(f"hop {number}", one, tuple(via[: number - 1])) for number, one in enumerate(via, 1))


def _hop(number: str, one: HopSettings, before: tuple[HopSettings, ...]) -> Hop:
    if one.ssh is not None:
        return _ssh(number, one.ssh, before)
    if one.agent is not None:
        return _agent(number, one.agent, one, before)
    from tongqu.kit.egress.proxies import proxy_of

    url = _plain(one.proxy)
    parts = urlsplit(url)
    place = _place(number, parts.hostname or "", parts.port or 0)
    return proxy_of(url, f"{number} proxy:{place.host}", place)


def _ssh(number: str, hop: SshHop, before: tuple[HopSettings, ...]) -> Hop:
    driver("asyncssh", "ssh")
    from tongqu.kit.egress.ssh import Login, SshServer

    login = Login(
        user=hop.user,
        key_file=hop.key_file or "",
        key=_plain(hop.key),
        passphrase=_plain(hop.passphrase),
        password=_plain(hop.password),
        known_hosts=hop.known_hosts or "",
        fingerprint=hop.fingerprint or "",
    )
    place = _place(number, hop.host, hop.port)
    return SshServer(f"{number} ssh:{place.host}", place, login, before)


def _agent(number: str, name: str, hop: HopSettings, before: tuple[HopSettings, ...]) -> Hop:
    driver("asyncssh", "ssh")
    from tongqu.kit.egress.agents import Agent
    from tongqu.kit.egress.ssh import Login

    if not hop.hub:
        raise InvalidSettingsError(
            f"{number} agent:{name}: no hub runs in this project's home",
            hint="start one with `tongqu agent hub`, or write {agent, hub, token, fingerprint}",
        )
    host, _, port = hop.hub.rpartition(":")
    place = _place(number, host, int(port))
    login = Login(user=f"use.{name}", password=_plain(hop.token), fingerprint=hop.fingerprint or "")
    return Agent(f"{number} agent:{name}", place, login, before)


def _place(number: str, host: str, port: int) -> Place:
    try:
        return Place.of(host, port)
    except ValueError as error:
        raise InvalidSettingsError(f"{number}: {error}", path="via", hint="name a host and a port") from None


def _plain(secret: Secret | None) -> str:
    return secret.get_secret_value() if secret is not None else ""
