"""How the demo's APIs are called: a client with its token, and command lines that work as they are printed."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from tongqu.app.messages import t

if TYPE_CHECKING:
    from tongqu.app.services.identity import Callers

CLIENT = "demo"
ROLES = ("quality",)
_BEARER = '-H "Authorization: Bearer $TOKEN"'
_JSON = "-H 'Content-Type: application/json'"


@dataclass(frozen=True)
class Line:
    """A command line for a POSIX shell in which TOKEN is set, and what it shows (a message's id)."""

    shows: str
    command: str

    def to_json(self) -> dict[str, str]:
        """As it stands in the document."""
        return {"shows": t(self.shows), "command": self.command}


def client(callers: Callers) -> tuple[str, str]:
    """The secret and a token (for an hour) of the demo's client, which is made, or gets a new secret if it is there."""
    from tongqu.app.services.identity import NewClient

    known = {one["client_id"] for one in callers.list()["clients"]}
    if CLIENT in known:
        secret = callers.rotate(CLIENT, "secret", "0s", "")["client_secret"]
    else:
        secret = callers.add(NewClient(CLIENT, ROLES))["client_secret"]
    return secret, callers.token(CLIENT, "60m", ())["access_token"]


def lines(url: str, secret: str, prefixes: Sequence[str]) -> list[Line]:
    """The lines for what is served at `prefixes`, in the order in which they are to be tried."""
    told: Mapping[str, Any] = {
        "/api": _rest, "/graphql": _graphql, "/soap": _soap, "/live": _live, "/ingest": _ingest, "/oauth": _token,
    }  # fmt: skip
    return [line for prefix, make in told.items() if prefix in prefixes for line in make(url, secret)]


def _rest(url: str, _secret: str) -> Iterator[Line]:
    api = f"{url}/api/v1"
    fields = "inspection_id,lot_no,weight,inspector,line(line_name),remarks(text)"
    query = f"select={fields}&weight=gt.8&order=weight.desc&limit=3"
    note = json.dumps({"remark_id": 2, "inspection_id": 7, "text": "请复检"}, ensure_ascii=False)
    yield Line("demo.call.open", f"curl -s '{api}/lines?select=line_id,line_name&order=line_id'")
    yield Line("demo.call.closed", f"curl -s -i '{api}/inspections'")
    yield Line("demo.call.query", f"curl -s -g {_BEARER} '{api}/inspections?{query}'")
    yield Line("demo.call.row", f"curl -s -i {_BEARER} '{api}/inspections/7'")
    yield Line("demo.call.csv", f"curl -s {_BEARER} -H 'Accept: text/csv' '{api}/heaviest?line=B1&limit=5'")
    write = f"{_BEARER} {_JSON} -H 'Idempotency-Key: first' -H 'Prefer: return=representation' -d '{note}'"
    yield Line("demo.call.write", f"curl -s -i {write} '{api}/remarks'")


def _graphql(url: str, _secret: str) -> Iterator[Line]:
    query = (
        "{ inspections(limit: 2) { nodes { inspection_id inspector line { line_name } remarks { text } } totalCount } }"
    )
    body = json.dumps({"query": query})
    yield Line("demo.call.graphql", f"curl -s {_BEARER} {_JSON} -d '{body}' '{url}/graphql/v1'")


def _soap(url: str, secret: str) -> Iterator[Line]:
    service = f"{url}/soap/v1/inspections"
    message = (
        '<s:Envelope xmlns:s="http://schemas.xmlsoap.org/soap/envelope/"><s:Body>'
        '<Query xmlns="urn:tongqu:soap:v1:inspections"><limit>2</limit></Query></s:Body></s:Envelope>'
    )
    yield Line("demo.call.wsdl", f"curl -s {_BEARER} '{service}?wsdl'")
    yield Line("demo.call.soap", f"curl -s -u {CLIENT}:{secret} -H 'Content-Type: text/xml' -d '{message}' '{service}'")


def _live(url: str, _secret: str) -> Iterator[Line]:
    yield Line("demo.call.live", f"curl -s -N --max-time 3 {_BEARER} '{url}/live/v1/remarks' || test $? -eq 28")


def _ingest(url: str, _secret: str) -> Iterator[Line]:
    note = json.dumps({"remark_id": 3, "inspection_id": 7, "text": "已复检"}, ensure_ascii=False)
    yield Line("demo.call.ingest", f"curl -s -i {_BEARER} {_JSON} -d '{note}' '{url}/ingest/remarks'")


def _token(url: str, secret: str) -> Iterator[Line]:
    yield Line("demo.call.token", f"curl -s -u {CLIENT}:{secret} -d grant_type=client_credentials '{url}/oauth/token'")
