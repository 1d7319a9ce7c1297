"""A SOAP service as a place of the conformance kit: its WSDL grows with every dataset that is written."""

from __future__ import annotations

from dataclasses import replace
from threading import Lock
from typing import Any
from xml.sax.saxutils import escape

from tongqu.connectors.soap.settings import DatasetSettings, SoapSettings
from tongqu.connectors.soap.sink import SoapSink
from tongqu.connectors.soap.source import SoapSource
from tongqu.core.connector import Can, Connector, Sink, Source
from tongqu.core.data import Dataset, Write
from tongqu.kit.remote.writer import Writer
from tongqu.kit.xml_tree import local, tree
from tongqu.testing.api_places import ApiPlaces
from tongqu.testing.rest_place import type_name
from tongqu.testing.services.http_peer import Asked, HttpPeer, Out

_XSD = {
    "bool": "boolean", "int64": "long", "float": "float", "double": "double", "binary": "base64Binary",
    "date": "date", "time": "time", "timestamptz": "dateTime", "timestamp": "dateTime",
}  # fmt: skip
_ENVELOPE = '<s:Envelope xmlns:s="http://schemas.xmlsoap.org/soap/envelope/"><s:Body>{}</s:Body></s:Envelope>'
_WSDL = """<definitions xmlns="http://schemas.xmlsoap.org/wsdl/" xmlns:s="http://schemas.xmlsoap.org/wsdl/soap/"
 xmlns:x="http://www.w3.org/2001/XMLSchema" xmlns:t="urn:t" targetNamespace="urn:t">
<types><x:schema targetNamespace="urn:t" elementFormDefault="qualified">{types}</x:schema></types>{messages}
<portType name="P">{ports}</portType>
<binding name="B" type="t:P"><s:binding style="document" transport="http://schemas.xmlsoap.org/soap/http"/>{bindings}
</binding><service name="S"><port name="P" binding="t:B"><s:address location="{address}"/></port></service>
</definitions>"""


class Tables(HttpPeer):
    """A SOAP service over tables of any columns: `list_NAME`, `create_NAME`, `put_NAME`, `drop_NAME`. It knows a call
    again by its number."""

    name = "SOAP tables"

    def __init__(self) -> None:
        self.columns: dict[str, dict[str, str]] = {}
        """XSD types of the columns of each table."""
        self.key_of: dict[str, tuple[str, ...]] = {}
        self.rows: dict[str, dict[tuple[str, ...], dict[str, str]]] = {}
        self.known: set[str] = set()
        self.lock = Lock()
        super().__init__({"/t": self._answer})

    def table(self, name: str, columns: dict[str, str], key: tuple[str, ...]) -> None:
        """Make a table, or add columns to it."""
        with self.lock:
            self.key_of.setdefault(name, key)
            self.rows.setdefault(name, {})
            self.columns.setdefault(name, {}).update(columns)

    def _wsdl(self) -> str:
        types, names = ['<x:element name="Done"><x:complexType><x:sequence/></x:complexType></x:element>'], list[str]()
        types.append(_element("nothing", ""))
        for name, columns in self.columns.items():
            one = "".join(_part(column, kind) for column, kind in columns.items())
            types.append(f'<x:complexType name="R_{name}"><x:sequence>{one}</x:sequence></x:complexType>')
            asked = _part("since", "string") + _part("start", "int") + _part("size", "int")
            types.append(_element(f"list_{name}", asked))
            record = f'<x:element name="row" type="t:R_{name}" minOccurs="0" {{}}/>'
            types.append(_element(f"list_{name}Response", record.format('maxOccurs="unbounded"')))
            given = record.format("") + _part("call", "string")
            types += [_element(f"{verb}_{name}", given) for verb in ("create", "put", "drop")]
            names += [f"{verb}_{name}" for verb in ("list", "create", "put", "drop")]
        names = names or ["nothing"]
        messages, ports, bindings = [], [], []
        for name in names:
            out = f"{name}Response" if name.startswith("list_") else "Done"
            messages.append(f'<message name="{name}I"><part name="p" element="t:{name}"/></message>')
            messages.append(f'<message name="{name}O"><part name="p" element="t:{out}"/></message>')
            ports.append(
                f'<operation name="{name}"><input message="t:{name}I"/><output message="t:{name}O"/></operation>'
            )
            body = '<s:body use="literal"/>'
            bindings.append(
                f'<operation name="{name}"><s:operation soapAction="{name}"/><input>{body}</input>'
                f"<output>{body}</output></operation>"
            )
        return _WSDL.format(
            types="".join(types), messages="".join(messages), ports="".join(ports), bindings="".join(bindings),
            address=f"{self.url}/t",
        )  # fmt: skip

    def _answer(self, asked: Asked, out: Out) -> None:
        with self.lock:
            if asked.method == "GET":
                out.answer(200, self._wsdl().encode(), Content_Type="text/xml")
                return
            body = next(one for one in tree(asked.body, "call").iter() if local(one.tag) == "Body")[0]
            verb, _, name = local(body.tag).partition("_")
            given: dict[str, Any] = {local(one.tag): one.text or "" for one in body if not len(one)}
            row = {local(part.tag): part.text or "" for one in body if local(one.tag) == "row" for part in one}
            if verb == "list":
                answer = self._listed(name, given)
            else:
                call = given.get("call", "")
                refused = "" if call in self.known else self._changed(verb, name, row)
                answer = refused or '<Done xmlns="urn:t"/>'
                self.known.add(call)
            out.answer(200, _ENVELOPE.format(answer).encode(), Content_Type="text/xml")

    def _listed(self, name: str, given: dict[str, str]) -> str:
        since = given.get("since")
        rows = [row for row in self.rows[name].values() if not since or _order(row.get("at", "")) >= _order(since)]
        start = int(given.get("start") or 0)
        parts = []
        for row in rows[start : start + int(given.get("size") or len(rows))]:
            inner = "".join(f"<{k}>{escape(v, {chr(13): '&#13;'})}</{k}>" for k, v in row.items())
            parts.append(f"<row>{inner}</row>")
        return f'<list_{name}Response xmlns="urn:t">{"".join(parts)}</list_{name}Response>'

    def _changed(self, verb: str, name: str, row: dict[str, str]) -> str:
        key = tuple(row.get(column, "") for column in self.key_of[name]) or (str(len(self.rows[name])),)
        if verb == "drop":
            self.rows[name].pop(key, None)
        elif verb == "create" and key in self.rows[name]:
            return "<s:Fault><faultcode>s:Client</faultcode><faultstring>there is such a row</faultstring></s:Fault>"
        else:
            self.rows[name][key] = row
        return ""


def _element(name: str, parts: str) -> str:
    return f'<x:element name="{name}"><x:complexType><x:sequence>{parts}</x:sequence></x:complexType></x:element>'


def _part(name: str, kind: str) -> str:
    return f'<x:element name="{name}" type="x:{kind}" minOccurs="0"/>'


def _order(value: str) -> tuple[float, str]:
    try:
        return float(value), ""
    except ValueError:
        return 0.0, value


PLACES: ApiPlaces[Tables, DatasetSettings] = ApiPlaces()


class PlaceSource(SoapSource):
    """Reads the datasets that were written to this address."""

    def __init__(self, settings: SoapSettings):
        super().__init__(settings.model_copy(update={"datasets": dict(PLACES.said(settings.base_url))}))


class PlaceSink(SoapSink):
    """Says of each dataset that is written how, before it is."""

    def writer(self, write: Write) -> Writer:
        """See RemoteSink.writer."""
        said = PLACES.said(self._settings.base_url)
        self._say(said, write.dataset, write.key or write.dataset.key)
        self._settings = self._settings.model_copy(update={"datasets": dict(said)})
        self.disconnect()
        return super().writer(write)

    def _say(self, said: dict[str, DatasetSettings], dataset: Dataset, key: tuple[str, ...]) -> None:
        name = dataset.name
        types = {field.name: type_name(field) for field in dataset.schema}
        kinds = {
            column: "decimal" if kind.startswith("decimal") else _XSD.get(kind, "string")
            for column, kind in types.items()
        }
        PLACES.api(self._settings.base_url).table(name, kinds, key)
        before = said.get(name)
        call = {"arguments": {"row": "{*}", "call": "{@call}"}}
        keys = {"arguments": {"row": {column: f"{{{column}}}" for column in key}, "call": "{@call}"}}
        told: dict[str, Any] = {
            "operation": f"list_{name}",
            "paging": {"kind": "offset", "param": "start", "size_param": "size", "size": 10, "end": "empty"},
            "types": {**(before.types if before else {}), **types},
            "key": list(key),
            "write": {
                "create": {"operation": f"create_{name}", **call},
                "upsert": {"operation": f"put_{name}", **call},
                "delete": {"operation": f"drop_{name}", **keys} if key else None,
                "key_honoured": True,
            },
        }
        if "at" in types:
            told["incremental"] = {"cursor": "at", "param": "since", "format": "plain"}
        said[name] = DatasetSettings.parse(told)


def _source(settings: SoapSettings) -> Source:
    return PlaceSource(settings)


def _sink(settings: SoapSettings) -> Sink:
    return PlaceSink(settings)


def fitted(connector: Connector) -> Connector:
    """The connector with ends that know the place."""
    can = connector.can | Can.TRANSACTIONS | Can.EVOLVES
    return replace(connector, source=_source, sink=_sink, can=can, from_url=_from_url)


def _from_url(url: str) -> SoapSettings:
    return SoapSettings.parse({"base_url": url, "calls": {"pause_seconds": 0}})
