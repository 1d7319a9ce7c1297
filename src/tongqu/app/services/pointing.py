"""What a project names outside its files and connections, and what is not there: secrets, variables, clients."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from typing import TYPE_CHECKING, Any

from tongqu.app.project.load import Project, laid
from tongqu.app.project.places import Key, nearest
from tongqu.core.errors import SecretError, UnknownNameError
from tongqu.store.references import References

if TYPE_CHECKING:
    from tongqu.app.wire import Wire

_SECTIONS = ("hooks", "webhooks", "apis", "gateway", "audit", "run", "pipelines")
"""Sections, besides `connections`, in which references stand for values."""


@dataclass(frozen=True)
class Known:
    """Names that a home knows; asked only where one is not found."""

    secrets: Callable[[], Sequence[str]]
    clients: Callable[[], Sequence[str]]

    @classmethod
    def of(cls, wire: Wire) -> Known:
        """Those of this home; nothing is made by looking."""

        def clients() -> list[str]:
            if not wire.home.identity.exists():
                return []
            with wire.callers().opened() as identities:
                return [client.id for client in identities.clients.list()]

        return cls(lambda: [one["name"] for one in wire.secrets.list()["secrets"]], clients)


def dangling(project: Project, references: References, known: Known) -> list[SecretError]:
    """An error for each reference outside connections that leads nowhere. Raises what a vault's connection raises."""
    tree = laid(project.shared, project.overlay)
    found = [error for name in _SECTIONS for error in references.missing(_used(name, tree), name)]
    for error in found:
        error.path = project.places.located(error.path)
        wanted = str(error.params.get("name", "")) if "variable" in error.params else ""
        near = get_close_matches(wanted, known.secrets(), n=1, cutoff=0.6) if wanted else []
        if near:
            error.hint = f"did you mean {near[0]!r}? or: {error.hint}"
    return found


def strangers(project: Project, known: Known) -> list[dict[str, str]]:
    """A warning for each client that webhooks and addresses name and that the home does not know: it may be made later,
    or on the machine that serves."""
    named: dict[Key, str] = {
        ("apis", name, "webhooks", hook, "as"): entry.as_
        for name, api in project.apis.items()
        for hook, entry in api.webhooks.items()
    }
    named |= {("gateway", "clients", name): name for name in (project.gateway.clients if project.gateway else ())}
    clients = known.clients() if named else []
    found = []
    for key, client in named.items():
        if client not in clients:
            hint = nearest(client, clients) if clients else f"tongqu client add {client} --role ROLE"
            beside = ("webhooks", str(key[3]), "as") if len(key) > 3 and key[3] in _own(project) else key
            error = UnknownNameError(
                f"there is no client {client!r}", path=project.places.path(beside), hint=hint, params={"name": client}
            )
            found.append({**error.problem(), "level": "warning"})
    return list({one["path"]: one for one in found}.values())


def _own(project: Project) -> Mapping[str, Any]:
    """The webhooks that stand beside the APIs."""
    section = laid(project.shared, project.overlay).get("webhooks")
    return section if isinstance(section, Mapping) else {}


def _used(section: str, tree: Mapping[str, Any]) -> Any:
    """A section as it counts: where the environment says where jobs are kept, the file does not."""
    content = tree.get(section) or {}
    if section == "run" and os.environ.get("TONGQU_STORE"):
        return {name: value for name, value in content.items() if name != "store"}
    return content
