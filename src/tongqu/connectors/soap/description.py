"""The WSDL of a service, read by zeep from documents that come through the guarded HTTP client alone."""

from __future__ import annotations

import io
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import zeep
from zeep.exceptions import Error as ZeepError
from zeep.wsdl.bindings import Soap11Binding, Soap12Binding

from tongqu.connectors.soap.signing import security_of
from tongqu.core.errors import AnswerError, InvalidSettingsError, NotFoundError, TongquError
from tongqu.kit.answers.selecting import Exact, written
from tongqu.kit.http.call import Call, Grant, Repeat
from tongqu.kit.patterns import nearest
from tongqu.kit.xml_tree import tree

if TYPE_CHECKING:
    from tongqu.connectors.soap.settings import SoapSettings
    from tongqu.kit.http.client import Http

_MOST = 200
_DEEPEST, _BROADEST = 6, 2000
_TYPES = {
    "boolean": "bool", "byte": "int16", "short": "int16", "int": "int32", "long": "int64", "unsignedByte": "int16",
    "unsignedShort": "int32", "unsignedInt": "int64", "unsignedLong": "decimal(20,0)", "integer": "int64",
    "nonNegativeInteger": "int64", "positiveInteger": "int64", "decimal": "decimal(38,10)",
    "float": "float", "double": "double", "date": "date", "time": "time", "dateTime": "timestamptz",
    "base64Binary": "binary",
}  # fmt: skip
_READING = re.compile(r"(get|list|find|query|search|read|fetch)", re.IGNORECASE)


@dataclass(frozen=True)
class Listing:
    """The list in an operation's answer: the path of its records below the answer's element, and their fields."""

    path: tuple[str, ...]
    fields: dict[str, str]
    lists: tuple[str, ...] = ()
    """The paths below a record of elements that may repeat."""


class _Documents:
    """What zeep asks for documents. The first is the operator's; those that it names are data: only addresses that the
    egress rules allow, or files beside a WSDL that is a file."""

    binding_classes = (Soap11Binding, Soap12Binding)

    def __init__(self, http: Http, first: str):
        self._http, self._first = http, first
        self._folder = None if _is_url(first) else Path(first).resolve().parent
        self._held: dict[str, bytes] = {}

    def load(self, url: Any) -> bytes:
        """The document of an address."""
        name = str(url)
        if name not in self._held:
            if len(self._held) >= _MOST:
                raise AnswerError(f"the WSDL imports more than {_MOST} documents", path=self._first)
            self._held[name] = self._fetched(name)
            tree(self._held[name], name.partition("?")[0])  # refuses document types before zeep sees them
        return self._held[name]

    def _fetched(self, name: str) -> bytes:
        if _is_url(name):
            grant = Grant.OPERATOR if name == self._first else Grant.DATA
            headers = {"Accept": "text/xml, application/wsdl+xml, application/xml"}
            return self._http.send(Call("GET", name, (), headers, b"", Repeat.SAFE, grant=grant)).content
        path = Path(name.removeprefix("file://")).resolve()
        if self._folder is None or not path.is_relative_to(self._folder):
            raise AnswerError(
                f"the WSDL imports {name!r}, which is no address of a service", path=self._first,
                hint="only http and https are followed, and files in the folder of a WSDL that is a file",
            )  # fmt: skip
        try:
            return path.read_bytes()
        except OSError as error:
            raise InvalidSettingsError(f"{name} cannot be read: {error.strerror}", path="wsdl") from error


class Description:
    """A service's operations: their messages are made here, and the shape of their answers is known."""

    def __init__(self, settings: SoapSettings, http: Http):
        place = settings.wsdl or http.url("")
        if not settings.wsdl and "?" not in place and not place.lower().endswith((".wsdl", ".xml")):
            place += "?wsdl"
        place = http.url(place) if _is_url(place) else str(Path(place).resolve())
        self.where = place.partition("?")[0]
        documents = _Documents(http, place)
        try:
            documents.load(place)
            told = zeep.Settings(strict=True, forbid_dtd=True, forbid_entities=True, forbid_external=False)
            self._client = zeep.Client(place, wsse=security_of(settings.security), transport=documents, settings=told)
            self._service = self._bound(settings)
        except TongquError:
            raise
        except (ZeepError, ValueError, KeyError, AttributeError, TypeError, LookupError, RecursionError) as error:
            raise AnswerError(
                f"{self.where} is no WSDL that can be used: {_words(error)}", path=self.where,
                hint="is it the address of the WSDL, and does it import all that it needs?",
            ) from error  # fmt: skip
        self._binding = self._service._binding  # zeep's own tools reach it so
        self.address: str = settings.address or self._service._binding_options["address"]
        self.version = 12 if isinstance(self._binding, Soap12Binding) else 11

    def _bound(self, settings: SoapSettings) -> Any:
        services = self._client.wsdl.services
        if settings.service_name and settings.service_name not in services:
            raise _unknown("service", settings.service_name, services)
        name = settings.service_name or next(iter(services), None)
        if name is None:
            raise AnswerError(f"{self.where} names no service", path=self.where)
        ports = services[name].ports
        if settings.port_name and settings.port_name not in ports:
            raise _unknown("port", settings.port_name, ports)
        return self._client.bind(name, settings.port_name or next(iter(ports), None))

    def operations(self) -> list[str]:
        """The names of the operations."""
        return sorted(self._binding.all())

    def _operation(self, name: str, where: str) -> Any:
        known = self._binding.all()
        if name not in known:
            raise InvalidSettingsError(
                f"the service has no operation {name!r}", path=where,
                hint=f"near are: {nearest(name, list(known)) or ', '.join(sorted(known)[:20])}",
            )  # fmt: skip
        return known[name]

    def arguments(self, name: str, where: str = "") -> dict[str, Any]:
        """The arguments of an operation: for each whether it is complex, and whether it must be given."""
        body = self._operation(name, where).input.body
        return dict(_elements(body.type)) if body is not None else {}

    def answers(self, name: str) -> str:
        """The local name of the element that an answer of the operation has in its body; empty where that is free."""
        output = self._operation(name, "").output
        body = output.body if output is not None else None
        rpc = type(output).__name__ == "RpcMessage"
        return "" if body is None or rpc or not body.qname else str(body.qname.localname)

    def faults(self, name: str) -> frozenset[str]:
        """The local names of the faults that the WSDL declares for the operation."""
        found = set()
        for told in self._operation(name, "").abstract.fault_messages.values():
            found |= {part.element.qname.localname for part in told.parts.values() if part.element is not None}
        return frozenset(found)

    def listing(self, name: str, records: str, where: str) -> Listing:
        """Where an answer of the operation holds records; raises InvalidSettingsError where the WSDL does not tell."""
        output = self._operation(name, where).output
        body = output.body if output is not None else None
        wanted = tuple(part for part in records.split("/") if part)
        for path, element in _repeated(body.type if body is not None else None, ()):
            if not wanted or path[-len(wanted) :] == wanted:
                lists = tuple("/".join(below) for below, _ in _repeated(element.type, ()))
                return Listing(path, _fields(element.type), lists)
        if wanted:
            return Listing(wanted, {})
        raise InvalidSettingsError(
            f"the WSDL does not tell where {name} has records", path=f"{where}.records",
            hint="name the element of a record: records: Order",
        )  # fmt: skip

    def lists(self) -> list[str]:
        """The operations that read a list, judged by their names, and need no argument."""
        found = []
        for name in self.operations():
            if _READING.match(name) and not any(must for _, must in self.arguments(name).values()):
                try:
                    self.listing(name, "", "")
                except InvalidSettingsError:
                    continue
                found.append(name)
        return found

    def message(self, name: str, arguments: dict[str, Any], where: str) -> tuple[bytes, dict[str, str]]:
        """The envelope of a call and its headers; raises InvalidSettingsError for arguments that the WSDL refuses."""
        from lxml import etree

        operation = self._operation(name, where)
        try:
            given = _fitted(operation.input.body.type, arguments) if operation.input.body is not None else arguments
            envelope = self._client.create_message(self._service, name, **given)
        except (ZeepError, TypeError, ValueError, AttributeError) as error:
            raise InvalidSettingsError(
                f"{name} does not take these arguments: {_words(error)}", path=where,
                hint=f"its arguments: {', '.join(self.arguments(name)) or 'none'}",
            ) from error  # fmt: skip
        action = operation.soapaction or ""
        if self.version == 12:
            kind = f'application/soap+xml; charset=utf-8; action="{action}"' if action else "application/soap+xml"
            headers = {"Content-Type": kind}
        else:
            headers = {"Content-Type": "text/xml; charset=utf-8", "SOAPAction": f'"{action}"'}
        buffer = io.BytesIO()
        etree.ElementTree(envelope).write(buffer, xml_declaration=True, encoding="utf-8")
        return buffer.getvalue(), headers


def _is_url(text: str) -> bool:
    return urlsplit(text).scheme in ("http", "https")


def _unknown(what: str, name: str, known: Any) -> NotFoundError:
    return NotFoundError(f"the WSDL has no {what} {name!r}", hint=f"it has: {', '.join(known) or 'none'}")


def _words(error: Exception) -> str:
    return " ".join(str(error).split())[:200] or type(error).__name__


def _elements(kind: Any) -> Iterator[tuple[str, tuple[bool, bool]]]:
    """The elements of a complex type: for each whether it is complex, and whether it must be given."""
    for name, element in getattr(kind, "elements", ()):
        if name and getattr(element, "type", None) is not None:
            must = not (getattr(element, "is_optional", False) or getattr(element, "nillable", False))
            yield element.qname.localname if element.qname else name, (bool(_children(element.type)), must)


def _children(kind: Any) -> list[Any]:
    return [one for _, one in getattr(kind, "elements", ()) if getattr(one, "qname", None) is not None]


def _repeated(kind: Any, above: tuple[str, ...]) -> Iterator[tuple[tuple[str, ...], Any]]:
    """The elements that may repeat, those nearest to the top first; types that hold themselves are followed so far."""
    level = [(above, one) for one in _children(kind)]
    for _ in range(_DEEPEST):
        following = []
        for path, one in level:
            place = (*path, one.qname.localname)
            if one.accepts_multiple:
                yield place, one
            following += [(place, held) for held in _children(one.type)]
        level = following[:_BROADEST]


def _fields(kind: Any) -> dict[str, str]:
    """The columns of a record: its simple elements typed, all others JSON; attributes as `@name`. None where the record
    is open (`xsd:any`) or a text."""
    found = {}
    for name, attribute in getattr(kind, "attributes", ()):
        if name and getattr(attribute, "type", None) is not None:
            found[f"@{attribute.qname.localname if attribute.qname else name}"] = _type(attribute.type)
    for element in _children(kind):
        attributes: Any = getattr(element.type, "attributes", None)
        nested = element.accepts_multiple or _children(element.type) or attributes
        found[element.qname.localname] = "json" if nested else _type(element.type)
    return found


def _fitted(kind: Any, value: Any) -> Any:
    """A value as zeep wants it: decimals as they were written, nested values in simple elements as JSON text, fields
    without value left out."""
    if not isinstance(value, dict):
        return value.text if isinstance(value, Exact) else value
    elements = {one.qname.localname: one for one in _children(kind)}
    found = {}
    for name, held in value.items():
        element = elements.get(name)
        if held is None:
            continue
        if element is None:
            found[name] = _fitted(None, held)
        elif isinstance(held, list) and element.accepts_multiple:
            found[name] = [_fitted(element.type, one) for one in held]
        elif isinstance(held, dict | list) and not _children(element.type):
            found[name] = written(held)
        else:
            found[name] = _fitted(element.type, held)
    return found


def _type(kind: Any) -> str:
    """The name of a simple type, its restrictions followed to what is built in."""
    for one in type(kind).__mro__:
        name = getattr(one, "_default_qname", None)
        if name is not None and name.namespace == "http://www.w3.org/2001/XMLSchema":
            return _TYPES.get(name.localname, "string")
    return "string"
