"""An interface as an assessment sees it, whatever wrote it down: operations, and the shapes of what they exchange."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

_MOST = 400
_DEEPEST = 6


@dataclass(eq=False)
class Shape:
    """What a value looks like. Shapes may hold each other in circles; `place` is where the document describes it."""

    place: str
    type: str = ""
    """`object array string integer number boolean`, `mixed` for several of them, empty where the document is silent."""
    format: str = ""
    members: dict[str, Member] = field(default_factory=dict)
    items: Shape | None = None
    choices: tuple[str, ...] = ()
    nullable: bool = False

    @property
    def typed(self) -> bool:
        """Whether the document says what it is."""
        return bool(self.type or self.members or self.items or self.choices)

    @property
    def inner(self) -> Shape:
        """The shape of the elements of an array, through arrays of arrays; any other shape itself."""
        here, left = self, _DEEPEST
        while here.items is not None and left:
            here, left = here.items, left - 1
        return here


@dataclass(frozen=True, eq=False)
class Member:
    """A field of a shape. `place` is its path in the document."""

    name: str
    place: str
    shape: Shape
    required: bool = False
    description: str = ""
    example: bool = False
    hidden: bool = False
    """It is never in an answer (write-only), or said to be a password."""


@dataclass(frozen=True)
class Parameter:
    """A value in the address or the headers of a call; `where` is query, path, header or cookie."""

    name: str
    where: str
    place: str
    required: bool = False
    type: str = ""
    description: str = ""
    example: str = ""
    """A value that the document gives: its example, default or first choice."""
    choices: tuple[str, ...] = ()


@dataclass(frozen=True, eq=False)
class Operation:
    """Something that can be called."""

    label: str
    method: str
    path: str
    place: str
    does: frozenset[str]
    """Among `read create update delete notify`."""
    names: str
    """Identifier, path and tags: what it is called."""
    title: str
    """What it is said to do, in a line."""
    parameters: tuple[Parameter, ...] = ()
    sends: Shape | None = None
    gives: Shape | None = None
    records: Shape | None = None
    """The shape of a record if it gives a list of them."""
    statuses: tuple[str, ...] = ()
    """The answers that are described: `200`, `4XX`, `default`, `fault`."""
    error: Shape | None = None
    headers: tuple[str, ...] = ()
    """Headers of answers that are described, in lower case."""
    access: tuple[frozenset[str], ...] | None = None
    """Alternatives of schemes that open it (an empty one: none is needed); None where the document is silent."""
    scopes: frozenset[str] = frozenset()
    deprecated: bool = False


@dataclass(frozen=True)
class Scheme:
    """A way to show who calls. `kind`: oauth2 openid mtls bearer digest basic key signature other."""

    name: str
    kind: str
    where: str = "header"
    place: str = ""
    scopes: int = 0


@dataclass(frozen=True)
class Interface:
    """A vendor's document. `said` is all prose about the whole; `where` its file or address without secrets."""

    where: str
    protocol: str
    title: str
    version: str
    servers: tuple[str, ...]
    operations: tuple[Operation, ...]
    schemes: Mapping[str, Scheme]
    said: str = ""
    unread: tuple[str, ...] = ()
    """What it refers to and was not read; fields described there have no type."""

    def shapes(self) -> Iterator[Shape]:
        """Every shape that an operation exchanges, once."""
        seen: set[int] = set()
        waiting = deque(one for op in self.operations for one in (op.sends, op.gives, op.error) if one is not None)
        while waiting:
            shape = waiting.popleft()
            if id(shape) in seen:
                continue
            seen.add(id(shape))
            yield shape
            waiting.extend(member.shape for member in shape.members.values())
            if shape.items is not None:
                waiting.append(shape.items)


def fields(shape: Shape | None) -> Iterator[tuple[str, Member]]:
    """The fields below a shape with their paths (`data.items[].lotNo`), nearest first; circles are not followed, and it
    ends after six levels or 400 fields."""
    if shape is None:
        return
    waiting: deque[tuple[str, Shape, tuple[int, ...]]] = deque([("", shape.inner, (id(shape.inner),))])
    count = 0
    while waiting:
        above, here, way = waiting.popleft()
        for name, member in here.members.items():
            path = f"{above}.{name}" if above else name
            yield path, member
            count += 1
            if count >= _MOST:
                return
            below = member.shape.inner
            if below.members and id(below) not in way and len(way) < _DEEPEST:
                deeper = path if member.shape.items is None else f"{path}[]"
                waiting.append((deeper, below, (*way, id(below))))
