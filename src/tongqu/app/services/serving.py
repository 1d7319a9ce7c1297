"""`serve`: one process, or several that share a port, from the first version to the last request."""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import socket
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from datetime import UTC, datetime
from functools import partial
from ipaddress import ip_address
from typing import TYPE_CHECKING, Any

from tongqu.app import early
from tongqu.app.services.governing import show_budgets
from tongqu.app.services.managed import Manage, Managing, managed
from tongqu.app.services.origins import Applied, Files, Origin
from tongqu.app.services.proving import Proofs
from tongqu.app.services.publishing import Publishing
from tongqu.app.services.reloading import Prepared, Reloading
from tongqu.app.services.serve_place import MANAGE_SOCKET, READY, SAME_SIGNAL, SOCKET, HttpPlace, Owner, ServeRequest
from tongqu.app.services.timing import local_zone
from tongqu.core.errors import InvalidSettingsError
from tongqu.core.turns import short_turns
from tongqu.gateway.health import Health
from tongqu.gateway.serving.bounds import Bounds
from tongqu.kit.drivers import driver
from tongqu.kit.egress.own_ports import announce
from tongqu.store.contracts import sunsets

if TYPE_CHECKING:
    from tongqu.app.project.load import Project
    from tongqu.app.services.composing import Gateway
    from tongqu.app.services.expiring import Expiring
    from tongqu.app.wire import Wire
    from tongqu.gateway.serving.server import HttpServer
    from tongqu.store.scrub import Scrubber

Tell = Callable[[str, Mapping[str, Any]], None]


def serve(wire: Wire, request: ServeRequest, tell: Tell, manage: Manage | None = None) -> dict[str, Any]:
    """Serve until a signal; the document tells where, and whether all requests were finished. `manage` makes the
    handler of `/manage`.

    Raises ConfigError for what is wrong with the files or arguments, ConnectError if it cannot listen.
    """
    require()
    from tongqu.gateway.serving.server import listening, tls

    context = tls(request.tls_cert, request.tls_key, request.client_ca) if request.tls_cert else None
    origin = origin_of(wire, request)
    project, _ = origin.load()
    secure_start(project, request)
    inherited = os.environ.get(SOCKET)
    with ExitStack() as opened:
        place = _inherited(int(inherited)) if inherited else listening(request.host, request.port)
        opened.callback(place.close)
        own: socket.socket | None = None
        if request.manage_port is not None:
            told = os.environ.get(MANAGE_SOCKET)
            own = _inherited(int(told)) if told else listening(request.host, request.manage_port)
            opened.callback(own.close)
        if not inherited and not request.mock and request.concurrency:
            tell = opened.enter_context(_with_hands(wire, request, tell))
        if request.workers > 1 and not inherited:
            from tongqu.app.services.workers import supervise

            return supervise(wire, request, HttpPlace(place, context, own), tell)
        import uvloop

        with short_turns(), asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            return runner.run(_serve(wire, origin, request, HttpPlace(place, context, own), tell, manage=manage))


@contextmanager
def _with_hands(wire: Wire, request: ServeRequest, tell: Tell) -> Iterator[Tell]:
    """Schedules are kept and jobs done beside the gateway, in processes of their own; gives what is to be told instead:
    when the gateway stops or its configuration changes, the hands hear of it."""
    from tongqu.app.services.hands import beside, working

    hands = working(wire, files=request.files, concurrency=request.concurrency, tell=tell)

    def told(word: str, about: Mapping[str, Any]) -> None:
        if word == "stopping":
            hands.leave()
        elif word != "listening":
            hands.look()
        tell(word, about)

    with beside(hands):
        yield told


def require() -> None:
    """Raises MissingDriverError if what serving needs is not installed."""
    for module in ("httptools", "websockets", "uvloop", "orjson"):
        driver(module, "gateway")


def origin_of(wire: Wire, request: ServeRequest) -> Origin:
    """Where the configuration comes from."""
    if request.files:
        return Files(wire.folder, wire.env)
    return Applied(wire.folder, wire.env, wire.home, wire.scrubber)


def secure_start(project: Project, request: ServeRequest) -> None:
    """Refuse to start in a way that would give credentials away; raises InvalidSettingsError."""
    gateway = project.gateway
    proxied = bool(gateway and gateway.trusted_proxies)
    if request.tls_cert or proxied:
        return
    if not _loopback(request.host) and not request.plain:
        raise InvalidSettingsError(
            f"{request.host} is reached by other machines, and without TLS they would send their tokens in the clear",
            path="--host",
            hint="give --tls-cert and --tls-key, or name the proxy in front in gateway.trusted_proxies; "
            "--plain if the network itself is encrypted",
        )
    if gateway and not request.plain and any(not _loopback(network) for network in gateway.admin.allow):
        raise InvalidSettingsError(
            "administrators may come from other machines, and there is no TLS",
            path="gateway.admin.allow",
            hint="give --tls-cert and --tls-key, or name the proxy in front in gateway.trusted_proxies",
        )


def _loopback(text: str) -> bool:
    try:
        return ip_address(text.partition("/")[0]).is_loopback
    except ValueError:
        return text == "localhost"


async def _serve(
    wire: Wire, origin: Origin, request: ServeRequest, place: HttpPlace, tell: Tell, *, manage: Manage | None
) -> dict[str, Any]:
    from tongqu.app.services.composing import compose
    from tongqu.app.services.hooking import no_queue, queues_of
    from tongqu.app.services.pretending import mocks_of, profiles_of
    from tongqu.app.services.tidying import tidy, tidy_all

    worker = READY in os.environ
    stop = _stopped_by_signals(tell if not worker else lambda word, told: None)
    _log(wire.scrubber)
    publishing = publishing_of(wire)
    reloading = Reloading(origin, publishing, tell)
    served = await reloading.begin()
    owner = Owner(wire.home, place.url(request.host), wire.folder, wire.env, place.manage_url(request.host))
    following: asyncio.Task[None] | None = None
    watching: asyncio.Task[None] | None = None
    warning: asyncio.Task[None] | None = None
    tidying: asyncio.Task[None] | None = None
    gateway: Gateway | None = None
    managing: Managing | None = None
    try:
        health = Health(reloading.state, owner.token)
        gateway = compose(
            wire.home, wire.scrubber, served.project, served.compiled.publication, health,
            resolve=wire.references.resolve,
            mocks=mocks_of(profiles_of(wire, lambda: reloading.served.project), always=request.mock),
            queue=no_queue if request.mock else queues_of(wire.ends_of(lambda: reloading.served.project)),
        )  # fmt: skip
        managing = _managed(wire, gateway, request, manage, owner.token, reloading)
        tidy_all()  # what was compiled stays: the collector need not walk it while calls wait
        servers = await _listening(gateway, place)
        prepared = _adopting(wire, gateway, reloading)
        prepared(served.project)()
        following = asyncio.get_running_loop().create_task(reloading.follow(gateway.site, prepared))
        warning = asyncio.get_running_loop().create_task(_warning(wire, gateway, reloading, request))
        tidying = asyncio.get_running_loop().create_task(tidy())
        if worker:
            os.write(int(os.environ[READY]), b"1")
            watching = asyncio.get_running_loop().create_task(_orphaned(stop))
        else:
            if not request.mock:
                owner.announce()
                watching = asyncio.get_running_loop().create_task(owner.stand_in())
            tell("listening", {**served.state(), **_where(owner, request, gateway)})
        await _first(stop, following)
        gateway.retire()
        if managing is not None:
            managing.retire()
        whole = all([await server.drain() for server in servers])
    finally:
        owner.leave()
        tasks = [task for task in (following, watching, warning, tidying) if task is not None]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        if managing is not None:
            await asyncio.to_thread(managing.close)
        await _ended(gateway, reloading)
    return {"ok": True, "url": owner.url, "finished": whole, "worker": worker}


def _where(owner: Owner, request: ServeRequest, gateway: Gateway) -> dict[str, Any]:
    """How the server is reached, for who started it."""
    prefixes = [route.prefix for route in gateway.site.routes]
    about = {"url": owner.url, "manage": f"{owner.manage}/manage", "files": request.files, "pid": os.getpid()}
    return {**about, "prefixes": prefixes}


def _managed(  # noqa: PLR0917  what it stands on
    wire: Wire, gateway: Gateway, request: ServeRequest, manage: Manage | None, token: str, reloading: Reloading
) -> Managing | None:
    """The handlers of `/news` and of `/manage` in their places; that one looks at rights by itself."""
    from tongqu.app.services.newsroom import newsroom
    from tongqu.gateway.site import Route

    gateway.news = newsroom(wire, gateway, telling=not request.mock)
    if manage is None:
        return None
    made = manage(managed(wire.home, gateway, token, reloading.state))
    gateway.site.add(Route("/manage", made, "open"))
    return made


async def _warning(wire: Wire, gateway: Gateway, reloading: Reloading, request: ServeRequest) -> None:
    """Warn of what ends, and tell of the gates of two-way syncs, until cancelled."""
    from tongqu.app.services.gatekeeping import Gates

    project = lambda: reloading.served.project  # noqa: E731  what is served now
    gates = Gates(wire.home, project, gateway.audit.trail, gateway.feed, gateway.streams.holder, wire.now)
    ends = _expiring(wire, gateway, reloading, request)
    await asyncio.gather(ends.run(), gates.run(gateway.metrics))


def _expiring(wire: Wire, gateway: Gateway, reloading: Reloading, request: ServeRequest) -> Expiring:
    """What warns of keys and certificates that end."""
    from tongqu.app.services.expiring import Expiring
    from tongqu.app.services.identity import Callers

    callers = Callers(wire.home, wire.scrubber, lambda: reloading.served.project.identity)
    made = Expiring(callers, gateway.audit.trail, gateway.feed, gateway.streams.holder, request.tls_cert)
    made.measured_by(gateway.metrics)
    return made


def _adopting(wire: Wire, gateway: Gateway, reloading: Reloading) -> Prepared:
    """Protect as a project says, and show how its connections do among the metrics."""

    def number(name: str, which: int) -> float:
        held = reloading.served.compiled.held.get(name)
        return ((held.server.connections if held is not None else None) or (0, 0))[which]

    def prepared(project: Project) -> Callable[[], None]:
        adopt = gateway.prepared(project)

        def swap() -> None:
            adopt()
            measure(project)

        return swap

    def measure(project: Project) -> None:
        for name in {entry.source.connection for entry in project.apis.values()}:
            used, limit = "Connections of a source that are in use", "Connections of a source that may be in use"
            gateway.metrics.gauge("tongqu_source_connections", used, partial(number, name, 0), connection=name)
            gateway.metrics.gauge("tongqu_source_connections_limit", limit, partial(number, name, 1), connection=name)
        show_budgets(wire, project, gateway.metrics)

    return prepared


async def _listening(gateway: Gateway, place: HttpPlace) -> list[HttpServer]:
    """Take calls; where administrators have a port of their own, only they are answered there, and not here."""
    from tongqu.gateway.serving.door import Door
    from tongqu.gateway.serving.server import HttpServer

    if place.own is None:
        servers = [HttpServer(gateway.site, Bounds(), place.context)]
    else:
        servers = [HttpServer(Door(gateway.site, admin=admin), Bounds(), place.context) for admin in (False, True)]
        await servers[1].start(place.own)
    await servers[0].start(place.socket)
    announce(place.socket.getsockname()[1])  # no webhook and no connection leads back to us
    gateway.begin()
    return servers


async def _ended(gateway: Gateway | None, reloading: Reloading) -> None:
    """What goes on by itself ends before the sources that it reads from."""
    if gateway is not None:
        await gateway.leave()
    await reloading.close()
    if gateway is not None:
        gateway.close()


async def _orphaned(stop: asyncio.Event) -> None:
    """A worker does not outlive who watches it."""
    parent = os.getppid()
    while os.getppid() == parent:
        await asyncio.sleep(1)
    stop.set()


async def _first(stop: asyncio.Event, following: asyncio.Task[None]) -> None:
    """Wait for the signal; what follows versions ends only by a bug, which is raised."""
    waiting = asyncio.get_running_loop().create_task(stop.wait())
    done, _ = await asyncio.wait({waiting, following}, return_when=asyncio.FIRST_COMPLETED)
    waiting.cancel()
    await asyncio.gather(waiting, return_exceptions=True)
    if following in done:
        following.result()


def publishing_of(wire: Wire) -> Publishing:
    """Compiles versions of this project."""
    return Publishing(
        ends=lambda project: wire.ends_of(lambda: project),
        scrubber=wire.scrubber,
        now=lambda: datetime.now(UTC),
        zone=local_zone(),
        proofs=Proofs.of(wire.home),
        sunsets=partial(sunsets, wire.home, wire.env),
    )


def _inherited(number: int) -> socket.socket:
    found = socket.socket(fileno=number)
    found.setblocking(False)
    return found


def _stopped_by_signals(tell: Tell) -> asyncio.Event:
    """Set by the first SIGINT or SIGTERM; a later one quits at once. Some send both to a process and its group."""
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    since = 0.0

    def asked() -> None:
        nonlocal since
        if not stop.is_set():
            since = loop.time()
            stop.set()
            tell("stopping", {})
        elif loop.time() - since > SAME_SIGNAL:
            os._exit(1)

    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, asked)
    if early.taken():
        asked()
    return stop


class _Scrubbed(logging.Formatter):
    """Log lines without secrets, control characters or line breaks inside a message."""

    def __init__(self, scrubber: Scrubber):
        super().__init__("%(asctime)s %(levelname)s %(name)s %(message)s")
        self._scrubber = scrubber

    def format(self, record: logging.LogRecord) -> str:
        """See logging.Formatter."""
        first, _, trace = self._scrubber.text(super().format(record)).partition("\nTraceback")
        plain = "".join(mark if mark.isprintable() else " " for mark in first)
        return f"{plain}\nTraceback{trace}" if trace else plain


def _log(scrubber: Scrubber) -> None:
    """Log to stderr."""
    log = logging.getLogger("tongqu")
    if not log.handlers:
        handler = logging.StreamHandler()
        handler.setFormatter(_Scrubbed(scrubber))
        log.addHandler(handler)
        log.propagate = False
