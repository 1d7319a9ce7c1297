"""WSDL 1.1 documents with their XML Schemas as an interface to assess."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from urllib.parse import urljoin

from tongqu.catalog.assessing.shapes import Interface, Member, Operation, Scheme, Shape, fields
from tongqu.catalog.assessing.words import verbs
from tongqu.core.errors import AnswerError, InvalidSettingsError, TongquError
from tongqu.kit.xml_tree import Element
from tongqu.kit.xml_tree import tree as parsed

Load = Callable[[str], bytes]
Name = tuple[str, str]

_XSD = "http://www.w3.org/2001/XMLSchema"
_SOAP12 = "http://schemas.xmlsoap.org/wsdl/soap12/"
_VERSION = re.compile(
    r"(?i)(?:^|[/:._-])v(?:er)?(\d+(?:[._]\d+)*)(?:[/:]|$)|(\d+\.\d+(?:\.\d+)*)|(\d{4}[-/]\d{2}(?:[-/]\d{2})?)"
)
_CREDENTIALS = re.compile(
    r"(?i)authenticat|credential|^(api|access|app)[-_]?(key|token|secret)$|^session_?id$|^pass(word|wd)$"
)
_FILES = 200
_DEEPEST = 16
_INTEGERS = frozenset(
    ["integer", "int", "long", "short", "byte", "unsignedInt", "unsignedLong", "unsignedShort", "unsignedByte",
     "positiveInteger", "nonNegativeInteger", "negativeInteger", "nonPositiveInteger"]
)  # fmt: skip
_NUMBERS = frozenset(["decimal", "float", "double"])
_GROUPS = ("sequence", "all", "choice")


def interface_of(text: bytes, where: str, load: Load) -> Interface:
    """What a WSDL describes.

    `load` gives the text at an address that the document imports, and raises for one that cannot be read, which then is
    left out; it is asked once for each of at most 200. Raises InvalidSettingsError for what is no WSDL 1.1.
    """
    root = tree(text, where)
    if root.name != "definitions":
        what = "WSDL 2.0" if root.name == "description" else f"an XML document of {root.name!r}"
        raise InvalidSettingsError(f"{where} is {what}", path=where, hint="known is WSDL 1.1")
    reader = _Reader(load)
    reader.take(root, where)
    operations = tuple(reader.operations())
    reader.drain()
    service = next((one for one in reader.named["service"].values()), root)
    bindings = [one for found in reader.roots for one in found.everywhere("binding")]
    versions = {"1.2" if one.space == _SOAP12 else "1.1" for one in bindings if "soap" in one.space}
    addresses = [one.value("location") for found in reader.roots for one in found.everywhere("address")]
    said = " ".join(one.said() for found in reader.roots for one in found.all("documentation"))
    version = _VERSION.search(root.value("targetNamespace"))
    shown = f"WSDL 1.1, SOAP {' and '.join(sorted(versions))}" if versions else "WSDL 1.1"
    told = next(filter(None, version.groups()), "") if version else ""
    return Interface(
        where, shown, service.value("name") or root.value("name"), told,
        tuple(dict.fromkeys(one for one in addresses if one)), operations, {**reader.schemes(), **reader.inside},
        f"{said} {next((d.said() for d in service.all('documentation')), '')}",
        tuple(dict.fromkeys(reader.unread)),
    )  # fmt: skip


def tree(text: bytes, where: str) -> Element:
    """The document; raises InvalidSettingsError for what is no plain XML."""
    try:
        return parsed(text, where)
    except AnswerError as error:
        raise InvalidSettingsError(error.message, path=where, hint=error.hint) from error


class _Reader:
    """Definitions of all documents by name, and the shapes made of them; each type becomes one shape."""

    def __init__(self, load: Load):
        self.named: dict[str, dict[Name, Element]] = {
            kind: {} for kind in ("message", "portType", "service", "element", "complexType", "simpleType", "group")
        }
        self.roots: list[Element] = []
        self.unread: list[str] = []
        """Imports that could not be read: what they define stays without type."""
        self.inside: dict[str, Scheme] = {}
        """Credentials that stand among the fields of messages."""
        self._load = load
        self._read: set[str] = set()
        self._shapes: dict[int, Shape] = {}
        self._waiting: list[tuple[Shape, Element]] = []
        self._taken: set[int] = set()
        """Types and groups that the shape being filled has had: once is enough, and circles end."""

    def take(self, root: Element, where: str) -> None:
        """Take in a WSDL or schema with everything it imports."""
        waiting = [(root, where, "")]
        while waiting:
            here, base, adopted = waiting.pop()
            self.roots.append(here)
            schemas = (
                [here] if here.name == "schema" else [s for types in here.all("types") for s in types.all("schema")]
            )
            if here.name == "definitions":
                self._keep(here, ("message", "portType", "service"), here.value("targetNamespace"))
            for schema in schemas:
                space = schema.value("targetNamespace") or adopted
                self._keep(schema, ("element", "complexType", "simpleType", "group"), space)
            for holder in (here, *(schemas if here.name != "schema" else ())):
                for one in holder.all("import", "include", "redefine"):
                    place = one.value("schemaLocation") or one.value("location")
                    address = urljoin(base, place) if place else ""
                    if not address or address in self._read:
                        continue
                    self._read.add(address)
                    if len(self._read) > _FILES:
                        raise InvalidSettingsError(f"{where} imports more than {_FILES} documents", path=where)
                    space = holder.value("targetNamespace") if one.name != "import" else ""
                    try:
                        found = tree(self._load(address), address)
                    except TongquError:
                        self.unread.append(address)
                        continue
                    waiting.append((found, address, space))

    def _keep(self, holder: Element, kinds: tuple[str, ...], space: str) -> None:
        for one in holder.all(*kinds):
            self.named[one.name].setdefault((space, one.value("name")), one)

    def schemes(self) -> dict[str, Scheme]:
        """What WS-SecurityPolicy asks for."""
        kinds = {
            "UsernameToken": "basic", "X509Token": "signature", "SamlToken": "signature", "IssuedToken": "bearer",
            "HttpsToken": "mtls", "HttpBasicAuthentication": "basic", "KerberosToken": "signature",
        }  # fmt: skip
        found = {}
        for root in self.roots:
            for word, kind in kinds.items():
                for one in root.everywhere(word):
                    if word != "HttpsToken" or one.value("RequireClientCertificate") == "true":
                        found[word] = Scheme(word, kind, "header", f"policy/{word}")
        return found

    def credentials(self, sends: Shape | None) -> list[str]:
        """Fields of a message, at most two levels down, by which callers show who they are."""
        found = [
            one
            for path, one in fields(sends)
            if path.count(".") <= 1 and one.required and _CREDENTIALS.search(one.name)
        ]
        for one in found:
            self.inside.setdefault(one.name, Scheme(one.name, "key", "body", one.place))
        return [one.name for one in found]

    def operations(self) -> Iterator[Operation]:
        schemes = self.schemes()
        seen: set[str] = set()
        for (_, port), element in self.named["portType"].items():
            for one in element.all("operation"):
                name = one.value("name")
                if name in seen:
                    continue  # the same operation bound to another protocol
                seen.add(name)
                place = f"portType/{port}/operation/{name}"
                title = next((d.said() for d in one.all("documentation")), "")[:200]
                sends, gives = self.message(one.first("input"), place), self.message(one.first("output"), place)
                self.drain()
                inside = self.credentials(sends)
                ways = frozenset({*schemes, *inside})
                faults = [self.message(fault, place) for fault in one.all("fault")]
                title = next(iter(title.splitlines()), "")
                yield Operation(
                    name, "CALL", f"{port}/{name}", place, verbs("call", name, title), name, title,
                    (), sends, gives, _records(gives), ("200", "fault") if faults else ("200",),
                    faults[0] if faults else None, access=(ways,) if ways else None,
                )  # fmt: skip

    def message(self, part: Element | None, place: str) -> Shape | None:
        """The shape of a message: that of its one element (document), or of its parts (rpc)."""
        message = self.named["message"].get(part.qualified(part.value("message"))) if part is not None else None
        if part is None or message is None:
            return None
        parts = list(message.all("part"))
        if len(parts) == 1 and parts[0].value("element"):
            element = self.named["element"].get(parts[0].qualified(parts[0].value("element")))
            return self.shape(element) if element is not None else Shape(f"{place}/{part.name}")
        whole = Shape(f"message/{message.value('name')}", "object")
        for one in parts:
            member = self.member(one, f"{whole.place}/{one.value('name')}", required=True)
            whole.members[one.value("name")] = member
        return whole

    def shape(self, element: Element) -> Shape:
        """The shape of an element, a part, an attribute or a type; empty until `drain`."""
        if id(element) not in self._shapes:
            self._shapes[id(element)] = Shape(f"{element.name}/{element.value('name')}")
            self._waiting.append((self._shapes[id(element)], element))
        return self._shapes[id(element)]

    def drain(self) -> None:
        """Fill all shapes that were asked for, and those they hold."""
        while self._waiting:
            shape, element = self._waiting.pop()
            self._taken = {id(element)}
            self.fill(shape, element, _DEEPEST)
            if not shape.type and shape.members:
                shape.type = "object"

    def fill(self, shape: Shape, element: Element, left: int) -> None:
        """Put in what an element or type holds; types that are extended come first."""
        told = element.value("type")
        shape.nullable |= element.value("nillable") == "true"
        if told and left:
            self.typed(shape, element.qualified(told), left)
        for inner in element.children:
            if inner.name in ("complexType", "simpleType", "complexContent", "simpleContent") and left:
                self.fill(shape, inner, left - 1)
            elif inner.name in ("extension", "restriction") and left:
                base = inner.qualified(inner.value("base"))
                if inner.name == "extension" or inner.first("sequence") is None:
                    self.typed(shape, base, left)
                shape.choices = shape.choices or tuple(one.value("value") for one in inner.all("enumeration"))
                self.fill(shape, inner, left - 1)
            elif inner.name in (*_GROUPS, "group"):
                self.group(shape, inner, left, sure=True)
            elif inner.name == "attribute" and inner.value("name"):
                place = f"{shape.place}/@{inner.value('name')}"
                shape.members[f"@{inner.value('name')}"] = self.member(inner, place, inner.value("use") == "required")

    def typed(self, shape: Shape, name: Name, left: int) -> None:
        """What a named type makes of a shape."""
        if name[0] == _XSD or (not name[0] and name[1] in _INTEGERS):
            kind = name[1]
            if kind in ("anyType", "anySimpleType"):
                return
            shape.type = (
                "integer"
                if kind in _INTEGERS
                else "number"
                if kind in _NUMBERS
                else "boolean"
                if kind == "boolean"
                else "string"
            )
            shape.format = kind if kind in ("date", "dateTime", "time", "base64Binary", "duration") else ""
            return
        found = self.named["complexType"].get(name) or self.named["simpleType"].get(name)
        if found is not None and left and id(found) not in self._taken:
            self._taken.add(id(found))
            self.fill(shape, found, left - 1)

    def group(self, shape: Shape, holder: Element, left: int, *, sure: bool) -> None:
        """The members of a sequence, choice or group."""
        if holder.name == "group":
            found = self.named["group"].get(holder.qualified(holder.value("ref")))
            if found is not None and left and id(found) not in self._taken:
                self._taken.add(id(found))
                for inner in found.children:
                    self.group(shape, inner, left - 1, sure=sure)
            return
        always = sure and holder.name != "choice" and holder.value("minOccurs") != "0"
        for one in holder.children:
            if one.name in (*_GROUPS, "group") and left:
                self.group(shape, one, left - 1, sure=always)
            elif one.name == "element":
                meant = self.named["element"].get(one.qualified(one.value("ref"))) if one.value("ref") else one
                name = meant.value("name") if meant is not None else one.qualified(one.value("ref"))[1]
                needed = always and one.value("minOccurs") != "0"
                place = f"{shape.place}/{name}"
                shape.members[name] = self.member(meant if meant is not None else one, place, needed, occurs=one)

    def member(self, element: Element, place: str, required: bool, occurs: Element | None = None) -> Member:
        """A field; one that may come several times is an array."""
        many = (occurs if occurs is not None else element).value("maxOccurs") not in ("", "0", "1")
        one = Shape(place)
        if element.value("type"):
            named = element.qualified(element.value("type"))
            found = self.named["complexType"].get(named) or self.named["simpleType"].get(named)
            if found is not None:
                one = self.shape(found)
            else:
                self.typed(one, named, 0)
                one.nullable = element.value("nillable") == "true"
        elif element.value("element"):
            meant = self.named["element"].get(element.qualified(element.value("element")))
            one = self.shape(meant) if meant is not None else one
        elif element.children:
            one = self.shape(element)
        shape = Shape(place, "array", items=one) if many else one
        said = " ".join(d.said() for a in element.all("annotation") for d in a.all("documentation"))
        said = said or " ".join(d.said() for d in element.all("documentation"))
        example = bool(element.value("default") or element.value("fixed"))
        return Member(element.value("name") or place.rpartition("/")[2], place, shape, required, said, example)


def _records(gives: Shape | None) -> Shape | None:
    """The shape of the records of an answer: the first array of objects within three levels."""
    level = [gives] if gives is not None else []
    for _ in range(4):
        following: list[Shape] = []
        for shape in level:
            for member in shape.members.values():
                inner = member.shape
                if inner.items is not None and inner.inner.members:
                    return inner.inner
                following.append(inner)
        level = following
    return None
