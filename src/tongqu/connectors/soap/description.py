"""The WSDL of a service, read by zeep from documents that come through the guarded HTTP client alone."""

from __future__ import annotations

import io
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import zeep
from zeep.exceptions import Error as ZeepError
from zeep.wsdl.bindings import Soap12Binding

from tongqu.connectors.soap.documents import Documents, is_url
from tongqu.connectors.soap.encoded import Encoding, attached, walked
from tongqu.connectors.soap.rewriting import refusal
from tongqu.connectors.soap.signing import security_of
from tongqu.core.errors import AnswerError, InvalidSettingsError, NotFoundError, TongquError
from tongqu.kit.answers.selecting import Exact, written
from tongqu.kit.patterns import nearest

if TYPE_CHECKING:
    from tongqu.connectors.soap.settings import SoapSettings
    from tongqu.kit.http.client import Http

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


class Description:
    """A service's operations: their messages are made here, and the shape of their answers is known."""

    def __init__(self, settings: SoapSettings, http: Http):
        place = settings.wsdl_place
        place = http.url(place) if is_url(place) else str(Path(place).resolve())
        self.where = place.partition("?")[0]
        self._signs = bool(settings.security and settings.security.cert_file)
        self._mtom = settings.attachments == "mtom"
        self._instants: dict[str, re.Pattern[bytes] | None] = {}
        documents = Documents(http, place)
        try:
            documents.load(place)
            told = zeep.Settings(strict=True, forbid_dtd=True, forbid_entities=True, forbid_external=False)
            self._old = documents.old
            self._client = zeep.Client(place, wsse=security_of(settings.security), transport=documents, settings=told,
                                       plugins=[Encoding(documents.old)])  # fmt: skip
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
        if why := self._old.refused.get((self._binding.name.localname, name)):
            raise refusal(why, name, where)
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

    def instants(self, name: str) -> re.Pattern[bytes] | None:
        """Finds the instants and times of day in an answer that have more than six places of seconds."""
        if name not in self._instants:
            output = self._operation(name, "").output
            kind = output.body.type if output is not None and output.body is not None else None
            names = b"|".join(sorted(re.escape(one.encode()) for one in _timed(kind)))
            value = rb"[^<>]*?\d\d:\d\d:\d\d\.\d{6})\d{1,6}(?=(?:Z|[+-]\d\d:\d\d)?\s*<)"
            made = re.compile(rb"(<(?:[\w.-]+:)?(?:" + names + rb")(?:\s[^<>]*)?>" + value) if names else None
            self._instants[name] = made
        return self._instants[name]

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
        refused = {name for binding, name in self._old.refused if binding == self._binding.name.localname}
        for name in self.operations():
            if (
                name not in refused
                and _READING.match(name)
                and not any(must for _, must in self.arguments(name).values())
            ):
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
        if parts := self._parts(operation, name, envelope, where):
            made = attached(envelope, parts, self.version)
            if made is not None:
                return made[0], {**headers, "Content-Type": made[1]}
        buffer = io.BytesIO()
        etree.ElementTree(envelope).write(buffer, xml_declaration=True, encoding="utf-8")
        return buffer.getvalue(), headers

    def _parts(self, operation: Any, name: str, envelope: Any, where: str) -> list[tuple[Any, bool]]:
        """The elements of a message that go as attachments, and whether each is a part of its own (SwA)."""
        own = self._old.attached.get((self._binding.name.localname, name), ())
        if (not own and not self._mtom) or operation.input.body is None:
            return []
        if own and self._signs:
            raise refusal("attachments beside a signed body would go unsigned", name, where)
        body = next(one for one in envelope if one.tag.rpartition("}")[2] == "Body")
        found = [one for child in body for one in walked(child, operation.input.body.type)]
        binary = [element for element, kind in found if _type(kind) == "binary" and not len(element)]
        beside = {id(child) for wrapper in body for child in wrapper if child.tag in own}
        return [(one, id(one) in beside) for one in binary if self._mtom or id(one) in beside]


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


def _timed(kind: Any) -> set[str]:
    """The names of all elements below that are instants or times of day."""
    found: set[str] = set()
    level = _children(kind)
    for _ in range(_DEEPEST):
        found |= {one.qname.localname for one in level if _type(one.type) in ("timestamptz", "time")}
        level = [held for one in level for held in _children(one.type)][:_BROADEST]
    return found


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
        elif isinstance(held, list) and (entry := _entry(element.type)) is not None:
            found[name] = {entry.qname.localname: [_fitted(entry.type, one) for one in held]}
        elif isinstance(held, dict | list) and not _children(element.type):
            found[name] = written(held)
        else:
            found[name] = _fitted(element.type, held)
    return found


def _entry(kind: Any) -> Any:
    """The only element of a type, if it may repeat: such a list is read as its entries, and written so too."""
    inner = _children(kind)
    return inner[0] if len(inner) == 1 and inner[0].accepts_multiple else None


def _type(kind: Any) -> str:
    """The name of a simple type, its restrictions followed to what is built in."""
    for one in type(kind).__mro__:
        name = getattr(one, "_default_qname", None)
        if name is not None and name.namespace == "http://www.w3.org/2001/XMLSchema":
            return _TYPES.get(name.localname, "string")
    return "string"
