"""Documents: parsed within bounds, held against the caller's schema, and remembered by their digest."""

from __future__ import annotations

from dataclasses import dataclass
from hashlib import sha256
from typing import Any

from graphql import (
    DocumentNode,
    GraphQLError,
    GraphQLSchema,
    GraphQLSyntaxError,
    OperationDefinitionNode,
    OperationType,
    get_operation_ast,
    get_variable_values,
    parse,
    validate,
)

from tongqu.gateway.graphql.bounds import costly
from tongqu.gateway.graphql.keeping import Kept
from tongqu.gateway.graphql.refusals import invalid
from tongqu.gateway.problems import Problem
from tongqu.gateway.settings import GraphqlEntry

_LONGEST = 100_000
_KEPT, _LONGEST_KEPT = 200_000, 8192
_REMEMBERED = 4_000_000
_LONGEST_REMEMBERED = 16_384
_MOST_ERRORS = 10


@dataclass(frozen=True)
class Question:
    """One operation as it was sent."""

    query: str
    variables: dict[str, Any]
    operation: str = ""
    digest: str = ""
    """SHA-256 of the document, where the caller wants it remembered or does not send it."""


class Documents:
    """Parses and validates documents; keeps those that were good, and texts by their digest. Bounded."""

    def __init__(self) -> None:
        self._parsed: Kept[DocumentNode] = Kept(_KEPT, _LONGEST_KEPT)
        self._valid: Kept[GraphQLSchema] = Kept(_KEPT, _LONGEST_KEPT)
        self._texts: Kept[str] = Kept(_REMEMBERED, _LONGEST_REMEMBERED)

    @property
    def kept(self) -> int:
        """How many parsed documents are kept."""
        return len(self._parsed)

    def forget(self) -> None:
        """Forget which schemas documents fitted."""
        self._valid.clear()

    def text(self, question: Question, bounds: GraphqlEntry) -> str:
        """The document's text. Raises Problem `query.unknown` for a digest that is not known, `query.malformed` for a
        wrong one."""
        if not question.digest or not bounds.persisted:
            if not question.query:
                raise Problem("query.unknown" if question.digest else "query.malformed", "PersistedQueryNotSupported"
                              if question.digest else "there is no query")  # fmt: skip
            return question.query
        if not question.query:
            found = self._texts.get(question.digest)
            if found is None:
                raise Problem("query.unknown", "PersistedQueryNotFound")
            return found
        if sha256(question.query.encode("utf-8", "surrogatepass")).hexdigest() != question.digest:
            raise Problem("query.malformed", "the digest is not that of the query")
        self._texts.put(question.digest, question.query, len(question.query))
        return question.query

    def parsed(self, text: str, bounds: GraphqlEntry) -> DocumentNode:
        """The document. Raises Problem `query.costly` for one that is too long, RequestError for one that is none."""
        if len(text) > _LONGEST:
            raise costly(f"a document has at most {_LONGEST} characters")
        found = self._parsed.get(text)
        if found is None:
            try:
                found = parse(text, max_tokens=bounds.tokens, allow_empty_selection_sets=False, max_comments=200)
            except GraphQLSyntaxError as error:
                raise invalid([error], "query.malformed") from None
            except RecursionError:
                raise costly("the document nests too deep") from None
        return found

    def checked(self, text: str, document: DocumentNode, schema: GraphQLSchema) -> None:
        """Raise RequestError unless the document fits the schema. Nothing is suggested: suggestions are names. Only
        what fits is kept."""
        key = (text, id(schema))
        if self._valid.get(key) is schema:
            return
        errors = validate(schema, document, max_errors=_MOST_ERRORS, hide_suggestions=True)
        if errors:
            raise invalid(errors)
        self._parsed.put(text, document, len(text))
        self._valid.put(key, schema, len(text))


def operation_of(document: DocumentNode, name: str) -> OperationDefinitionNode:
    """The operation that is meant; raises Problem `query.malformed`."""
    found = get_operation_ast(document, name or None)
    if found is None:
        raise Problem("query.malformed", "there is no such operation, or several and none is named")
    if found.operation is OperationType.SUBSCRIPTION:
        raise Problem("query.malformed", "rows are subscribed to at /live, not here")
    return found


def variables_of(schema: GraphQLSchema, operation: OperationDefinitionNode, given: dict[str, Any]) -> Any:
    """The variables as the schema takes them; raises RequestError."""
    found = get_variable_values(
        schema, operation.variable_definitions or (), given, max_errors=_MOST_ERRORS, hide_suggestions=True
    )
    if isinstance(found, list):
        raise invalid([error for error in found if isinstance(error, GraphQLError)], "value.invalid")
    return found
