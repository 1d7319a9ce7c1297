"""`connect`: makes the connection of a project out of an API's own document."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from tongqu.core.errors import InvalidPlanError, NotFoundError, learnt
from tongqu.kit.openapi.lists import Found
from tongqu.kit.openapi.reading import described
from tongqu.kit.openapi.security import auth, required
from tongqu.kit.patterns import nearest, wanted

if TYPE_CHECKING:
    from tongqu.core.data import Dataset

KINDS = ("openapi", "postman", "wsdl", "odata")


@dataclass(frozen=True)
class _Made:
    """A connection without its datasets, what could be its datasets, and how calls must be authenticated."""

    base: str
    connection: dict[str, Any]
    found: Sequence[Found]
    auth: dict[str, Any] = field(default_factory=dict)
    schemes: Sequence[str] = ()


def imported(
    documents: Mapping[str, str], *, name: str = "", base_url: str = "", datasets: Sequence[str] = ()
) -> dict[str, Any]:
    """The connection that a document describes: `name`, `connection` in a project's plain values, `credentials` with
    the `schemes` by which calls must be authenticated and whether they are `written` as `auth`, `datasets` with the
    operation each comes from and the parameters it still `needs`, `guessed` with every setting of a dataset that was
    concluded from another operation, and `left_out` with the reason for every other operation. `documents` holds one
    file or address by its kind (see KINDS); `datasets` are globs that choose among the lists.

    Raises InvalidPlanError unless exactly one document is named, NotFoundError if there is none, or no list in it, and
    InvalidSettingsError if it is no such document.
    """
    told = {kind: place for kind, place in documents.items() if place}
    if len(told) != 1:
        raise InvalidPlanError(
            "name one document", path="--openapi", hint=" or ".join(f"--{kind} FILE|URL" for kind in KINDS)
        )
    ((kind, place),) = told.items()
    with learnt():
        made = _made(kind, place, name, base_url)
    lists = [one for one in made.found if one.settings]
    chosen = [one for one in lists if wanted(one.name, datasets or None)]
    if not chosen:
        names = [one.name for one in lists]
        raise NotFoundError(
            "the document has no such list of records" if lists else "the document describes no list of records",
            path=place, hint=f"there are: {nearest(datasets[0], names)}" if lists and datasets else "",
        )  # fmt: skip
    connection = dict(made.connection)
    if made.auth:
        connection["auth"] = made.auth
    kept = _with_parents(chosen, lists)
    connection["datasets"] = {one.name: _plain(one) for one in kept}
    return {
        "name": name or _name(base_url or made.base),
        "connection": connection,
        "credentials": {"schemes": list(made.schemes), "written": bool(made.auth)},
        "datasets": [{"name": one.name, "operation": one.operation, "needs": list(one.needs)} for one in chosen],
        "guessed": [
            {"dataset": one.name, "setting": guess.setting, "from": guess.source}
            for one in kept
            for guess in one.guesses
        ],
        "left_out": [{"operation": one.operation, "reason": one.reason} for one in made.found if not one.settings],
    }


def _made(kind: str, place: str, name: str, base_url: str) -> _Made:
    """What the document of a kind says; see `imported`."""
    if kind == "odata":
        return _odata(place, base_url)
    if kind == "wsdl":
        return _wsdl(place, base_url)
    base, found, document = described(openapi=place) if kind == "openapi" else described(postman=place)
    secret = f"${{secret:{name or _name(base_url or base)}}}"
    return _Made(
        base,
        {"type": "rest", "base_url": base_url or base or "https://…"},
        found,
        auth(document, secret) if document else {},
        required(document) if document else (),
    )


def _wsdl(place: str, base_url: str) -> _Made:
    """A SOAP service; its WSDL stays where it is, and is read again with every use."""
    from tongqu.app.services.assessing.documents import paper
    from tongqu.catalog.wsdl_lists import lists

    interface = paper("wsdl", place).interface()
    web = place.startswith(("http://", "https://"))
    base = next((one for one in interface.servers if one.startswith(("http://", "https://"))), place if web else "")
    connection: dict[str, Any] = {"type": "soap", "base_url": base_url or base or "https://…"}
    if place != f"{connection['base_url']}?wsdl":
        connection["wsdl"] = place
    return _Made(base, connection, lists(interface), schemes=sorted(interface.schemes))


def _odata(place: str, base_url: str) -> _Made:
    """An OData service by its root or its $metadata, or by a file that holds its metadata."""
    from tongqu.core.registry import connector

    root, mark, query = place.partition("?")
    web = place.startswith(("http://", "https://"))
    base = root.removesuffix("/").removesuffix("/$metadata") if web else ""
    connection: dict[str, Any] = {
        "type": "odata",
        "base_url": base_url or (f"{base}{mark}{query}" if web else "https://…"),
    }
    if not web:
        connection["metadata_file"] = place
    told = {name: value for name, value in connection.items() if name != "type"}
    if not web and not base_url:
        told["base_url"] = "https://localhost"  # nothing is called: the metadata is a file
    odata = connector("odata")
    assert odata.source is not None  # noqa: S101  # it reads
    source = odata.source(odata.settings.parse(told, "odata"))
    try:
        return _Made(base, connection, [_entity_set(one) for one in source.datasets()])
    finally:
        source.close()


def _entity_set(dataset: Dataset) -> Found:
    """An entity set as a dataset; the metadata has its fields and key, so that only the cursor is to be said."""
    from tongqu.kit.openapi.vocabulary import changed_field
    from tongqu.kit.openapi.writing import Guess

    settings: dict[str, Any] = {"path": dataset.name}
    changed = changed_field(dataset.schema.names)
    guesses: tuple[Guess, ...] = ()
    if changed:
        settings["incremental"] = {"cursor": changed}
        guesses = (Guess("incremental", settings["incremental"], f"{dataset.name}.{changed}"),)
    return Found(dataset.name, dataset.name, settings, guesses=guesses)


def _with_parents(chosen: Sequence[Found], lists: Sequence[Found]) -> list[Found]:
    """The chosen ones after the datasets that fill their paths."""
    by_name = {one.name: one for one in lists}
    kept: dict[str, Found] = {}

    def take(one: Found) -> None:
        above = one.settings.get("parent", {}).get("dataset")
        if above and above not in kept:
            take(by_name[above])
        kept.setdefault(one.name, one)

    for one in chosen:
        take(one)
    return list(kept.values())


def _plain(one: Found) -> dict[str, Any]:
    """Its settings, with a place for each parameter that is still to be given."""
    settings = dict(one.settings)
    if one.needs:
        place = "arguments" if "operation" in settings else "params"
        settings[place] = {**settings.get(place, {}), **dict.fromkeys(one.needs, "…")}
    write = {g.setting.removeprefix("write."): g.value for g in one.guesses if g.setting.startswith("write.")}
    return settings | ({"write": write} if write else {})


def _name(base: str) -> str:
    host = re.sub(r"^https?://", "", base).partition("/")[0].partition(":")[0]
    words = [word for word in host.split(".") if word not in ("api", "www", "com", "cn", "org", "net", "io", "example")]
    return re.sub(r"\W", "_", words[0]) if words and not words[0].isdigit() else "api"
