"""Reads a text of the query grammar piece by piece: names, quoted words, values that end where the grammar says."""

from __future__ import annotations

import re
from typing import NoReturn

from tongqu.gateway.problems import Problem

_NAME = re.compile(r"[\w $#%/]+(?:-(?!>)[\w $#%/]*)*")
DEEPEST = 12
"""How deep trees and embeddings may nest."""


class Scanner:
    """A position in a text. `where` names the query parameter in refusals."""

    def __init__(self, text: str, where: str) -> None:
        self.text = text
        self.where = where
        self.at = 0

    @property
    def done(self) -> bool:
        """Whether nothing is left."""
        return self.at >= len(self.text)

    def peek(self, literal: str) -> bool:
        """Whether the literal comes next."""
        return self.text.startswith(literal, self.at)

    def take(self, literal: str) -> bool:
        """Pass over the literal if it comes next."""
        if self.text.startswith(literal, self.at):
            self.at += len(literal)
            return True
        return False

    def need(self, literal: str) -> None:
        """Pass over the literal, which must come next."""
        if not self.take(literal):
            self.refuse(f"{literal!r} is expected")

    def name(self) -> str:
        """A name, in double quotes where it holds other characters than letters, digits, `_`, `-` and `$`."""
        if self.peek('"'):
            return self.quoted()
        match = _NAME.match(self.text, self.at)
        found = match.group().strip() if match else ""
        if not match or not found:
            self.refuse("a name is expected")
        self.at = match.end()
        return found

    def quoted(self) -> str:
        """What stands between double quotes; a backslash takes the next character as it is."""
        self.need('"')
        out: list[str] = []
        while not self.peek('"'):
            self.at += self.peek("\\")
            if self.done:
                self.refuse("a closing quote is expected")
            out.append(self.text[self.at])
            self.at += 1
        self.at += 1
        return "".join(out)

    def until(self, stops: str) -> str:
        """Everything before the first of `stops`, which may be the end."""
        begin = self.at
        while not self.done and self.text[self.at] not in stops:
            self.at += 1
        return self.text[begin : self.at]

    def refuse(self, why: str) -> NoReturn:
        """Refuse the text, naming the parameter and the character."""
        detail = f"{why} at character {self.at + 1} of `{self.where}`"
        raise Problem(
            "query.malformed", detail, errors=[{"parameter": self.where, "code": "query.malformed", "detail": detail}]
        )


def json_path(scanner: Scanner) -> tuple[tuple[str, ...], bool]:
    """`->a->0->>b` as the steps and whether the last arrow asks for text."""
    steps: list[str] = []
    while scanner.take("->"):
        text = scanner.take(">")
        steps.append(scanner.name())
        if text:
            return tuple(steps), True
    return tuple(steps), False
