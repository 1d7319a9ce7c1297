"""What is published, what each caller sees of it, and how the running gateway does."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from tongqu.app.http.operation import Asked, Given, Operation
from tongqu.core.settings import Names, Secret


class OfFiles(Given):
    """Where from."""

    files: bool = False
    """The files as they are, instead of the applied version."""


class OfApi(OfFiles):
    """One API."""

    name: str
    """The API."""
    version: str = ""
    """Its version; the newest unless said."""


class OfContract(Given):
    """One applied API."""

    name: str
    """The API."""
    version: str = ""
    """Its version; the newest unless said."""


class GoOver(Given):
    """From one version to another."""

    name: str
    """The API."""
    old: str
    """The version that callers use now."""
    new: str
    """The version they would go over to."""


class Explain(OfApi):
    """Through whose eyes."""

    client: str
    """A client's id, or `anonymous`."""
    purpose: str = ""
    """What the data is needed for."""
    at: str = ""
    """When."""
    address: str = ""
    """From where."""
    attributes: Names = ()
    """`NAME=VALUE`, beside those that are registered."""
    roles: Names = ()
    """Instead of those that are registered."""


class AllowExport(Given):
    """Who may take more rows of an API."""

    name: str
    """The API."""
    client: str
    """Who waits: a client's name, or `user:NAME`."""
    reason: str
    """Why."""


class Approve(Given):
    """A second person's signature."""

    id: str
    """The change that waits."""
    name: str
    """Who signs."""
    password: Secret
    """Their password, given anew."""
    code: str = ""
    """The code of their second factor."""


class Prove(OfFiles):
    """Which APIs."""

    name: str = ""
    """One API; all of them unless said."""
    version: str = ""
    """Its version."""


def _list(asked: Asked, given: OfFiles) -> Mapping[str, Any]:
    """The APIs and their state."""
    from tongqu.app.services.apis import listed

    return listed(asked.wire, files=given.files)


def _show(asked: Asked, given: OfApi) -> Mapping[str, Any]:
    """One API as its source describes it now: its fields, key, relations and policy."""
    from tongqu.app.services.apis import shown

    return shown(asked.wire, given.name, given.version, files=given.files)


def _contract(asked: Asked, given: OfContract) -> Mapping[str, Any]:
    """What the applied version of an API promises its callers, and who relies on which field."""
    return asked.wire.promises.show(given.name, given.version, _applied(asked))


def _diff(asked: Asked, given: GoOver) -> Mapping[str, Any]:
    """What changes for a caller who goes over from one version to another."""
    return asked.wire.promises.difference(given.name, given.old, given.new, _applied(asked))


def _applied(asked: Asked) -> int:
    """The number of the version that counts; 0 before the first."""
    if not asked.wire.home.versions.exists():
        return 0
    store = asked.wire.versions()
    try:
        head = store.head(asked.wire.env)
        return head.version if head else 0
    finally:
        store.close()


def _exports(asked: Asked, given: Given) -> Mapping[str, Any]:
    """Who waits for more rows than it may take by itself, and what was allowed."""
    from tongqu.app.services.exporting import Exporting

    return Exporting(asked.wire).list()


def _allow(asked: Asked, given: AllowExport) -> Mapping[str, Any]:
    """Let a caller that waits take as many rows again, as a second person."""
    from tongqu.app.services.exporting import Exporting

    return Exporting(asked.wire).allow(given.client, given.name, given.reason, asked.person.actor)


def _pending(asked: Asked, given: Given) -> Mapping[str, Any]:
    """Changes that wait for the signature of a second person, with their rows."""
    from tongqu.app.services.approving import Approving

    return Approving(asked.wire).list()


def _approve(asked: Asked, given: Approve) -> Mapping[str, Any]:
    """Sign a change as the second person, with name and password given anew."""
    from tongqu.app.services.approving import Approving

    return Approving(asked.wire).approve(given.id, given.name, given.password.get_secret_value(), given.code)


def _explain(asked: Asked, given: Explain) -> Mapping[str, Any]:
    """What a caller sees and may change, by which rules, and the SQL of it."""
    from tongqu.app.services.explaining import ExplainRequest, explained

    request = ExplainRequest(
        given.name, given.client, given.version, given.purpose, given.at, given.address, given.attributes,
        given.roles, given.files,
    )  # fmt: skip
    return explained(asked.wire, request)


def _prove(asked: Asked, given: Prove) -> Mapping[str, Any]:
    """Try every way to learn what may not be seen."""
    from tongqu.app.services.explaining import tested

    return tested(asked.wire, given.name, given.version, files=given.files)


def _health(asked: Asked, given: Given) -> Mapping[str, Any]:
    """What this gateway serves, and what is wrong with it."""
    return dict(asked.managed.state()) if asked.managed else {}


def _limits(asked: Asked, given: Given) -> Mapping[str, Any]:
    """The protection that holds for all APIs, as the project says it."""
    entry = asked.managed.entry() if asked.managed else asked.wire.project.gateway
    return entry.model_dump(mode="json") if entry else {}


def _metrics(asked: Asked, given: Given) -> Mapping[str, Any]:
    """The numbers of all processes of this home, summed; buckets of histograms are left to `/metrics`."""
    sums = asked.managed.sums() if asked.managed else {}
    return {"metrics": {name.lstrip("="): value for name, value in sorted(sums.items()) if "_bucket" not in name}}


OPERATIONS = (
    Operation("api.list", "GET", "/apis", "look", _list, OfFiles),
    Operation("api.show", "GET", "/apis/{name}", "look", _show, OfApi),
    Operation("api.contract", "GET", "/apis/{name}/contract", "look", _contract, OfContract),
    Operation("api.diff", "GET", "/apis/{name}/contract/changes", "look", _diff, GoOver),
    Operation("policy.explain", "GET", "/apis/{name}/policy", "policy", _explain, Explain),
    Operation("policy.test", "GET", "/policy/proof", "policy", _prove, Prove),
    Operation("api.exports", "GET", "/exports", "calls", _exports),
    Operation("api.allow", "POST", "/apis/{name}/exports", "security", _allow, AllowExport, about=("client",)),
    Operation("api.pending", "GET", "/pending", "rows", _pending),
    Operation("api.approve", "POST", "/pending/{id}/approval", "known", _approve, Approve, about=("name",)),
    Operation("health", "GET", "/health", "look", _health),
    Operation("limits", "GET", "/limits", "system", _limits),
    Operation("metrics", "GET", "/metrics", "system", _metrics),
)
