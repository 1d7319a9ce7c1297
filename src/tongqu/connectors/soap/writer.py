"""Sends rows to a SOAP service: each as the operation that the settings name."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import pyarrow as pa

from tongqu.connectors.soap.answers import document
from tongqu.connectors.soap.service import Service
from tongqu.connectors.soap.settings import CallSettings, DatasetSettings, LookSettings
from tongqu.core.data import Write
from tongqu.core.errors import CallRefusedError, InvalidPlanError, InvalidSettingsError
from tongqu.kit.answers.bodies import WHOLE, Template, objects, same_value
from tongqu.kit.answers.selecting import looked_up, parsed
from tongqu.kit.http.call import Repeat
from tongqu.kit.remote.effect import Effects, Op, Outcome, Result, Seen
from tongqu.kit.remote.writer import Keyed, Writer

_PEER, _CALL = "_tongqu_peer", "_tongqu_call"
_OWN = {"@id": _PEER, "@call": _CALL}


class SoapWriter(Writer):
    """Writes one dataset; see Writer. `keys` lists the key columns of all records that the service has."""

    def __init__(
        self,
        name: str,
        dataset: DatasetSettings,
        service: Service,
        *,
        write: Write,
        keys: Callable[[], Iterator[pa.Table]],
    ):
        told = dataset.write
        if told is None:
            raise InvalidPlanError(
                f"nothing says how {name!r} is written", path=name,
                hint=f"datasets.{name}.write: {{create: {{operation: …}}, update: {{operation: …}}}}",
            )  # fmt: skip
        where, columns = f"datasets.{name}.write", write.dataset.columns
        self._service, self._keys, self._honoured = service, keys, told.key_honoured
        self._calls = {
            op: _Operation(one, service, columns, f"{where}.{op.value}")
            for op in Op
            if (one := getattr(told, op.value)) is not None
        }
        self._undo = {op: _Operation(one, service, columns, f"{where}.undo.{op}") for op, one in told.undo.items()}
        self._look = _Operation(told.look, service, columns, f"{where}.look") if told.look else None
        self._record = told.look.record if told.look else ""
        self.ops = frozenset(self._calls)
        self.looks = told.look is not None
        self.undoes = bool(told.undo)
        self.lists = Op.DELETE in self.ops
        self.keyed = Keyed.CALL if told.key_honoured else Keyed.NO

    def send(self, effects: Effects) -> Sequence[Outcome]:
        """See Writer.send: one operation."""
        return [self._sent(self._calls[effects.op], effects)]

    def undo(self, effects: Effects) -> Outcome:
        """See Writer.undo: the operation that the settings name for the kind of effect."""
        operation = self._undo.get(effects.op.value)
        if operation is None:
            return Outcome(Result.FAILED, detail=f"the connection names no operation that takes back a {effects.op}")
        return self._sent(operation, effects)

    def _sent(self, operation: _Operation, effects: Effects) -> Outcome:
        repeat = Repeat.KEYED if self._honoured else Repeat.NEVER
        try:
            found = operation.called(effects, repeat)
        except CallRefusedError as error:
            return Outcome(Result.FAILED, status=error.status, detail=f"{error.message}. {error.hint}".strip(". "))
        return operation.outcome(found, effects.op)

    def look(self, effects: Effects) -> Sequence[Seen]:
        """See Writer.look: an operation a row."""
        assert self._look is not None  # noqa: S101  # only asked where `looks`
        told = next((one.told for op, one in self._calls.items() if op is not Op.DELETE), None)
        fields = told.fields if isinstance(told, CallSettings) else {}
        mine = [json.loads(one) for one in objects(effects.rows, _named(fields, effects.rows))]
        seen = []
        for at, ours in enumerate(mine):
            one = Effects(effects.op, effects.rows.slice(at, 1), effects.ids[at : at + 1], effects.keys[at : at + 1],
                          effects.peers[at : at + 1])  # fmt: skip
            try:
                found = self._look.called(one, Repeat.SAFE)
            except CallRefusedError:
                seen.append(Seen.ABSENT)
                continue
            held = looked_up(found, self._record) if self._record else found
            seen.append(_seen(held, ours))
        return seen

    def listing(self) -> Iterator[pa.Table]:
        """See Writer.listing."""
        return self._keys()


class _Operation:
    """One operation with the template of its arguments; raises InvalidSettingsError where the WSDL does not fit."""

    def __init__(self, told: CallSettings | LookSettings, service: Service, columns: Sequence[str], where: str):
        self.told, self._service, self._where = told, service, where
        known = service.description.arguments(told.operation, where)
        arguments = told.arguments or _arguments(known, columns, where)
        if unknown := sorted(set(arguments) - set(known)):
            raise InvalidSettingsError(
                f"{told.operation} has no argument {unknown[0]!r}", path=f"{where}.arguments",
                hint=f"its arguments: {', '.join(known) or 'none'}",
            )  # fmt: skip
        text = json.dumps(arguments, ensure_ascii=False)
        for name, column in _OWN.items():
            text = text.replace(f'"{{{name}}}"', f'"{{{column}}}"')
        self._template = Template(json.loads(text))

    def called(self, effects: Effects, repeat: Repeat) -> Any:
        """What the operation answers for the only effect, as plain values."""
        rows = effects.rows
        whole = rows.append_column(_PEER, pa.array(effects.peers, pa.string()))
        whole = whole.append_column(_CALL, pa.array(effects.ids, pa.string()))
        fields = self.told.fields if isinstance(self.told, CallSettings) else {}
        (text,) = self._template.filled(whole, objects(rows, _named(fields, rows)))
        arguments = parsed(text.encode())
        try:
            reply = self._service.call(self.told.operation, arguments, self._where, repeat=repeat)
        except InvalidSettingsError as error:  # of this row's values, since the names were checked
            raise CallRefusedError(error.message, path=self._where, hint=error.hint) from error
        return document(reply.content, self.told.operation)

    def outcome(self, found: Any, op: Op) -> Outcome:
        """What the answer says of the effect."""
        told = self.told
        assert isinstance(told, CallSettings)  # noqa: S101  # looks have no outcome
        name, _, wanted = told.ok.partition("=")
        if told.ok:
            value = str(looked_up(found, name))
            went = value.lower() in wanted.lower().split("|") if wanted else value.lower() in ("true", "1")
            if not went:
                said = looked_up(found, told.error) if told.error else None
                return Outcome(Result.FAILED, detail=str(said or f"{told.operation} answered {name} = {value}")[:300])
        identifier = looked_up(found, told.id) if told.id else None
        done = op if op is not Op.UPSERT else None
        return Outcome(Result.OK, done, peer="" if identifier is None else str(identifier))


def _arguments(known: Mapping[str, tuple[bool, bool]], columns: Sequence[str], where: str) -> dict[str, Any]:
    """What an operation is given where nothing is said: the record as its only complex argument, fields by name."""
    named = {name: f"{{{name}}}" for name in known if name in columns}
    complex_ = [name for name, (nested, _) in known.items() if nested and name not in named]
    if len(complex_) == 1:
        named[complex_[0]] = f"{{{WHOLE}}}"
    if not named:
        raise InvalidSettingsError(
            "nothing says what the operation is given", path=f"{where}.arguments",
            hint=f"its arguments: {', '.join(known) or 'none'}",
        )  # fmt: skip
    return named


def _named(fields: Mapping[str, str], rows: pa.Table) -> dict[str, str]:
    """What our columns are called in the records that are sent."""
    names = {ours: theirs for ours, theirs in fields.items() if ours in rows.column_names}
    return names or {name: name for name in rows.column_names}


def _seen(theirs: Any, ours: Mapping[str, Any]) -> Seen:
    if not theirs:
        return Seen.ABSENT
    if not isinstance(theirs, dict):
        return Seen.UNKNOWN
    return Seen.SAME if all(_equal(theirs.get(name), value) for name, value in ours.items()) else Seen.OTHER


def _equal(theirs: Any, ours: Any) -> bool:
    return same_value(theirs, str(ours).lower() if isinstance(ours, bool) else ours)
