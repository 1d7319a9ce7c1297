"""What an operation of a document takes and gives, as far as making and judging cases needs it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from tongqu.kit.openapi.document import Document, Operation, as_mapping


@dataclass(frozen=True)
class Body:
    """A JSON body: its schema, and whether a call without one is refused."""

    schema: Any
    required: bool


def schema_of(parameter: Mapping[str, Any]) -> Mapping[str, Any]:
    """The schema of a parameter; in Swagger 2 the parameter itself is it."""
    if isinstance(parameter.get("schema"), Mapping):
        schema = dict(parameter["schema"])
    else:
        schema = {
            name: value for name, value in parameter.items()
            if name not in ("required", "name", "in", "content", "style", "explode", "allowEmptyValue", "description")
        }  # fmt: skip
    if "example" in parameter:
        schema.setdefault("example", parameter["example"])
    examples = as_mapping(parameter.get("examples"))
    first = as_mapping(next(iter(examples.values()), None))
    if "value" in first:
        schema.setdefault("example", first["value"])
    return schema


def body_of(document: Document, operation: Operation) -> Body | None:
    """The JSON body that an operation takes; None if it takes none, or none in JSON."""
    old = next((one for one in operation.parameters if one.get("in") == "body"), None)
    if old is not None:
        return Body(old.get("schema"), old.get("required") is True)
    told = as_mapping(document.resolved(operation.raw.get("requestBody")))
    for kind, one in as_mapping(told.get("content")).items():
        if "json" in str(kind):
            media = as_mapping(one)
            schema = media.get("schema")
            if "example" in media and isinstance(schema, Mapping):
                schema = {"allOf": [schema], "example": media["example"]}
            return Body(schema, told.get("required") is True) if schema is not None else None
    return None


def takes_other(document: Document, operation: Operation) -> bool:
    """Whether an operation takes a body that is not JSON and cannot be left out."""
    if any(one.get("in") == "formData" and one.get("required") is True for one in operation.parameters):
        return True
    told = as_mapping(document.resolved(operation.raw.get("requestBody")))
    return told.get("required") is True and body_of(document, operation) is None


def answers(document: Document, operation: Operation) -> dict[str, Any]:
    """The described answers by status in lower case (`200`, `4xx`, `default`): the JSON schema, or None."""
    found: dict[str, Any] = {}
    for status, node in as_mapping(operation.raw.get("responses")).items():
        told = as_mapping(document.resolved(node))
        schema = told.get("schema")
        for kind, one in as_mapping(told.get("content")).items():
            if "json" in str(kind):
                schema = as_mapping(one).get("schema")
                break
        found[str(status).lower()] = schema
    return found


def answer_for(document: Document, operation: Operation, status: int) -> tuple[bool, Any]:
    """Whether an answer of this status is described, and its JSON schema."""
    told = answers(document, operation)
    for name in (str(status), f"{str(status)[0]}xx", "default"):
        if name in told:
            return True, told[name]
    return False, None


def good_status(document: Document, operation: Operation) -> int:
    """The status of a successful answer: the first that is described, else 200."""
    told = [one for one in answers(document, operation) if one[:1] == "2"]
    first = next((one for one in told if one != "2xx"), "200")
    return int(first) if first.isdigit() else 200


def guarded(document: Document, operation: Operation) -> bool:
    """Whether the document says that nobody gets in without credentials."""
    told = operation.raw.get("security", document.raw.get("security"))
    return isinstance(told, list) and bool(told) and all(isinstance(one, Mapping) and one for one in told)
