"""Sends rows to an index in bulk, each under an `_id` that follows from its key."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import pyarrow as pa

from tongqu.connectors.elasticsearch.cluster import Cluster, named
from tongqu.connectors.elasticsearch.mapping import ID, logical
from tongqu.core.errors import AnswerError
from tongqu.core.kernels import pc
from tongqu.kit.answers.bodies import objects
from tongqu.kit.http.call import Call, Repeat
from tongqu.kit.originals import originals
from tongqu.kit.remote.effect import Effects, Op, Outcome, Result
from tongqu.kit.remote.writer import Keyed, Writer

_LONGEST = 512
"""Bytes of the longest `_id`."""
_FIELD = re.compile(r"failed to parse field \[([^\]]+)\]")
_DONE = {"created": Op.CREATE, "updated": Op.UPDATE, "deleted": Op.DELETE, "noop": Op.UPDATE}
_BUSY, _ABSENT, _CONFLICT = 429, 404, 409


def ids(rows: pa.Table, key: Sequence[str]) -> list[str]:
    """The `_id` of each row: a single text or whole number as it is, all other keys as a digest of their JSON."""
    kind = rows.schema.field(key[0]).type
    plain = len(key) == 1 and (pa.types.is_string(kind) or pa.types.is_integer(kind))
    shown = pc.cast(rows.column(key[0]), pa.string()).to_pylist() if plain else [""] * rows.num_rows
    fits = [bool(one) and len(one.encode()) <= _LONGEST for one in shown]
    if all(fits):
        return list(shown)
    digests = [hashlib.blake2b(one.encode(), digest_size=16).hexdigest() for one in originals(rows.select(list(key)))]
    return [one if fit else digest for one, fit, digest in zip(shown, fits, digests, strict=True)]


class ElasticsearchWriter(Writer):
    """Writes one index; see Writer. `keys` lists the key columns of all its documents."""

    ops = frozenset((Op.CREATE, Op.UPSERT, Op.DELETE))
    keyed = Keyed.ROW
    lists = True

    def __init__(
        self, index: str, cluster: Cluster, *, key: Sequence[str], batch: int, keys: Callable[[], Iterator[pa.Table]]
    ):
        self._index, self._cluster, self._key, self._keys = index, cluster, tuple(key), keys
        self.batch = batch

    def send(self, effects: Effects) -> Sequence[Outcome]:
        """See Writer.send: one bulk call. Appended documents get that of column `_id`, or one
        of the effect."""
        key = self._key
        if effects.op is Op.CREATE:
            key = (ID,) if ID in effects.rows.column_names else ()
        places = [json.dumps(one) for one in (ids(effects.rows, key) if key else effects.ids)]
        if effects.op is Op.DELETE:
            lines = [f'{{"delete":{{"_id":{place}}}}}\n' for place in places]
        else:
            pairs = zip(places, self._documents(effects.rows), strict=True)
            lines = [f'{{"index":{{"_id":{place}}}}}\n{document}\n' for place, document in pairs]
        headers = {"Accept": "application/json", "Content-Type": "application/x-ndjson"}
        call = Call(
            "POST", self._cluster.url(f"/{named(self._index)}/_bulk"),
            (("filter_path", "items.*.status,items.*.result,items.*.error,items.*._id"),), headers,
            "".join(lines).encode(), Repeat.SAFE,
        )  # fmt: skip
        items = _items(self._cluster.send(call).content)
        if len(items) != len(effects):
            return [Outcome(Result.UNKNOWN, detail="the answer does not tell what became of each document")] * len(
                effects
            )
        return [_outcome(one, effects.op) for one in items]

    @staticmethod
    def _documents(rows: pa.Table) -> list[str]:
        """The rows as documents, one line each: amounts are text, so that no digit is lost on the way."""
        names = {name: name for name in rows.column_names if name != ID}
        for place, field in enumerate(rows.schema):
            if pa.types.is_decimal(field.type) or logical(field) == "decimal":
                rows = rows.set_column(place, field.name, pc.cast(rows.column(place), pa.string()))
        return [one.replace("\n", " ").replace("\r", " ") for one in objects(rows, names)]

    def listing(self) -> Iterator[pa.Table]:
        """See Writer.listing."""
        return self._keys()


def _items(content: bytes) -> list[dict[str, Any]]:
    try:
        found = json.loads(content)["items"]
        return [next(iter(one.values())) for one in found]
    except (ValueError, KeyError, TypeError, AttributeError, StopIteration) as error:
        raise AnswerError("the answer to a bulk call holds no items") from error


def _outcome(item: dict[str, Any], op: Op) -> Outcome:
    status, peer = int(item.get("status", 0)), str(item.get("_id", ""))
    if 200 <= status < 300:
        return Outcome(Result.OK, _DONE.get(str(item.get("result"))), status, peer)
    if status == _ABSENT and op is Op.DELETE and "error" not in item:
        return Outcome(Result.OK, None, status, peer)
    error = item.get("error")
    told = error if isinstance(error, dict) else {"reason": str(error)}
    cause = told.get("caused_by")
    texts = [told.get("reason"), cause.get("reason") if isinstance(cause, dict) else None]
    detail = ": ".join(str(one) for one in texts if one)[:300]
    field = _FIELD.search(detail)
    again = status in (_BUSY, _CONFLICT)
    result = Result.AGAIN if again else Result.UNKNOWN if status >= 500 or not status else Result.FAILED
    return Outcome(result, None, status, peer, detail, field[1] if field else "")
