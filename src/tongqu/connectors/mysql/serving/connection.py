"""One connection that serves: prepared statements kept per text, values bound by the server, never written into SQL."""

from __future__ import annotations

import asyncio
import ssl
from collections import OrderedDict
from collections.abc import Sequence
from contextlib import suppress
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from tongqu.connectors.mysql.db import session
from tongqu.connectors.mysql.serving.errors import failures, told
from tongqu.core.data import Meta
from tongqu.core.errors import CastError, ConnectError, NotFoundError
from tongqu.kit.drivers import driver
from tongqu.kit.serving.encode import dumps
from tongqu.kit.serving.trees import WIDE

if TYPE_CHECKING:
    from tongqu.connectors.mysql.settings import MysqlSettings

_KEPT = 256
"""Prepared statements of one connection."""
_GRACE_SECONDS = 2.0


class _Named(ssl.SSLContext):
    """Checks the certificate against the host the settings name, whatever address is connected to."""

    host: str = ""

    def wrap_bio(self, *args: Any, **named: Any) -> Any:
        return super().wrap_bio(*args, **(named | {"server_hostname": self.host}))


def _context(settings: MysqlSettings) -> ssl.SSLContext | None:
    if settings.tls == "disable":
        return None
    made = _Named(ssl.PROTOCOL_TLS_CLIENT)
    made.host = settings.host
    made.minimum_version = ssl.TLSVersion.TLSv1_2
    made.check_hostname = settings.tls == "verify-identity"
    made.verify_mode = ssl.CERT_REQUIRED if settings.tls.startswith("verify") else ssl.CERT_NONE
    made.load_verify_locations(settings.ca_file) if settings.ca_file else made.load_default_certs()
    if settings.cert_file:
        made.load_cert_chain(settings.cert_file, settings.key_file)
    return made


async def connected(settings: MysqlSettings, *, writing: bool) -> Connection:
    """A new connection; reading ones can change nothing. Raises ConnectError or AuthError."""
    route = await asyncio.to_thread(
        lambda: settings.way().route(settings.host, settings.port, settings.connect_seconds)
    )
    context = _context(settings)
    ways = [context, None] if settings.tls == "prefer" else [context]
    failed: BaseException = ConnectError("no address answers", path=settings.display())
    for address in route.addresses:
        for way in ways:
            try:
                raw = await _opened(settings, address, route.port, way)
                return await _begun(settings, raw, writing=writing)
            except failures() as error:
                failed = told(error, settings.display())
                if not isinstance(failed, ConnectError):
                    break
    raise failed from None


async def _opened(settings: MysqlSettings, address: str, port: int, way: ssl.SSLContext | None) -> Any:
    asyncmy = driver("asyncmy", "mysql")
    return await asyncmy.connect(
        host=address,
        port=port,
        user=settings.user,
        password=settings.password.get_secret_value().encode() if settings.password else b"",
        database=settings.database,
        charset="utf8mb4",
        connect_timeout=settings.connect_seconds,
        ssl=way,
        autocommit=True,
        local_infile=False,
    )


async def _begun(settings: MysqlSettings, raw: Any, *, writing: bool) -> Connection:
    must, may = session(settings)
    await raw.query(must)
    optional = [*may, "SET SESSION TRANSACTION ISOLATION LEVEL READ COMMITTED"]
    for statement in optional:
        with suppress(driver("asyncmy.errors", "mysql").MySQLError):  # the system has no such variable
            await raw.query(statement)
    if not writing:
        await raw.query("SET SESSION TRANSACTION READ ONLY")
    return Connection(raw, mariadb="mariadb" in str(raw.get_server_info()).lower())


class Connection:
    """An asyncmy connection in autocommit."""

    def __init__(self, raw: Any, *, mariadb: bool):
        self.raw = raw
        self.mariadb = mariadb
        self.version = str(raw.get_server_info())
        self._prepared: OrderedDict[str, Any] = OrderedDict()
        self._seconds = 0.0

    async def run(self, sql: str, values: Sequence[Any] = (), seconds: float = 30.0) -> Any:
        """The driver's result of a statement with bound values: `rows`, `affected_rows`, `insert_id`, `fields`."""
        prepared = self._prepared.get(sql)
        if prepared is None:
            prepared = await self.raw.prepare(sql)
            if len(values) > WIDE:
                try:
                    return await asyncio.wait_for(prepared.execute(tuple(values)), seconds + _GRACE_SECONDS)
                finally:
                    await prepared.close()
            self._prepared[sql] = prepared
            if len(self._prepared) > _KEPT:
                _, oldest = self._prepared.popitem(last=False)
                await oldest.close()
        else:
            self._prepared.move_to_end(sql)
        return await asyncio.wait_for(prepared.execute(tuple(values)), seconds + _GRACE_SECONDS)

    async def say(self, sql: str) -> None:
        """A statement without values."""
        await self.raw.query(sql)

    async def within(self, seconds: float) -> None:
        """Limit the time of each query from now on."""
        if seconds != self._seconds:
            self._seconds = 0.0
            limit = (
                f"max_statement_time = {seconds:.3f}" if self.mariadb else f"max_execution_time = {int(seconds * 1000)}"
            )
            await self.say(f"SET SESSION {limit}")
            self._seconds = seconds

    @property
    def alive(self) -> bool:
        """Whether it can be used, as far as is known without asking."""
        return bool(self.raw.connected) and not self.raw._stream_broken

    def drop(self) -> None:
        """End it at once."""
        self._prepared.clear()
        transport = self.raw._transport
        self.raw.close()
        if transport is not None:
            transport.abort()


def bound(value: Any) -> Any:
    """A value of a condition as the driver takes it: instants are in UTC without saying so."""
    if isinstance(value, bool):
        return int(value)
    if isinstance(value, datetime) and value.tzinfo is not None:
        return value.astimezone(UTC).replace(tzinfo=None)
    if isinstance(value, time):
        return value.isoformat()
    return dumps(value).decode() if isinstance(value, dict | list) else value


def stored(value: Any, field: pa.Field[Any]) -> Any:
    """A value of a row as its column takes it. Raises CastError, which does not tell the value."""
    kind = field.type
    try:
        if value is None:
            return None
        if isinstance(value, str):
            if pa.types.is_timestamp(kind):
                return bound(datetime.fromisoformat(value))
            if pa.types.is_binary(kind):
                return bytes.fromhex(value.removeprefix("\\x"))
            if pa.types.is_boolean(kind):
                return {"true": 1, "false": 0}[value]
            return value
        if (field.metadata or {}).get(Meta.LOGICAL.value.encode()) == b"json":
            return dumps(value).decode()
    except (ValueError, KeyError):
        raise CastError(f"a value of {field.name!r} is no {kind}", field=field.name) from None
    return bound(value)


def shown(rows: Sequence[Sequence[Any]], fields: Sequence[pa.Field[Any]]) -> list[tuple[Any, ...]]:
    """Rows of the driver with the values that Arrow takes as the fields' types."""
    if not rows:
        return []
    columns = [_column(cells, field) for cells, field in zip(zip(*rows, strict=True), fields, strict=True)]
    return list(zip(*columns, strict=True))


def _column(cells: Sequence[Any], field: pa.Field[Any]) -> Sequence[Any]:
    kind, t = field.type, pa.types
    if t.is_boolean(kind):
        return [None if v is None else (any(v) if isinstance(v, bytes) else bool(v)) for v in cells]
    if t.is_time(kind):
        return [_time(v, field) if isinstance(v, timedelta) else v for v in cells]
    if t.is_integer(kind):
        return [v if v is None or type(v) is int else _integer(v) for v in cells]
    if t.is_decimal(kind):
        return [v if v is None or isinstance(v, Decimal) else Decimal(str(v)) for v in cells]
    if t.is_floating(kind):
        return [v if v is None else float(v) for v in cells]
    if t.is_string(kind):
        return [v if v is None or isinstance(v, str) else _words(v) for v in cells]
    if t.is_binary(kind):
        return [v.encode() if isinstance(v, str) else v for v in cells]
    if t.is_timestamp(kind):
        return [_moment(v) for v in cells]
    return cells


def _integer(value: Any) -> int:
    return int.from_bytes(value) if isinstance(value, bytes) else int(value)


def _words(value: Any) -> str:
    return value.decode() if isinstance(value, bytes) else str(value)


def _moment(value: Any) -> Any:
    if isinstance(value, str):
        return datetime.fromisoformat(value)
    return datetime(value.year, value.month, value.day) if type(value) is date else value  # noqa: DTZ001  # midnight


def _time(value: timedelta, field: pa.Field[Any]) -> time:
    if not timedelta(0) <= value < timedelta(days=1):
        raise CastError(f"a value of {field.name!r} is no time of day", field=field.name)
    return (datetime(1970, 1, 1) + value).time()  # noqa: DTZ001  # any day


async def place_of(connection: Connection, name: str) -> tuple[str, str]:
    """The database and table of a dataset's name; raises NotFoundError."""
    schema, _, table = name.partition(".")
    found = await connection.run(
        "SELECT TABLE_SCHEMA, TABLE_NAME FROM information_schema.TABLES "
        "WHERE (TABLE_SCHEMA = DATABASE() AND TABLE_NAME = ?) OR (TABLE_SCHEMA = ? AND TABLE_NAME = ?) "
        "ORDER BY TABLE_SCHEMA <> DATABASE() LIMIT 1",
        (name, schema, table),
    )
    if not found.rows:
        raise NotFoundError(f"there is no table or view {name!r}")
    return found.rows[0][0], found.rows[0][1]
