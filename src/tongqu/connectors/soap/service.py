"""The calls of one SOAP service: arguments become envelopes, answers their XML, faults errors."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tongqu.connectors.soap import answers
from tongqu.kit.http.call import Call, Grant, Repeat, Reply
from tongqu.kit.http.client import Http

if TYPE_CHECKING:
    from tongqu.connectors.soap.description import Description
    from tongqu.connectors.soap.settings import SoapSettings

OPERATION = "#operation"
"""In the JSON body of a reading call: which operation it means; `arguments` are beside it."""
_FAULTS = (400, 401, 403, 500)


class Service(Http):
    """A SOAP service as an HTTP client: a POST of `{"#operation": name, "arguments": {…}}` becomes its envelope."""

    def __init__(self, settings: SoapSettings, folder: Path | None):
        super().__init__(settings, folder=folder)
        self._told = settings
        self._description: Description | None = None

    @property
    def description(self) -> Description:
        """The WSDL; read once."""
        if self._description is None:
            from tongqu.connectors.soap.description import Description

            self._description = Description(self._told, self)
        return self._description

    def send(self, call: Call) -> Reply:
        """See Http.send; faults are errors whatever their status."""
        if call.method != "POST" or not call.body.startswith(b'{"#operation"'):
            return super().send(call)
        told: dict[str, Any] = json.loads(call.body)
        return self.call(told[OPERATION], told.get("arguments") or {}, "arguments", repeat=Repeat.SAFE, like=call)

    def call(
        self, operation: str, arguments: dict[str, Any], where: str, *, repeat: Repeat, like: Call | None = None
    ) -> Reply:
        """Call an operation, as `like` otherwise. What comes is XML, a body without fault."""
        description = self.description
        body, headers = description.message(operation, arguments, where)
        url = self.url(description.address)
        like = like or Call("POST", url, keep_seconds=0)
        headers = {"Accept": "text/xml, application/soap+xml, multipart/related", **headers}
        grant = Grant.OPERATOR if self._told.address else Grant.DATA
        call = replace(
            like,
            method="POST",
            url=url,
            params=(),
            headers=headers,
            body=body,
            repeat=repeat,
            grant=grant,
            accepts=_FAULTS,
        )
        reply = super().send(call)
        xml = answers.content(reply, operation, description.faults(operation), description.answers(operation))
        if (instants := description.instants(operation)) is not None:
            xml = instants.sub(rb"\1", xml)  # .NET writes seven places, and microseconds are kept
        return replace(reply, content=xml, headers={**reply.headers, "content-type": "text/xml"})
