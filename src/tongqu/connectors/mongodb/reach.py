"""The way to a MongoDB: finds the server that writes are for by itself, and lets the driver connect to that one only.

The driver would follow whatever addresses a replica set tells; here each of them passes the egress policy first.
"""

from __future__ import annotations

from collections.abc import Iterator
from threading import RLock
from typing import Any

from tongqu.connectors.mongodb.failing import meaning, told
from tongqu.connectors.mongodb.settings import MongodbSettings
from tongqu.core.errors import AuthError, ConnectError, EgressRefusedError, InvalidSettingsError, TongquError
from tongqu.kit.drivers import driver
from tongqu.kit.egress import policy

_POOL = 6
"""The loopback port of a way through hops takes eight connections; two are the driver's own."""


class Reach:
    """The connections of one end; thread-safe."""

    def __init__(self, settings: MongodbSettings):
        self.settings = settings
        self.where = settings.display()
        self._client: Any = None
        self._hello: dict[str, Any] = {}
        self._lock = RLock()
        self.sessions: set[bytes] = set()
        """Of this process."""

    def client(self) -> Any:
        """The driver's client of the server that writes are for."""
        with self._lock:
            if self._client is None:
                self._client = self._find()
            return self._client

    def database(self) -> Any:
        """The database of the settings."""
        return self.client()[self.settings.database]

    @property
    def transactional(self) -> bool:
        """Whether the server has transactions: it is a member of a replica set, or a router."""
        self.client()
        grown = int(self._hello.get("maxWireVersion", 0)) >= 8
        able = bool(self._hello.get("setName")) or self._hello.get("msg") == "isdbgrid"
        return grown and able and self.settings.transactions == "auto"

    def hello(self) -> dict[str, Any]:
        """Who the server said that it is."""
        self.client()
        return self._hello

    def forget(self) -> None:
        """Close the client; the next use finds the server anew (after a failover it is another one)."""
        with self._lock:
            client, self._client = self._client, None
        if client is not None:
            client.close()

    def stages(self) -> Iterator[str]:
        """The stages of a check up to the login."""
        tried: TongquError | None = None
        for host, port in self._seeds():
            way = self.settings.egress((host, port))
            try:
                yield from way.stages(host, port, seconds=self.settings.connect_seconds)
                break
            except TongquError as error:
                tried = error
        else:
            assert tried is not None  # noqa: S101  # a place has a host or more
            raise tried
        self.client()
        yield "tls: not used" if self.settings.tls == "disable" else f"tls: {self.settings.tls}"
        with told(self.where):
            self.database().command("ping")
        yield "login"

    # ---- inside

    def _seeds(self) -> list[tuple[str, int]]:
        if not self.settings.srv:
            return self.settings.hosts()
        parse = driver("pymongo.uri_parser", "mongodb").parse_uri
        with told(self.where):
            found = parse(f"mongodb+srv://{self.settings.host}/", connect_timeout=self.settings.connect_seconds)
        return [(host, int(port)) for host, port in found["nodelist"]]

    def _find(self) -> Any:
        """Ask each host who it is until the one is found that takes writes; only then log in."""
        waiting = list(dict.fromkeys(self._seeds()))
        named, asked = set(waiting), set[tuple[str, int]]()
        tried: TongquError | None = None
        while waiting:
            place = waiting.pop(0)
            if place in asked:
                continue
            asked.add(place)
            grant = policy.Grant.OPERATOR if place in named else policy.Grant.DATA
            try:
                client = self._connect(place, named, grant)
                hello = self._ask(client)
            except ConnectError as error:
                tried = tried or error
                continue
            except EgressRefusedError as error:
                hint = "name all members of the replica set in host, so that their addresses are yours"
                raise EgressRefusedError(error.message, path=self.where, hint=hint) from None
            wanted = self.settings.replica_set
            if wanted and hello.get("setName") != wanted:
                client.close()
                tried = InvalidSettingsError(
                    f"{place[0]}:{place[1]} belongs to the replica set {hello.get('setName')!r}, not {wanted!r}",
                    path="replica_set",
                )
                continue
            if hello.get("isWritablePrimary") or hello.get("ismaster"):
                self._hello = hello
                return self._login(client)
            client.close()
            told_of = [hello.get("primary"), *hello.get("hosts", ())]
            waiting += [_place(one) for one in told_of if one]
        raise tried or ConnectError(
            f"none of {self.settings.host} is the primary",
            path=self.where,
            hint="wait for the replica set to elect one",
        )

    def _connect(self, place: tuple[str, int], named: set[tuple[str, int]], grant: Any) -> Any:
        """A client for one host, by an address that the policy has looked at."""
        settings = self.settings
        way = settings.egress(*named)
        if settings.via:
            if settings.tls == "verify":
                raise InvalidSettingsError(
                    "the driver cannot check a certificate's host name through hops", path="tls",
                    hint="use tls: require with via, or connect without hops",
                )  # fmt: skip
            route = way.route(*place, settings.connect_seconds, grant)
            host, port = route.addresses[0], route.port
        else:
            pinned = way.addresses(*place, grant, settings.connect_seconds)
            host = place[0] if settings.tls == "verify" else str(pinned[0].address)
            port = place[1]
        options: dict[str, Any] = {
            "directConnection": True, "maxPoolSize": _POOL, "appname": "tongqu",
            "serverSelectionTimeoutMS": int(settings.connect_seconds * 1000),
            "connectTimeoutMS": int(settings.connect_seconds * 1000),
            "socketTimeoutMS": int(settings.read_seconds * 1000), "tls": settings.tls != "disable",
            "w": "majority", "readConcernLevel": "majority", "retryWrites": False,
        }  # fmt: skip
        if settings.tls == "require":
            options |= {"tlsAllowInvalidCertificates": True}
        if settings.tls != "disable" and settings.ca_file:
            options["tlsCAFile"] = settings.ca_file
        if settings.tls != "disable" and settings.certificate_file:
            options["tlsCertificateKeyFile"] = settings.certificate_file
        if settings.user or settings.auth_mechanism:
            options |= {"username": settings.user or None, "authSource": settings.auth_source}
            if settings.password is not None:
                options["password"] = settings.password.get_secret_value()
            if settings.auth_mechanism:
                options["authMechanism"] = settings.auth_mechanism
        with told(self.where):
            return driver("pymongo", "mongodb").MongoClient(host=host, port=port, **options)

    def _ask(self, client: Any) -> dict[str, Any]:
        """Who the server says that it is; its greeting needs a login where one is given."""
        from pymongo.errors import PyMongoError

        try:
            hello: dict[str, Any] = client.admin.command("hello")
        except PyMongoError as error:
            client.close()
            failure = meaning(error, self.where)
            raise failure from None
        return hello

    def _login(self, client: Any) -> Any:
        """Make the first connection, so that a refused login shows here."""
        from pymongo.errors import PyMongoError

        try:
            client.admin.command("ping")
            if not self.settings.user:
                client[self.settings.database].command("listCollections", nameOnly=True, filter={"name": "_"})
        except PyMongoError as error:
            client.close()
            failure = meaning(error, self.where)
            if isinstance(failure, AuthError) and not self.settings.user:
                failure = AuthError("the server asks for a login", path=self.where, hint="give user and password")
            raise failure from None
        return client


def _place(text: str) -> tuple[str, int]:
    host, _, port = text.rpartition(":")
    return host.strip("[]"), int(port)
