"""One connection that serves: prepared statements kept per text, values fitted to the types that PostgreSQL expects."""

from __future__ import annotations

import asyncio
import json
import ssl
import uuid
from collections import OrderedDict
from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, date, datetime, time
from decimal import Decimal, InvalidOperation
from itertools import count
from secrets import token_hex
from typing import TYPE_CHECKING, Any

from tongqu.connectors.postgres.db import SESSION, quoted
from tongqu.connectors.postgres.serving.dates import odd, teach
from tongqu.connectors.postgres.serving.errors import in_our_words
from tongqu.connectors.postgres.serving.sql import Attribute
from tongqu.core.errors import CastError
from tongqu.kit.drivers import driver
from tongqu.kit.serving.encode import dumps
from tongqu.kit.serving.trees import WIDE

if TYPE_CHECKING:
    from tongqu.connectors.postgres.settings import PostgresSettings

_KEPT = 128
"""Prepared statements of one connection; the database keeps the plan of each."""
_GRACE_SECONDS = 2.0
"""How long after the statement's own time limit a server that says nothing is waited for."""
_INTEGERS = {"int2": 15, "int4": 31, "int8": 63, "oid": 32}


class TooWideError(Exception):
    """A number does not fit the parameter's type: it must be compared as a decimal. `place` counts from 0."""

    def __init__(self, place: int):
        super().__init__(place)
        self.place = place


class _Named(ssl.SSLContext):
    """Checks the certificate against the host the settings name, whatever address is connected to."""

    host: str = ""

    def wrap_bio(self, *args: Any, **named: Any) -> Any:
        return super().wrap_bio(*args, **(named | {"server_hostname": self.host}))


def _context(settings: PostgresSettings) -> ssl.SSLContext:
    made = _Named(ssl.PROTOCOL_TLS_CLIENT)
    made.host = settings.host
    made.minimum_version = ssl.TLSVersion.TLSv1_2
    made.check_hostname = settings.tls == "verify-full"
    made.load_verify_locations(settings.ca_file) if settings.ca_file else made.load_default_certs()
    if settings.cert_file:
        made.load_cert_chain(settings.cert_file, settings.key_file)
    return made


async def connected(settings: PostgresSettings, *, writing: bool) -> Connection:
    """A new connection; reading ones can change nothing. Raises ConnectError or AuthError."""
    asyncpg = driver("asyncpg", "postgres")
    session = {**SESSION, "application_name": "tongqu serve", "jit": "off"}
    if not writing:
        session["default_transaction_read_only"] = "on"
    if settings.schema_name:
        session["search_path"] = quoted(settings.schema_name)
    more: dict[str, Any] = {}
    if not settings.host.startswith("/"):
        route = await asyncio.to_thread(settings.route)
        more = {"host": list(route.addresses), "port": [route.port] * len(route.addresses)}
        if settings.tls.startswith("verify"):
            more["ssl"] = _context(settings)
    with in_our_words(settings.display()):
        opened = await asyncpg.connect(
            settings.asyncpg_url(),
            **more,
            password=settings.password.get_secret_value() if settings.password else None,
            timeout=settings.connect_seconds,
            statement_cache_size=0,
            server_settings=session,
        )
        try:
            await teach(opened)
        except BaseException:
            opened.terminate()
            raise
    return Connection(opened)


class Prepared:
    """A prepared statement of one connection."""

    def __init__(self, statement: Any):
        self.statement = statement
        self._fit = tuple(_fitter(type_.name) for type_ in statement.get_parameters())

    def values(self, values: Sequence[Any]) -> list[Any]:
        """Values as the driver takes them. Raises TooWideError, or CastError, which does not tell the value."""
        made = []
        for place, (fit, value) in enumerate(zip(self._fit, values, strict=True)):
            try:
                made.append(None if value is None else fit(value))
            except OverflowError:
                raise TooWideError(place) from None
            except (ValueError, TypeError, InvalidOperation):
                raise CastError(f"parameter {place + 1} does not fit what it is compared with") from None
        return made

    def types(self) -> tuple[str, ...]:
        """The built-in types of its parameters; empty if one is not built in."""
        found = self.statement.get_parameters()
        return tuple(one.name for one in found) if all(one.schema == "pg_catalog" for one in found) else ()

    def attributes(self) -> list[Attribute]:
        """The columns it gives."""
        return [Attribute(one.name, one.type.name, one.type.kind) for one in self.statement.get_attributes()]


class Connection:
    """An asyncpg connection."""

    def __init__(self, driver_connection: Any):
        self.raw = driver_connection
        self._prepared: OrderedDict[str, Prepared] = OrderedDict()
        self._names: Iterator[str] | None = map(f"tongqu_{token_hex(8)}_{{}}".format, count())
        self._seconds = 0.0

    async def prepare(self, sql: str) -> Prepared:
        """The statement, prepared at most once."""
        found = self._prepared.get(sql)
        if found is not None:
            self._prepared.move_to_end(sql)
            return found
        name = next(self._names) if self._names is not None else None  # one without a name is parsed at each execution
        made = Prepared(await self.raw.prepare(sql, name=name))
        if len(made.statement.get_parameters()) > WIDE:
            return made
        self._prepared[sql] = made
        if len(self._prepared) > _KEPT:
            self._prepared.popitem(last=False)
        return made

    def forget(self, *, names: bool = False) -> None:
        """Prepare everything anew: a table was altered, or, with `names`, something between us and the database does
        not keep statements by name."""
        self._prepared.clear()
        if names:
            self._names = None

    async def within(self, seconds: float) -> None:
        """Limit the time of each statement from now on."""
        if seconds != self._seconds:
            self._seconds = 0.0
            await self.raw.execute(f"SET statement_timeout = {max(int(seconds * 1000), 1)}")
            self._seconds = seconds

    async def fetch(self, sql: str, values: Sequence[Any], seconds: float) -> list[Any]:
        """All rows of a statement; dates that Python has not are texts. Raises CastError for other values that it has
        not: JSON, which the database makes, holds them."""
        await self.within(seconds)
        prepared = await self.prepare(sql)
        given = prepared.values(values)
        try:
            rows: list[Any] = await prepared.statement.fetch(*given, timeout=seconds + _GRACE_SECONDS)
        except (ValueError, OverflowError) as error:  # of the driver's decoding
            raise CastError("a value of the rows cannot be decoded") from error
        return rows

    @property
    def alive(self) -> bool:
        """Whether it can be used, as far as is known without asking."""
        return not self.raw.is_closed()

    def drop(self) -> None:
        """End it at once."""
        self._prepared.clear()
        self.raw.terminate()


def _fitter(type_name: str) -> Callable[[Any], Any]:
    if type_name.endswith("[]") or type_name.startswith("_"):
        inner = _fitter(type_name.removesuffix("[]").removeprefix("_"))
        return lambda values: [None if value is None else inner(value) for value in values]
    if type_name in _INTEGERS:
        return _integer(_INTEGERS[type_name])
    found = _FITTERS.get(type_name)
    return found or _text


def _integer(bits: int) -> Callable[[Any], int]:
    def fit(value: Any) -> int:
        made = Decimal(str(value)) if not isinstance(value, int) else value
        if made != int(made) or not -(2**bits) <= made < 2**bits:
            raise OverflowError
        return int(made)

    return fit


def _text(value: Any) -> str:
    if isinstance(value, str):
        return value
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, dict | list):
        return json.dumps(value, ensure_ascii=False)
    if isinstance(value, int | float | Decimal | uuid.UUID):
        return str(value)
    if isinstance(value, date | time):
        return value.isoformat()
    raise TypeError(type(value).__name__)


def _boolean(value: Any) -> bool:
    if isinstance(value, bool):
        return value
    known = {"true": True, "t": True, "false": False, "f": False, 1: True, 0: False}
    if value not in known:
        raise ValueError
    return known[value]


def _moment(value: Any) -> datetime | str:
    """A text is one that Python has no datetime for."""
    try:
        made = datetime.fromisoformat(value) if isinstance(value, str) else value
    except ValueError:
        return odd(value)
    if not isinstance(made, datetime):
        made = datetime(made.year, made.month, made.day)  # noqa: DTZ001  # midnight, the zone follows
    return made


def _instant(value: Any) -> datetime | str:
    made = _moment(value)
    return made if isinstance(made, str) or made.tzinfo else made.replace(tzinfo=UTC)


def _naive(value: Any) -> datetime | str:
    made = _moment(value)
    return made if isinstance(made, str) or not made.tzinfo else made.astimezone(UTC).replace(tzinfo=None)


def _day(value: Any) -> date | str:
    try:
        made = date.fromisoformat(value) if isinstance(value, str) else value
    except ValueError:
        return odd(value)
    return made.date() if isinstance(made, datetime) else made


def _json(value: Any) -> str:
    return value if isinstance(value, str) else dumps(value).decode()


_FITTERS: dict[str, Callable[[Any], Any]] = {
    "bool": _boolean,
    "float4": float,
    "float8": float,
    "numeric": lambda value: value if isinstance(value, int | Decimal) else Decimal(str(value)),
    "timestamptz": _instant,
    "timestamp": _naive,
    "date": _day,
    "time": lambda value: time.fromisoformat(value) if isinstance(value, str) else value,
    "bytea": lambda value: bytes.fromhex(value.removeprefix("\\x")) if isinstance(value, str) else bytes(value),
    "uuid": lambda value: uuid.UUID(str(value)),
    "json": _json,
    "jsonb": _json,
}
