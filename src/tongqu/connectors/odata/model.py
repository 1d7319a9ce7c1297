"""What an OData service says of itself in $metadata: its entity sets, their types, keys and labels (CSDL 2 to 4.01)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from tongqu.core.errors import AnswerError
from tongqu.kit.xml_tree import local, tree

if TYPE_CHECKING:
    from xml.etree.ElementTree import Element


@dataclass(frozen=True)
class Property:
    """One property of an entity type. `edm` is its type's name, `Edm.…` where it is primitive."""

    name: str
    edm: str
    nullable: bool = True
    precision: int | None = None
    scale: int | None = None
    """None where it is not said, -1 where it is variable."""
    label: str = ""
    creatable: bool = True
    updatable: bool = True
    guards: bool = False
    """Whether it is part of the entity's ETag (`ConcurrencyMode="Fixed"`)."""


@dataclass(frozen=True)
class EntityType:
    """The properties of the entities of a set, by name, those of its base types first."""

    properties: Mapping[str, Property]
    key: tuple[str, ...]
    navigations: tuple[str, ...] = ()


@dataclass(frozen=True)
class EntitySet:
    """A list of entities that a service has."""

    name: str
    type: EntityType
    title: str = ""
    guarded: bool = False
    """Whether a change must name the ETag of what it changes."""


@dataclass(frozen=True)
class Model:
    """A service: its version of the protocol (2 or 4) and its entity sets by name."""

    version: int
    sets: Mapping[str, EntitySet]
    edm: Mapping[str, frozenset[str]] = field(default_factory=dict)
    """For each primitive type the names of all properties that have it anywhere."""
    batches: bool = True
    """Whether several calls may go in one; what does not say so is tried."""


def model(body: bytes, where: str) -> Model:
    """The model of a $metadata document. Raises AnswerError for anything else; an entity set whose type is in another
    document is left out."""
    root = tree(body, where)
    if local(root.tag) != "Edmx":
        raise AnswerError(
            f"{where} is no metadata of an OData service but <{local(root.tag)}>", path=where,
            hint="base_url must be the service's root, below which $metadata stands",
        )  # fmt: skip
    version = 4 if root.get("Version", "").startswith("4") else 2
    reading = _Reading(root)
    sets = {found.name: found for container in _all(root, "EntityContainer") for found in reading.sets(container)}
    if not sets:
        raise AnswerError(f"{where} names no entity set", path=where)
    named: dict[str, set[str]] = {}
    for schema in _all(root, "Schema"):
        for one in (*_all(schema, "EntityType"), *_all(schema, "ComplexType")):
            for held in reading.properties(one).values():
                named.setdefault(held.edm, set()).add(held.name)
    return Model(version, sets, {edm: frozenset(names) for edm, names in named.items()}, _batches(root))


class _Reading:
    """The types of a document by their full names, and by those of their schemas' aliases."""

    def __init__(self, root: Element):
        self._types: dict[str, Element] = {}
        self._plain: dict[str, str] = {}
        self._labels: dict[str, str] = {}
        self._guarded: set[str] = set()
        for schema in _all(root, "Schema"):
            names = [name for name in (schema.get("Namespace"), schema.get("Alias")) if name]
            for one in schema:
                kind, called = local(one.tag), one.get("Name", "")
                for name in names:
                    if kind == "EntityType":
                        self._types[f"{name}.{called}"] = one
                    elif kind == "EnumType":
                        self._plain[f"{name}.{called}"] = "Edm.String"
                    elif kind == "TypeDefinition":
                        self._plain[f"{name}.{called}"] = one.get("UnderlyingType", "Edm.String")
            for told in _all(schema, "Annotations"):
                self._annotated(told)

    def _annotated(self, told: Element) -> None:
        target = told.get("Target", "")
        for one in _all(told, "Annotation"):
            term = one.get("Term", "").rpartition(".")[2]
            if term == "Label" and one.get("String"):
                self._labels[target] = one.get("String", "")
            elif term == "OptimisticConcurrency":
                self._guarded.add(target.rpartition("/")[2])

    def sets(self, container: Element) -> list[EntitySet]:
        """The entity sets of a container."""
        found = []
        for one in _all(container, "EntitySet"):
            name, wanted = one.get("Name", ""), one.get("EntityType", "")
            if wanted not in self._types:
                continue
            made = self._type(wanted)
            noted = any(a.get("Term", "").endswith("OptimisticConcurrency") for a in _all(one, "Annotation"))
            guarded = noted or name in self._guarded or any(p.guards for p in made.properties.values())
            title = _flag(one, "label") or _flag(self._types[wanted], "label") or ""
            found.append(EntitySet(name, made, title, guarded))
        return found

    def _type(self, name: str) -> EntityType:
        """The type with all that it inherits; a circle of base types ends where it closes."""
        chain: list[tuple[str, Element]] = []
        while name in self._types and name not in [known for known, _ in chain]:
            chain.append((name, self._types[name]))
            name = self._types[name].get("BaseType", "")
        properties: dict[str, Property] = {}
        key: tuple[str, ...] = ()
        navigations: list[str] = []
        for full, one in reversed(chain):
            properties |= self.properties(one, full)
            key = tuple(ref.get("Name", "") for ref in _all(one, "PropertyRef")) or key
            navigations += [nav.get("Name", "") for nav in _all(one, "NavigationProperty")]
        return EntityType(properties, tuple(k for k in key if k in properties), tuple(navigations))

    def properties(self, one: Element, full: str = "") -> dict[str, Property]:
        """The properties of a type's element."""
        found = {}
        for held in one:
            if local(held.tag) != "Property":
                continue
            name, edm = held.get("Name", ""), held.get("Type", "Edm.String")
            labels = (a.get("String", "") for a in _all(held, "Annotation") if a.get("Term", "").endswith(".Label"))
            found[name] = Property(
                name, self._plain.get(edm, edm), held.get("Nullable", "true") != "false",
                _number(held.get("Precision")), _scale(held.get("Scale")),
                _flag(held, "label") or next(labels, "") or self._labels.get(f"{full}/{name}", ""),
                _flag(held, "creatable") != "false", _flag(held, "updatable") != "false",
                held.get("ConcurrencyMode") == "Fixed",
            )  # fmt: skip
        return found


def _batches(root: Element) -> bool:
    """Whether `$batch` is supported, by the capabilities that the document annotates."""
    for one in _all(root, "Annotation"):
        term = one.get("Term", "").rpartition(".")[2]
        if term == "BatchSupported" and one.get("Bool") == "false":
            return False
        if term == "BatchSupport":
            told = {held.get("Property"): held.get("Bool") for held in _all(one, "PropertyValue")}
            return told.get("Supported") != "false"
    return True


def _all(element: Element, name: str) -> list[Element]:
    return [one for one in element.iter() if isinstance(one.tag, str) and local(one.tag) == name]


def _flag(element: Element, name: str) -> str | None:
    """The value of one of SAP's attributes."""
    return element.get(f"{{http://www.sap.com/Protocols/SAPData}}{name}")


def _scale(text: str | None) -> int | None:
    return -1 if text in ("variable", "Variable", "floating") else _number(text)


def _number(text: str | None) -> int | None:
    return int(text) if text is not None and text.isdigit() else None
