"""What operations are called: the verb that says what a call does, and the thing that it is done to."""

from __future__ import annotations

import re

LIST, CREATE, UPDATE, UPSERT, DELETE, LOOK = "list", "create", "update", "upsert", "delete", "look"

_VERBS: dict[str, frozenset[str]] = {
    LIST: frozenset(["list", "page", "query", "search", "find", "fetch", "all", "read", "paged", "pages", "batchget"]),
    CREATE: frozenset(["create", "add", "insert", "new", "post", "register"]),
    UPDATE: frozenset(["update", "edit", "modify", "change", "patch", "put"]),
    UPSERT: frozenset(["save", "upsert", "merge", "saveorupdate", "createorupdate", "addorupdate", "insertorupdate"]),
    DELETE: frozenset(["delete", "remove", "del", "destroy"]),
    LOOK: frozenset(["get", "detail", "details", "info", "one", "view", "load", "show"]),
}
_OR = re.compile(r"^(save|create|add|insert)[_-]?or[_-]?(update|modify|edit)", re.IGNORECASE)
_WORD = re.compile(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+|\d+|[\u4e00-\u9fff]+")
_FILLERS = frozenset(["by", "id", "the", "a", "record", "records", "data", "item", "entity", "req", "request"])


def singular(word: str) -> str:
    """An English word in the singular, by its ending: `entries` is `entry`, `boxes` is `box`, `orders` is `order`."""
    if word.endswith("ies") and len(word) > 4:
        return f"{word[:-3]}y"
    if re.search(r"(s|x|z|ch|sh)es$", word):
        return word[:-2]
    return word[:-1] if word.endswith("s") and not word.endswith(("ss", "us", "is")) and len(word) > 3 else word


def taken_apart(name: str) -> tuple[str, str]:
    """What an operation called so does (`list create update upsert delete look`, empty if it does not say), and to
    what, as one word in the singular: `getOrderList` is `list` and `order`, `save_orders` `upsert` and `order`."""
    joined = _OR.match(name)
    words = [word.lower() for word in _WORD.findall(name[joined.end() :] if joined else name)]
    found = [UPSERT] if joined else []
    rest = []
    for place, word in enumerate(words):
        kind = next((kind for kind, held in _VERBS.items() if word in held), "")
        if kind and (place in (0, len(words) - 1) or not found):
            found.append(kind)
        else:
            rest.append(word)
    kind = LIST if LIST in found and set(found) <= {LIST, LOOK} else found[0] if found else ""
    noun = [word for word in rest if word not in _FILLERS] or rest
    return kind, "".join([*noun[:-1], singular(noun[-1])] if noun else [])
