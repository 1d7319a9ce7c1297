"""What Tongqu says to people, in Chinese and English, from one catalogue a language."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any

LANGUAGES = ("en", "zh")

_state = {"language": "en"}


class _Kept(dict[str, Any]):
    def __missing__(self, key: str) -> str:
        return "{" + key + "}"


def detect(environ: Mapping[str, str] = os.environ) -> str:
    """The language of the environment: `zh` if LC_ALL, LC_MESSAGES or LANG (first that is set) begins with zh."""
    for name in ("LC_ALL", "LC_MESSAGES", "LANG"):
        if environ.get(name):
            return "zh" if environ[name].lower().startswith("zh") else "en"
    return "en"


def use(language: str) -> None:
    """Speak this language from now on in this process; unknown ones are ignored."""
    if language in LANGUAGES:
        _state["language"] = language


def language() -> str:
    """The language in use."""
    return _state["language"]


@cache
def catalogue(language: str) -> Mapping[str, str]:
    """All messages of a language by id."""
    text = Path(__file__).with_name(f"{language}.json").read_text(encoding="utf-8")
    loaded: dict[str, str] = json.loads(text)
    return loaded


def t(id: str, **params: Any) -> str:
    """The message in the language in use; raises KeyError for an id that is in no catalogue."""
    return catalogue(_state["language"])[id].format_map(_Kept(params))


def translated(problem: Mapping[str, str], params: Mapping[str, Any] | None = None) -> dict[str, str]:
    """A problem (`path code message hint`) in the language in use.

    English is the error's own text. Other languages take the template `CODE.text` if all its parameters are known,
    else the code's title followed by the error's own text; that and hints are looked up in the phrase book.
    """
    shown = dict(problem)
    if _state["language"] == "en":
        return shown
    words = catalogue(_state["language"])
    template = words.get(f"{problem['code']}.text")
    filled = template.format_map(_Kept(params)) if template and params else ""
    if filled and "{" not in filled:
        shown["message"] = filled
    elif problem["code"] in words:
        shown["message"] = f"{words[problem['code']]}：{hint(problem['message'])}"
    if shown.get("hint"):
        shown["hint"] = hint(shown["hint"])
    return shown


def hint(text: str) -> str:
    """A hint in the language in use, and what varies in it too; as it is where the phrase book does not know it."""
    for pattern, template in _phrases(_state["language"]):
        if found := pattern.fullmatch(text):
            first, *rest = template.split("{}")
            return first + "".join(hint(word) + part for word, part in zip(found.groups(), rest, strict=True))
    return text


@cache
def _phrases(language: str) -> Sequence[tuple[re.Pattern[str], str]]:
    """The phrase book of a language: English hints, `{}` for what varies, each with its translation; long ones first,
    since a short one may be the beginning of another."""
    file = Path(__file__).with_name(f"hints.{language}.json")
    known: dict[str, str] = json.loads(file.read_text(encoding="utf-8")) if file.is_file() else {}
    longest = sorted(known, key=lambda phrase: len(phrase.replace("{}", "")), reverse=True)
    return [(re.compile("(.+)".join(map(re.escape, one.split("{}"))), re.DOTALL), known[one]) for one in longest]
