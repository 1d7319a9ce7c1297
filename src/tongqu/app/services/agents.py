"""`agent`: the hub, its tokens, and the agent that dials out to it."""

from __future__ import annotations

import asyncio
import ssl
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from threading import Event
from typing import TYPE_CHECKING, Any

from tongqu.app.services.ends import whole_reference
from tongqu.core.errors import InvalidSettingsError
from tongqu.kit.drivers import driver
from tongqu.kit.egress.access import Access
from tongqu.kit.egress.dial import Egress, direct
from tongqu.kit.egress.hops import build
from tongqu.kit.egress.place import Place
from tongqu.kit.egress.policy import Policy
from tongqu.kit.egress.settings import HopSettings
from tongqu.kit.egress.tokens import Role

if TYPE_CHECKING:
    from tongqu.store.home import Home

_LOOK_SECONDS = 0.5
_ASK_SECONDS = 5.0

Tell = Callable[[str, str], None]
"""Is told what happened (`connected`, `lost`, `left`, `refused`, `listening`) and to whom or why."""


@dataclass(frozen=True)
class AgentRequest:
    """The arguments of `agent run`; `token` is a reference (`${env:X}`), never the token itself."""

    hub: str
    name: str
    token: str
    fingerprint: str
    allow: Sequence[str]
    via: Sequence[str] = ()
    ca: str = ""


@dataclass(frozen=True)
class HubRequest:
    """The arguments of `agent hub`; without `tls_listen` there is no TLS."""

    listen: str
    tls_listen: str = ""
    tls_cert: str = ""
    tls_key: str = ""


def add(home: Home, name: str, *, use: bool) -> dict[str, Any]:
    """A new token: to be the agent of that name, or to use agents. It is in this document and nowhere else."""
    driver("asyncssh", "ssh")
    from tongqu.kit.egress.hub import host_key, tokens

    folder = home.ensure()
    role = Role.USE if use else Role.AGENT
    token = tokens(folder).add(name, role)
    return {"name": name, "role": role.value, "token": token, "fingerprint": host_key(folder).get_fingerprint()}


def remove(home: Home, name: str) -> dict[str, Any]:
    """End a token; a line that is open stays until it breaks or the hub ends."""
    driver("asyncssh", "ssh")
    from tongqu.kit.egress.hub import tokens

    tokens(home.path).remove(name)
    return {"removed": name}


def listed(home: Home) -> dict[str, Any]:
    """The tokens of this home's hub, and which agents are connected; `connected` is null where no hub runs."""
    driver("asyncssh", "ssh")
    from tongqu.kit.egress.hub import tokens

    present = _present(Access.read(home.path))
    rows = [
        {"name": name, "role": role.value, "connected": None if present is None else name in present}
        for name, role in tokens(home.path).roles().items()
    ]
    return {"hub": present is not None, "agents": rows}


def _present(access: Access | None) -> list[str] | None:
    if access is None:
        return None
    from tongqu.kit.egress.agents import Agent

    (agent,) = build([HopSettings(agent="-").entering(access)])
    assert isinstance(agent, Agent)  # noqa: S101  # what an agent's settings build
    return agent.present(partial(direct, policy=Policy(own=frozenset)), time.monotonic() + _ASK_SECONDS)


def serve(request: HubRequest, home: Home, stop: Event, tell: Tell) -> dict[str, Any]:
    """Run the hub until `stop` is set; raises InvalidSettingsError for a wrong place or certificate, ConnectError
    if it cannot listen there."""
    driver("asyncssh", "ssh")
    from tongqu.kit.egress.hub import Hub

    host, port = _listen(request.listen, "--listen")
    tls = _server_tls(request)
    tls_host, tls_port = _listen(request.tls_listen, "--tls-listen") if tls else ("", 0)
    folder = home.ensure()

    async def work() -> dict[str, Any]:
        hub = Hub(folder, tell)
        await hub.start(host, port)
        try:
            places = [f"{host}:{hub.port}"]
            if tls is not None:
                await hub.start_tls(tls_host, tls_port, tls)
                places.append(f"tls://{tls_host}:{hub.tls_port}")
            tell("listening", f"{', '.join(places)}  {hub.fingerprint}")
            while not stop.is_set():
                await asyncio.sleep(_LOOK_SECONDS)
            return {"ok": True, "listen": places, "fingerprint": hub.fingerprint}
        finally:
            await hub.close()

    return asyncio.run(work())


def _listen(text: str, option: str) -> tuple[str, int]:
    host, _, port = text.rpartition(":")
    if not host or not port.isdigit():
        raise InvalidSettingsError(f"{text!r} is not host:port", path=option, hint="for example 127.0.0.1:8722")
    return host.strip("[]"), int(port)


def _server_tls(request: HubRequest) -> ssl.SSLContext | None:
    if not request.tls_listen:
        return None
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    try:
        context.load_cert_chain(request.tls_cert, request.tls_key or None)
    except OSError as error:
        raise InvalidSettingsError(
            f"the certificate {request.tls_cert!r} cannot be used: {error.strerror or error}",
            path="--tls-cert",
            hint="PEM files: --tls-cert with the chain, --tls-key with its key",
        ) from None
    return context


def run(request: AgentRequest, secret: Callable[[str], str], stop: Event, tell: Tell) -> dict[str, Any]:
    """Be an agent until `stop` is set; raises ConfigError for wrong arguments, AuthError if the hub refuses us."""
    driver("asyncssh", "ssh")
    from tongqu.kit.egress.outpost import Outpost, Post

    if not whole_reference(request.token):
        raise InvalidSettingsError(
            "the token is named, not written: others see the arguments of a process",
            path="--token",
            hint="for example --token '${env:TONGQU_AGENT_TOKEN}' or '${file:token.txt}'",
        )
    if not request.allow:
        raise InvalidSettingsError(
            "an agent that allows nothing is of no use", path="--allow", hint="--allow host:port"
        )
    post = Post(
        hub=_place(request.hub.removeprefix("ssh://").removeprefix("tls://"), "--hub"),
        fingerprint=request.fingerprint,
        name=request.name,
        token=secret(request.token).strip(),
        allow=[_place(text, "--allow") for text in request.allow],
        tls=_client_tls(request.ca) if request.hub.startswith("tls://") else None,
    )
    hops = [HopSettings.parse({"proxy": secret(url) if whole_reference(url) else url}, "--via") for url in request.via]
    Outpost(post, Egress([(post.hub.host, post.hub.port)], build(hops)), stop, tell).run()
    return {"ok": True, "name": request.name}


def _client_tls(ca: str) -> ssl.SSLContext:
    try:
        return ssl.create_default_context(cafile=ca or None)
    except OSError as error:
        raise InvalidSettingsError(
            f"the authority {ca!r} cannot be used: {error.strerror or error}", path="--ca", hint="a PEM file"
        ) from None


def _place(text: str, option: str) -> Place:
    host, _, port = text.rpartition(":")
    try:
        return Place.of(host, int(port) if port.isdigit() else 0)
    except ValueError as error:
        raise InvalidSettingsError(
            f"{text!r}: {error}", path=option, hint="host:port, for example 10.2.0.5:5432"
        ) from None
