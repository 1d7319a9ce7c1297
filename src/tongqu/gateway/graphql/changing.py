"""Mutations as edits: which rows, what becomes of them, and the key that makes a call happen once."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from hashlib import blake2b

from graphql import print_ast

from tongqu.core.policy import Actor
from tongqu.core.server import Idempotency
from tongqu.gateway.asking import Ask
from tongqu.gateway.graphql.collecting import Chosen
from tongqu.gateway.graphql.conditions import condition, keyed
from tongqu.gateway.graphql.meanings import Changed
from tongqu.gateway.graphql.selecting import Selecting, part_of
from tongqu.gateway.graphql.shaping import NOTHING, Shape
from tongqu.gateway.problems import Problem
from tongqu.gateway.writing import Edit, Verb

KEEP_SECONDS = 86_400
_LONGEST_KEY = 255
_VERBS: dict[str, Verb] = {
    "insert": "insert", "upsert": "upsert", "update": "update", "update_one": "update", "delete": "delete",
    "delete_one": "delete",
}  # fmt: skip


def edit_of(chosen: Chosen, meaning: Changed, parts: Sequence[Chosen], selecting: Selecting) -> tuple[Edit, Shape]:
    """The edit of a mutation, and the shape of the rows it gives back."""
    arguments, by_key = chosen.arguments, meaning.kind.endswith("_one")
    verb = _VERBS[meaning.kind]
    rows = arguments.get("rows") or ([arguments["set"]] if verb == "update" else [])
    where = keyed(arguments) if by_key else condition(arguments.get("where"))
    given = [part for part in parts if part.field is not None and part_of(part) == "rows"]
    if len(given) > 1:
        raise Problem("query.malformed", "`rows` can be asked for once")
    shape, returning = NOTHING, None
    if given:
        count = len(rows) if verb in ("insert", "upsert") else meaning.of.api.entry.limit.rows
        selecting.estimate.add(count)
        found = selecting.rows(selecting.collecting.below(given[0]), meaning.of, count)
        shape, returning = found.shape, Ask(wanted=tuple(found.wanted), related=tuple(found.related))
    edit = Edit(verb, rows, where, returning=returning, missing="default", single=verb == "update", one=by_key)
    return edit if verb in ("update", "delete") else replace(edit, where=None), shape


def once(chosen: Chosen, meaning: Changed, actor: Actor) -> Idempotency | None:
    """The mutation's key, with its caller and what it is valid for: the same field, arguments and selection."""
    key = chosen.arguments.get("idempotencyKey")
    if key is None:
        return None
    if not key or len(key) > _LONGEST_KEY or not key.isascii() or not key.isprintable():
        raise Problem("value.invalid", f"an idempotencyKey has 1 to {_LONGEST_KEY} printable ASCII characters")
    told = {name: value for name, value in chosen.arguments.items() if name != "idempotencyKey"}
    made = blake2b(digest_size=24)
    for text in (repr(sorted(told.items())), *(print_ast(node) for node in chosen.nodes)):
        made.update(text.encode("utf-8", "surrogatepass") + b"\0")
    who = f"{actor.id} {actor.subject}".strip()
    return Idempotency(f"{who} GRAPHQL {meaning.of.api.path} {chosen.name}", key, made.hexdigest(), KEEP_SECONDS)
