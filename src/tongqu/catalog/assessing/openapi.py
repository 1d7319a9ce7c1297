"""OpenAPI 3 and Swagger 2 documents as an interface to assess."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

from tongqu.catalog.assessing.shapes import Interface, Member, Operation, Parameter, Scheme, Shape
from tongqu.catalog.assessing.words import verbs
from tongqu.kit.openapi.document import Document, as_mapping
from tongqu.kit.openapi.document import Operation as Raw
from tongqu.kit.openapi.lists import records_of
from tongqu.kit.openapi.schemas import flat

_PIECES = 300
"""A schema is combined of at most so many; each level of them costs a level of the stack."""
_IN_HEADER = re.compile(
    r"^(authorization|token|sign|(x-?)?(access|auth|api|app)[-_]?(token|key|secret))$", re.IGNORECASE
)
_IN_QUERY = re.compile(r"^(sign|(access|auth|api|app)[-_]?(token|key|secret))$", re.IGNORECASE)
"""Parameters by which callers show who they are, where the document does not name a scheme."""


def interface_of(document: Document) -> Interface:
    """What the document describes. References that lead out of it leave their shapes without type."""
    info = as_mapping(document.raw.get("info"))
    reader = _Reader(document)
    operations = [*reader.operations(), *reader.webhooks()]
    reader.drain()
    tags = " ".join(str(as_mapping(one).get("description") or "") for one in _list(document.raw.get("tags")))
    outside = str(as_mapping(document.raw.get("externalDocs")).get("description") or "")
    return Interface(
        document.where,
        f"{'Swagger' if document.old else 'OpenAPI'} {document.version}",
        document.title,
        str(info.get("version") or ""),
        tuple(_servers(document)),
        tuple(operations),
        {**reader.schemes, **reader.seen},
        " ".join((str(info.get("description") or ""), str(info.get("x-compatibility") or ""), tags, outside)),
        tuple(reader.unread),
    )


def _servers(document: Document) -> Iterator[str]:
    if document.old:
        host = str(document.raw.get("host") or "")
        for scheme in _list(document.raw.get("schemes")) if host else ():
            yield f"{scheme}://{host}{document.raw.get('basePath') or ''}".rstrip("/")
        return
    first = document.base_url()
    if first:
        yield first
    for one in _list(document.raw.get("servers"))[1:]:
        url = str(as_mapping(one).get("url") or "")
        if url.startswith(("http://", "https://")):
            yield url.rstrip("/")


class _Reader:
    """Makes operations and their shapes; each schema of the document becomes one shape, filled by `drain`."""

    def __init__(self, document: Document):
        self.document = document
        self.schemes = dict(_schemes(document))
        self.unread: dict[str, None] = {}
        """References that lead out of the document."""
        self.seen: dict[str, Scheme] = {}
        """Schemes that stand among the parameters instead of where they belong."""
        self._shapes: dict[int, Shape] = {}
        self._waiting: list[tuple[Shape, Mapping[str, Any]]] = []
        self._kept: list[Any] = []  # what is known by its identity must not be freed

    def operations(self) -> Iterator[Operation]:
        for raw in self.document.operations():
            place = f"#/paths/{raw.path.replace('~', '~0').replace('/', '~1')}/{raw.method}"
            yield self.operation(raw, place)

    def webhooks(self) -> Iterator[Operation]:
        for name, item in as_mapping(self.document.raw.get("webhooks")).items():
            for method, raw in as_mapping(self.document.resolved(item)).items():
                if method in ("post", "put") and isinstance(raw, Mapping):
                    place = f"#/webhooks/{name}/{method}"
                    body, where = self.body(raw, place, [])
                    yield Operation(
                        f"webhook {name}", "WEBHOOK", str(name), place, frozenset({"notify"}),
                        _names(str(name), raw), _title(raw), gives=self.shape(body, where),
                    )  # fmt: skip

    def operation(self, raw: Raw, place: str) -> Operation:
        parameters = tuple(
            self.parameter(one, place) for one in raw.parameters if one.get("in") not in ("body", "formData")
        )
        body, where = self.body(raw.raw, place, [p for p in raw.parameters if p.get("in") in ("body", "formData")])
        answer, at, headers = self.answer(raw.raw, place)
        responses = _responses(raw.raw)
        error = next((s for s in (*(k for k in responses if str(k)[:1] in "45"), "default") if s in responses), None)
        wrong, below = (
            self.content(responses.get(error), f"{place}/responses/{error}") if error is not None else (None, "")
        )
        names, title = _names(raw.path, raw.raw), _title(raw.raw)
        gives = self.shape(answer, at)
        return Operation(
            raw.label, raw.method.upper(), raw.path, place, verbs(raw.method, names, title), names, title,
            parameters, self.shape(body, where), gives, self.records(answer, gives),
            tuple(str(one) for one in responses), self.shape(wrong, below), headers,
            *self.access(raw.raw, parameters), raw.raw.get("deprecated") is True,
        )  # fmt: skip

    def parameter(self, raw: Mapping[str, Any], place: str) -> Parameter:
        schema = as_mapping(self.document.resolved(raw.get("schema"))) or raw
        told = flat(self.document, schema)
        choices = tuple(str(one) for one in _list(schema.get("enum")))
        values = (
            raw.get("example"),
            schema.get("example"),
            schema.get("default"),
            *_list(schema.get("examples")),
            *choices,
        )
        example = next((str(one) for one in values if isinstance(one, str | int | float)), "")
        return Parameter(
            str(raw.get("name") or ""), str(raw.get("in") or "query"), f"{place}/parameters/{raw.get('name')}",
            raw.get("required") is True, told.type, str(raw.get("description") or schema.get("description") or ""),
            example, choices,
        )  # fmt: skip

    def body(self, raw: Mapping[str, Any], place: str, old: list[Mapping[str, Any]]) -> tuple[Any, str]:
        whole = next((one for one in old if one.get("in") == "body"), None)
        if whole is not None:
            return whole.get("schema"), f"{place}/parameters/{whole.get('name')}/schema"
        if old:
            required = [str(one.get("name")) for one in old if one.get("required") is True]
            form = {"type": "object", "properties": {str(p.get("name")): p for p in old}, "required": required}
            self._kept.append(form)
            return form, f"{place}/parameters"
        return self.content(raw.get("requestBody"), f"{place}/requestBody")

    def answer(self, raw: Mapping[str, Any], place: str) -> tuple[Any, str, tuple[str, ...]]:
        responses = _responses(raw)
        headers = {
            str(name).lower() for one in responses.values()
            for name in as_mapping(as_mapping(self.document.resolved(one)).get("headers"))
        }  # fmt: skip
        good = sorted((str(s) for s in responses if str(s).startswith("2")), key=lambda s: (s == "204", s))
        for status in good or ["default"]:
            found = responses.get(status)
            schema, at = self.content(found, f"{place}/responses/{status}")
            if schema is not None:
                return schema, at, tuple(sorted(headers))
        return None, place, tuple(sorted(headers))

    def content(self, node: Any, place: str) -> tuple[Any, str]:
        """The schema of a request or an answer: its JSON form, else the first that is described."""
        found = as_mapping(self.document.resolved(node))
        if "schema" in found:
            return found["schema"], f"{place}/schema"
        forms = as_mapping(found.get("content"))
        best = next((name for name in forms if "json" in str(name)), next(iter(forms), None))
        if best is None or "schema" not in as_mapping(forms[best]):
            return None, place
        return as_mapping(forms[best])["schema"], f"{place}/content/{str(best).replace('/', '~1')}/schema"

    def records(self, schema: Any, gives: Shape | None) -> Shape | None:
        """The shape of the records of a list."""
        if schema is None or gives is None:
            return None
        found = records_of(self.document, flat(self.document, schema))
        if found is None:
            return None
        self.drain()
        here: Shape | None = gives
        for key in found[0]:
            member = here.inner.members.get(key) if here is not None else None
            here = member.shape if member is not None else None
        return here.inner if here is not None else None

    def access(
        self, raw: Mapping[str, Any], parameters: tuple[Parameter, ...]
    ) -> tuple[tuple[frozenset[str], ...] | None, frozenset[str]]:
        told = raw.get("security", self.document.raw.get("security"))
        keys = [
            one for one in parameters
            if (one.where in ("header", "cookie") and _IN_HEADER.match(one.name))
            or (one.where == "query" and _IN_QUERY.match(one.name))
        ]  # fmt: skip
        for one in keys:
            self.seen.setdefault(one.name, Scheme(one.name, "key", one.where, one.place))
        if not isinstance(told, list):
            return ((frozenset(one.name for one in keys),) if keys else None), frozenset()
        ways = [as_mapping(one) for one in told]
        named = [frozenset((*map(str, way), *(one.name for one in keys))) for way in ways]
        scopes = frozenset(str(s) for way in ways for some in way.values() for s in _list(some))
        return tuple(named) or (frozenset(one.name for one in keys),), scopes

    def shape(self, node: Any, place: str) -> Shape | None:
        """The shape of a schema, empty until `drain`."""
        if node is None:
            return None
        if isinstance(node, Mapping) and isinstance(node.get("$ref"), str):
            place = node["$ref"]
        if foreign := self.document.foreign(node):
            self.unread[foreign.partition("#")[0]] = None
        raw = self.document.resolved(node)
        if not isinstance(raw, Mapping):
            return Shape(place)
        if id(raw) not in self._shapes:
            self._shapes[id(raw)] = Shape(place)
            self._waiting.append((self._shapes[id(raw)], raw))
        return self._shapes[id(raw)]

    def drain(self) -> None:
        """Fill all shapes that were asked for, and those they hold."""
        while self._waiting:
            self.fill(*self._waiting.pop())

    def fill(self, shape: Shape, raw: Mapping[str, Any]) -> None:
        kinds: list[str] = []
        for part, place, sure in self.pieces(raw, shape.place, True, set()):
            told = part.get("type")
            kinds += [str(one) for one in (told if isinstance(told, list) else [told] if told else ())]
            shape.nullable |= part.get("nullable") is True or part.get("x-nullable") is True
            shape.format = shape.format or str(part.get("format") or "")
            shape.choices = shape.choices or tuple(str(one) for one in _list(part.get("enum")))
            if shape.items is None and "items" in part:
                shape.items = self.shape(part["items"], f"{place}/items")
            needed = {str(one) for one in _list(part.get("required"))} if sure else set()
            shown = as_mapping(part.get("example"))
            for name, node in as_mapping(part.get("properties")).items():
                if str(name) not in shape.members:
                    shape.members[str(name)] = self.member(str(name), node, f"{place}/properties/{name}", shown)
            for name in needed & shape.members.keys():
                old = shape.members[name]
                shape.members[name] = Member(
                    name, old.place, old.shape, True, old.description, old.example, old.hidden
                )  # fmt: skip
        shape.nullable |= "null" in kinds
        apart = set(kinds) - {"null"}
        if len(apart) == 1:
            shape.type = apart.pop()
        elif apart:
            shape.type = "number" if apart == {"integer", "number"} else "mixed"
        else:
            shape.type = "object" if shape.members else "array" if shape.items is not None else ""

    def pieces(
        self, raw: Mapping[str, Any], place: str, sure: bool, seen: set[int]
    ) -> Iterator[tuple[Mapping[str, Any], str, bool]]:
        """A schema and all it is combined of, each once; `sure` where every value must fit the piece."""
        if id(raw) in seen or len(seen) > _PIECES:
            return
        seen.add(id(raw))
        yield raw, place, sure
        for word in ("allOf", "oneOf", "anyOf"):
            for number, node in enumerate(_list(raw.get(word))):
                ref = node.get("$ref") if isinstance(node, Mapping) else None
                inner = as_mapping(self.document.resolved(node))
                at = ref if isinstance(ref, str) else f"{place}/{word}/{number}"
                yield from self.pieces(inner, at, sure and word == "allOf", seen)

    def member(self, name: str, node: Any, place: str, shown: Mapping[str, Any]) -> Member:
        raw = as_mapping(self.document.resolved(node))
        beside = as_mapping(node)
        described = beside.get("description") or raw.get("description") or raw.get("title") or ""
        if not described and isinstance(raw.get("allOf"), list):
            described = next((d for one in raw["allOf"] if (d := as_mapping(one).get("description"))), "")
        example = name in shown or any(
            key in raw or key in beside for key in ("example", "examples", "default", "enum", "const")
        )
        hidden = raw.get("writeOnly") is True or raw.get("format") == "password"
        return Member(
            name, place, self.shape(node, place) or Shape(place), False, str(described).strip(), example, hidden
        )


def _schemes(document: Document) -> Iterator[tuple[str, Scheme]]:
    old = as_mapping(document.raw.get("securityDefinitions"))
    found = old or as_mapping(as_mapping(document.raw.get("components")).get("securitySchemes"))
    home = "#/securityDefinitions" if old else "#/components/securitySchemes"
    for name, node in found.items():
        raw = as_mapping(document.resolved(node))
        told, http = str(raw.get("type") or ""), str(raw.get("scheme") or "").lower()
        kinds = {"oauth2": "oauth2", "openIdConnect": "openid", "mutualTLS": "mtls", "basic": "basic", "apiKey": "key"}
        kind = kinds.get(told, http if http in ("bearer", "basic", "digest") else "other")
        flows = as_mapping(raw.get("flows")).values() if "flows" in raw else [raw]
        scopes = sum(len(as_mapping(as_mapping(flow).get("scopes"))) for flow in flows)
        yield str(name), Scheme(str(name), kind, str(raw.get("in") or "header"), f"{home}/{name}", scopes)


def _names(path: str, raw: Mapping[str, Any]) -> str:
    tags = " ".join(str(one) for one in _list(raw.get("tags")))
    own = str(raw.get("operationId") or "")
    return f"{own} {re.sub(r'{[^}]*}', ' ', path)} {tags}"


def _title(raw: Mapping[str, Any]) -> str:
    told = str(raw.get("summary") or raw.get("description") or "").strip()
    return next(iter(told.splitlines()), "")[:200]


def _responses(raw: Mapping[str, Any]) -> dict[str, Any]:
    """Answers by status; YAML makes numbers of them."""
    return {str(status): answer for status, answer in as_mapping(raw.get("responses")).items()}


def _list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else []
