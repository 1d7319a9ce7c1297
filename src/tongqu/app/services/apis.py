"""`api`: what a project publishes, told from its files or applied version, the running server and the sources."""

from __future__ import annotations

import asyncio
import json
import ssl
from http.client import HTTPConnection, HTTPException, HTTPSConnection
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from tongqu.app.project.apis import address
from tongqu.app.project.places import nearest
from tongqu.app.services.publishing import Status
from tongqu.app.services.serve_place import ServeRequest, running
from tongqu.app.services.serving import origin_of, publishing_of
from tongqu.core.data import Meta
from tongqu.core.errors import UnknownNameError
from tongqu.gateway.health import OWNER
from tongqu.gateway.publication import age
from tongqu.kit.serving.idempotency import TABLE

if TYPE_CHECKING:
    from tongqu.app.project.load import Project
    from tongqu.app.wire import Wire

_ASK_SECONDS = 5.0


def listed(wire: Wire, *, files: bool) -> dict[str, Any]:
    """Every API with its address, source and roles; its state as the running server has it, `unserved` if there is
    none, `waiting` if it runs another version."""
    project, _ = origin_of(wire, ServeRequest(files=files)).load()
    state = _state(wire)
    states = {one["path"]: one for one in state.get("published", [])}
    apis = []
    for name, entry in project.apis.items():
        version, shown_name = address(name, entry)
        path = f"/api/{version}/{shown_name}"
        source = entry.source.dataset or "(query)"
        unknown = "waiting" if state else "unserved"
        apis.append(
            {
                "name": shown_name,
                "version": version,
                "path": path,
                "source": f"{entry.source.connection}/{source}",
                "roles": ["*"] if entry.access.public else list(entry.access.roles),
                "state": states.get(path, {}).get("state", unknown),
                "problems": states.get(path, {}).get("problems", []),
            }
        )
    problems = [problem for one in apis for problem in one["problems"]]
    return {
        "apis": apis,
        "url": state.get("url", ""),
        "config": state.get("config", ""),
        "stale": state.get("stale", False),
        "problems": [*problems, *state.get("problems", [])],
    }


def shown(wire: Wire, name: str, version: str, *, files: bool) -> dict[str, Any]:
    """One API as its source describes it now; raises UnknownNameError."""
    project, label = origin_of(wire, ServeRequest(files=files)).load()
    status = asyncio.run(_compiled(wire, project, label, name, version))
    document: dict[str, Any] = {**status.to_json(), "fields": [], "relations": {}, "key": []}
    if status.api is None:
        return document
    dataset = status.api.dataset
    document["key"] = list(dataset.key)
    document["source"] = f"{status.api.connection}/{status.api.table or '(query)'}"
    document["relations"] = {key: told.api for key, told in status.api.relations.items()}
    document["policy"] = status.api.policy.version
    document["writes"] = status.api.writes
    for field in dataset.schema:
        told = {key.decode(): value.decode() for key, value in (field.metadata or {}).items()}
        document["fields"].append(
            {
                "field": field.name,
                "type": str(field.type),
                "key": field.name in dataset.key,
                "class": told.get(Meta.CLASS.value, ""),
                "mask": told.get(Meta.MASK.value, ""),
                "title": told.get(Meta.TITLE.value, ""),
                "unit": told.get(Meta.UNIT.value, ""),
            }
        )
    return document


def checked(wire: Wire, document: dict[str, Any]) -> dict[str, Any]:
    """The document of `check` with what is wrong with the APIs of the files before the rest."""
    if not wire.project.apis:
        return document
    found = problems(wire)
    good = document["ok"] and all("level" in one for one in found)
    return {**document, "ok": good, "problems": [*found, *document["problems"]]}


def problems(wire: Wire) -> list[dict[str, Any]]:
    """What is wrong with the APIs of the files, as their sources are now; for `check`. What the first run of a pipeline
    will make is no error yet: its problem has the level `warning`."""
    written = {sink.connection for entry in wire.project.pipelines.values() for sink in entry.all_sinks.values()}

    async def work() -> list[dict[str, Any]]:
        publishing = publishing_of(wire)
        compiled = await publishing.compile(wire.project, "files")
        await publishing.close(compiled)
        found = [problem for status in compiled.statuses for problem in _leveled(wire.project, status, written)]
        return [*found, *(_twice(wire.project, one) for one in compiled.statuses if _at_least_once(one))]

    return asyncio.run(work())


def _at_least_once(status: Status) -> bool:
    return status.api is not None and status.api.writes == "at-least-once"


def _twice(project: Project, status: Status) -> dict[str, Any]:
    """The note that what is sent again may be done twice."""
    return {
        "path": project.places.located(f"apis.{status.entry}.write"),
        "code": "api.at_least_once",
        "message": f"{TABLE} cannot be created in {project.apis[status.entry].source.connection}: "
        "what is sent again may be done twice",
        "hint": f"grant CREATE once, or create {TABLE} for the login",
        "level": "warning",
    }


def _leveled(project: Project, status: Status, written: set[str]) -> list[dict[str, Any]]:
    made = status.state == "unreachable" and project.apis[status.entry].source.connection in written
    return [{**problem, "level": "warning"} if made else dict(problem) for problem in status.problems]


async def _compiled(wire: Wire, project: Project, label: str, name: str, version: str) -> Status:
    publishing = publishing_of(wire)
    found = [key for key, entry in project.apis.items() if address(key, entry)[1] == name or key == name]
    if version:
        found = [key for key in found if address(key, project.apis[key])[0] == version]
    if not found:
        known = sorted({address(key, entry)[1] for key, entry in project.apis.items()})
        raise UnknownNameError(
            f"there is no API {name!r}" + (f" of version {version}" if version else ""),
            path="NAME", hint=nearest(name, known), params={"name": name},
        )  # fmt: skip
    newest = max(found, key=lambda key: age(address(key, project.apis[key])[0]))
    compiled = await publishing.compile(project, label)
    try:
        return next(status for status in compiled.statuses if status.entry == newest)
    finally:
        await publishing.close(compiled)


def _state(wire: Wire) -> dict[str, Any]:
    """What the running server of this project says of itself; empty if none runs or answers."""
    owner = running(wire.home.serve)
    if owner is None:
        return {}
    try:
        return {**_asked(str(owner["url"]), str(owner["token"])), "url": owner["url"]}
    except (OSError, HTTPException, ValueError):
        return {}


def _asked(url: str, token: str) -> dict[str, Any]:
    """`/readyz` as the owner sees it. The address comes from our own file, whatever its certificate is made out to."""
    parts = urlsplit(url)
    if parts.scheme == "https":
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
        line: HTTPConnection = HTTPSConnection(str(parts.hostname), parts.port, timeout=_ASK_SECONDS, context=context)
    else:
        line = HTTPConnection(str(parts.hostname), parts.port, timeout=_ASK_SECONDS)
    try:
        line.request("GET", "/readyz", headers={OWNER: token})
        found: dict[str, Any] = json.loads(line.getresponse().read())
        return found
    finally:
        line.close()
