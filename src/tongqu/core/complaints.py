"""Says in plain words what is wrong with a value of a setting, from what pydantic found."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

_KINDS = {
    "{}: must be a text, got {}": ("string_type", "string_sub_type", "string_unicode"),
    "{}: must be a whole number, got {}": ("int_type", "int_parsing", "int_from_float", "int_parsing_size"),
    "{}: must be a number, got {}": (
        "float_type", "float_parsing", "finite_number", "decimal_type", "decimal_parsing",
    ),
    "{}: must be true or false, got {}": ("bool_type", "bool_parsing"),
    "{}: must be a list, got {}": ("list_type", "tuple_type", "set_type", "frozen_set_type", "iterable_type"),
    "{}: must be a mapping, got {}": (
        "dict_type", "mapping_type", "model_type", "model_attributes_type", "dataclass_type", "is_instance_of",
    ),
    "{}: must be a date such as 2026-12-31, got {}": (
        "date_type", "date_parsing", "date_from_datetime_parsing", "date_from_datetime_inexact",
    ),
    "{}: must be a time such as 2026-12-31T08:00:00Z, got {}": (
        "datetime_type", "datetime_parsing", "datetime_from_date_parsing",
    ),
}  # fmt: skip
_LIMITS = {
    "too_short": ("{}: needs {} or more entries, got {}", "min_length"),
    "too_long": ("{}: takes {} entries or fewer, got {}", "max_length"),
    "string_too_short": ("{}: needs {} or more characters, got {}", "min_length"),
    "string_too_long": ("{}: takes {} characters or fewer, got {}", "max_length"),
    "greater_than": ("{}: must be more than {}, got {}", "gt"),
    "greater_than_equal": ("{}: must be at least {}, got {}", "ge"),
    "less_than": ("{}: must be less than {}, got {}", "lt"),
    "less_than_equal": ("{}: must be at most {}, got {}", "le"),
    "literal_error": ("{}: must be one of {}, got {}", "expected"),
    "enum": ("{}: must be one of {}, got {}", "expected"),
    "string_pattern_mismatch": ("{}: must be written like {}, got {}", "pattern"),
}
_LOGIN = re.compile(r"(?<=//)\S*@")
_WORDS = {kind: words for words, kinds in _KINDS.items() for kind in kinds}


def complaint(name: str, found: Mapping[str, Any], *, hidden: bool) -> str:
    """What is wrong with the value of `name`, of one of pydantic's findings; a `hidden` value is not shown, nor what is
    inside a list or a mapping, nor the login of a URL. A finding that has no words here keeps pydantic's."""
    kind, context = str(found["type"]), found.get("ctx", {})
    got = "***" if hidden else _shown(found["input"])
    if kind in _WORDS:
        return _WORDS[kind].format(name, got)
    if kind in _LIMITS and _LIMITS[kind][1] in context:
        words, limit = _LIMITS[kind]
        return words.format(name, context[limit], got)
    message = str(found["msg"])
    return f"{name}: {message[:1].lower()}{message[1:]}" + ("" if hidden else f", got {got}")


def _shown(value: Any) -> str:
    if value is None:
        return "null"
    if isinstance(value, Mapping):
        return "{…}" if value else "{}"
    if isinstance(value, list | tuple | set | frozenset):
        return "[…]" if value else "[]"
    if isinstance(value, bool):
        return str(value).lower()
    text = _LOGIN.sub("***@", repr(value) if isinstance(value, str | int | float) else str(value))
    return text if len(text) <= 80 else f"{text[:79]}…"
