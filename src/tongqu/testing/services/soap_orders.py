"""A SOAP service over orders in memory, made by spyne: an implementation of SOAP that is not ours."""

from __future__ import annotations

import io
import sys
import warnings
from collections.abc import Callable, Iterable
from datetime import UTC, datetime
from decimal import Decimal as Amount
from socketserver import ThreadingMixIn
from threading import Lock, Thread
from typing import Any, Self
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer, make_server

from tongqu.testing.services.process import HOST

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # spyne brings an importer of its own, of which Python 3.11 warns
    from spyne import (
        Application,
        Array,
        Boolean,
        ComplexModel,
        DateTime,
        Decimal,
        Fault,
        Integer,
        ServiceBase,
        Unicode,
        rpc,
    )
    from spyne.model.complex import XmlAttribute
    from spyne.protocol.soap import Soap11, Soap12
    from spyne.server.wsgi import WsgiApplication
    from spyne.util import six

sys.meta_path[:] = [one for one in sys.meta_path if type(one).__module__ != six.__name__]

_SPACE = "urn:orders"
Wsgi = Callable[[dict[str, Any], Any], Iterable[bytes]]


class Line(ComplexModel):
    """A line of an order."""

    __namespace__ = _SPACE
    item = Unicode(min_occurs=1)
    qty = Integer(min_occurs=1)


class Order(ComplexModel):
    """An order: an attribute, simple elements, one that may be nil, and lines."""

    __namespace__ = _SPACE
    kind = XmlAttribute(Unicode)
    id = Integer(min_occurs=1)
    no = Unicode(min_occurs=1)
    amount = Decimal(12, 2, min_occurs=0)
    open = Boolean(min_occurs=0)
    changed = DateTime(min_occurs=0, nillable=True)
    lines = Array(Line)


class Saved(ComplexModel):
    """What became of an order."""

    __namespace__ = _SPACE
    code = Integer(min_occurs=1)
    message = Unicode
    id = Integer


def _orders(store: SoapOrders) -> type[ServiceBase]:
    class Orders(ServiceBase):
        @rpc(Integer, Integer, DateTime, _returns=Array(Order))
        def get_orders(ctx: Any, page: int | None, size: int | None, since: Any) -> list[Order]:  # noqa: N805
            rows = [one for one in store.orders.values() if since is None or one.changed >= since]
            start = ((page or 1) - 1) * (size or len(rows))
            return rows[start : start + (size or len(rows))]

        @rpc(Integer, _returns=Order)
        def get_order(ctx: Any, id: int) -> Order:  # noqa: N805
            if id not in store.orders:
                raise Fault("Client.NotFound", f"there is no order {id}")
            return store.orders[id]

        @rpc(Order, Unicode, _returns=Saved)
        def save_order(ctx: Any, order: Order, call: str | None) -> Saved:  # noqa: N805
            with store.lock:
                if call and call in store.calls:
                    return store.calls[call]
                if order.amount is not None and order.amount < 0:
                    return Saved(code=7, message="金额不能为负", id=None)
                store.orders[order.id] = order
                store.effects.append(("save", order.id))
                saved = Saved(code=0, message=None, id=order.id)
                store.calls[call or ""] = saved
                return saved

        @rpc(Integer, _returns=Boolean)
        def delete_order(ctx: Any, id: int) -> bool:  # noqa: N805
            store.effects.append(("delete", id))
            return store.orders.pop(id, None) is not None

        @rpc(Unicode, _returns=Array(Order))
        def list_failing(ctx: Any, code: str | None) -> list[Order]:  # noqa: N805
            raise Fault(code or "Server", "数据库不可用", detail={"Why": "ORA-01034"})

    return Orders


class SoapOrders:
    """Serves `orders` at `url`, SOAP 1.1 or 1.2; a context manager. `effects` are its changes in order."""

    kind = "mock"
    name = "SOAP orders (spyne)"

    def __init__(self, version: int = 11):
        self.orders: dict[int, Order] = {}
        self.calls: dict[str, Saved] = {}
        self.effects: list[tuple[str, int]] = []
        self.lock = Lock()
        self.asked: list[bytes] = []
        """The bodies that came in."""
        protocol = Soap11 if version == 11 else Soap12
        application = Application(
            [_orders(self)], _SPACE, in_protocol=protocol(validator="lxml"), out_protocol=protocol()
        )
        self._server = make_server(HOST, 0, self._noting(WsgiApplication(application)), _Server, _Quiet)
        self._thread = Thread(target=self._server.serve_forever, daemon=True)

    @property
    def url(self) -> str:
        """The service's address."""
        return f"http://{HOST}:{self._server.server_address[1]}/orders"

    def put(self, number: int, **more: Any) -> None:
        """Put an order in place."""
        told = {
            "kind": "A", "id": number, "no": f"SO{number:04}", "amount": Amount(number) + Amount("0.50"), "open": True,
            "changed": datetime(2026, 1, number, 8, tzinfo=UTC), "lines": [Line(item="A", qty=number)], **more,
        }  # fmt: skip
        self.orders[number] = Order(**told)

    def _noting(self, application: Wsgi) -> Wsgi:
        def noting(environ: dict[str, Any], start: Any) -> Iterable[bytes]:
            body = environ["wsgi.input"].read(int(environ.get("CONTENT_LENGTH") or 0))
            if body:
                self.asked.append(body)
            return application({**environ, "wsgi.input": io.BytesIO(body)}, start)

        return noting

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join(10)


class _Server(ThreadingMixIn, WSGIServer):
    daemon_threads = True


class _Quiet(WSGIRequestHandler):
    def log_message(self, format: str, *args: Any) -> None:
        """Say nothing."""
