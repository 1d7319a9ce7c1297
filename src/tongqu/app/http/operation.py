"""One thing that can be managed: its name, address, right and parameters, and what does it."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator, Callable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any, Literal

from tongqu.app.http.rights import Right
from tongqu.core.settings import Settings

if TYPE_CHECKING:
    from tongqu.app.http.children import Children
    from tongqu.app.services.managed import Managed
    from tongqu.app.wire import Wire
    from tongqu.store.versions import Person

PREFIX = "/manage"
Method = Literal["GET", "POST", "PUT", "PATCH", "DELETE"]


class Given(Settings):
    """Parameters of an operation."""


class Nothing(Given):
    """No parameters."""


@dataclass
class Asked:
    """Who asks (`by`: the person, and their name in the audit trail; looked up when it matters), and the parts that
    answer. `managed` and `children` are there where a running gateway answers, and not where the command line does by
    itself."""

    wire: Wire
    by: Callable[[], tuple[Person, str]]
    managed: Managed | None = None
    children: Children | None = None

    @cached_property
    def person(self) -> Person:
        """Whose name stands under what is changed."""
        return self.by()[0]

    @cached_property
    def who(self) -> str:
        """Their name in the audit trail."""
        return self.by()[1]


@dataclass(frozen=True)
class Operation:
    """Something that can be managed.

    `name` is its name in the audit trail, the words of the command with dots. Parameters that `path` names are read
    from the address, the others from the query (GET) or a JSON body. What is no GET changes something: it is audited,
    and where `lock` names the operation that shows the thing, its ETag must be given in If-Match.
    """

    name: str
    method: Method
    path: str
    right: Right
    do: Callable[[Asked, Any], Mapping[str, Any]]
    given: type[Given] = Nothing
    lock: str = ""
    status: int = 200
    stream: Callable[[Asked, Any], AsyncIterator[bytes]] | None = None
    """Instead of `do`: an answer that goes on (Server-Sent Events)."""
    about: tuple[str, ...] = field(default=())
    """Parameters of the body that say what is acted on."""

    @property
    def places(self) -> tuple[str, ...]:
        """The parameters in its path."""
        return tuple(re.findall(r"\{(\w+)\}", self.path))

    @property
    def changes(self) -> bool:
        """Whether it may change something."""
        return self.method != "GET"

    def on(self, given: Given) -> str:
        """What it acts on, for the audit trail."""
        told = [getattr(given, name) for name in (*self.places, *self.about)]
        return " ".join(" ".join(map(str, one)) if isinstance(one, tuple) else str(one) for one in told if one)

    def options(self, given: Given) -> dict[str, Any]:
        """What else was given, without anything secret, for the audit trail."""
        left = (*self.places, *self.about)
        told = given.model_dump(mode="json", exclude_defaults=True)
        return {name: value for name, value in told.items() if name not in left and not _SECRET.search(name)}


_SECRET = re.compile("password|secret|token|key|totp|code|certificate|jwks|value|^rules$")
