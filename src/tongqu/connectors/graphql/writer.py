"""Sends rows to a GraphQL API: each as the mutation that the settings name."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import pyarrow as pa
from graphql import GraphQLInterfaceType, GraphQLObjectType, GraphQLSchema, get_named_type

from tongqu.connectors.graphql.mutation import Mutation, named
from tongqu.connectors.graphql.query import checked, document
from tongqu.connectors.graphql.settings import DatasetSettings, LookSettings
from tongqu.core.data import Write
from tongqu.core.errors import InvalidPlanError, InvalidSettingsError
from tongqu.kit.answers.bodies import Template, objects, same_value
from tongqu.kit.http.call import Call, Repeat, Reply
from tongqu.kit.http.client import Http
from tongqu.kit.remote.effect import Effects, Op, Outcome, Result, Seen
from tongqu.kit.remote.writer import Keyed, Writer

_HEADERS = {"Content-Type": "application/json", "Accept": "application/json"}


class GraphqlWriter(Writer):
    """Writes one dataset; see Writer. `keys` lists the key columns of all records that the API has."""

    def __init__(
        self,
        name: str,
        dataset: DatasetSettings,
        schema: GraphQLSchema,
        http: Http,
        *,
        write: Write,
        keys: Callable[[], Iterator[pa.Table]],
    ):
        told = dataset.write
        if told is None:
            raise InvalidPlanError(
                f"nothing says how {name!r} is written", path=name,
                hint=f"datasets.{name}.write: {{create: {{mutation: …}}, update: {{mutation: …}}}}",
            )  # fmt: skip
        where, columns = f"datasets.{name}.write", write.dataset.columns
        self._http = http
        self._keys = keys
        self._honoured = told.key_honoured
        self._calls = {
            op: Mutation.of(schema, one, columns, f"{where}.{op.value}")
            for op in Op
            if (one := getattr(told, op.value)) is not None
        }
        self._undo = {op: Mutation.of(schema, one, columns, f"{where}.undo.{op}") for op, one in told.undo.items()}
        self._look = _Look(schema, told.look, write, f"{where}.look") if told.look else None
        self.ops = frozenset(self._calls)
        self.looks = told.look is not None
        self.undoes = bool(told.undo)
        self.lists = Op.DELETE in self.ops
        self.keyed = Keyed.CALL if told.key_honoured else Keyed.NO

    def send(self, effects: Effects) -> Sequence[Outcome]:
        """See Writer.send: one mutation."""
        mutation = self._calls[effects.op]
        reply = self._call(mutation.body(effects), effects.id)
        return [mutation.outcome(_document(reply), effects.op, reply.status)]

    def undo(self, effects: Effects) -> Outcome:
        """See Writer.undo: the mutation that the settings name for the kind of effect."""
        mutation = self._undo.get(effects.op.value)
        if mutation is None:
            return Outcome(Result.FAILED, detail=f"the connection names no mutation that takes back a {effects.op}")
        reply = self._call(mutation.body(effects), "")
        return mutation.outcome(_document(reply), effects.op, reply.status)

    def _call(self, body: bytes, key: str) -> Reply:
        repeat = Repeat.KEYED if self._honoured and key else Repeat.NEVER
        call = Call("POST", self._http.url(""), (), _HEADERS, body, repeat, key=key if self._honoured else "",
                    accepts=(400, 422))  # fmt: skip
        return self._http.send(call)

    def look(self, effects: Effects) -> Sequence[Seen]:
        """See Writer.look: a query a row."""
        assert self._look is not None  # noqa: S101  # only asked where `looks`
        told = next((one.told for op, one in self._calls.items() if op is not Op.DELETE), None)
        mine = objects(effects.rows, named(told, effects.rows))
        seen = []
        for body, record in zip(self._look.bodies(effects.rows, mine), mine, strict=True):
            call = Call("POST", self._http.url(""), (), _HEADERS, body, Repeat.SAFE, keep_seconds=0, accepts=(400,))
            seen.append(self._look.seen(_document(self._http.send(call)), json.loads(record)))
        return seen

    def listing(self) -> Iterator[pa.Table]:
        """See Writer.listing."""
        return self._keys()


class _Look:
    """The query that tells whether a record is there."""

    def __init__(self, schema: GraphQLSchema, told: LookSettings, write: Write, where: str):
        fields = schema.query_type.fields if schema.query_type else {}
        field = fields.get(told.field)
        kind = get_named_type(field.type) if field else None
        if field is None or not isinstance(kind, GraphQLObjectType | GraphQLInterfaceType):
            raise InvalidSettingsError(
                f"the schema has no field {told.field!r} that gives one record", path=f"{where}.field",
                hint=f"fields: {', '.join(list(fields)[:20])}",
            )  # fmt: skip
        variables = told.variables or {n: f"{{{n}}}" for n in field.args if n in write.dataset.columns}
        kinds = {n: str(field.args[n].type) for n in variables if n in field.args}
        plain = (n for n, one in kind.fields.items() if not hasattr(get_named_type(one.type), "fields"))
        self._names = [n for n in plain if not kind.fields[n].args]
        self._text = checked(schema, document((told.field,), " ".join(self._names), kinds), where)
        self._variables = Template(variables)
        self._field = told.field

    def bodies(self, rows: pa.Table, records: Sequence[str]) -> list[bytes]:
        """The calls' bodies, one a row."""
        filled = self._variables.filled(rows, records)
        return [f'{{"query": {json.dumps(self._text)}, "variables": {one}}}'.encode() for one in filled]

    def seen(self, document: Any, mine: dict[str, Any]) -> Seen:
        """What an answer shows of our record."""
        held = document.get("data") if isinstance(document, dict) else None
        if not isinstance(held, dict) or self._field not in held or document.get("errors"):
            return Seen.UNKNOWN
        theirs = held[self._field]
        if theirs is None:
            return Seen.ABSENT
        same = all(same_value(theirs.get(name), value) for name, value in mine.items() if name in self._names)
        return Seen.SAME if same else Seen.OTHER


def _document(reply: Reply) -> Any:
    try:
        return json.loads(reply.content)
    except ValueError:
        return None
