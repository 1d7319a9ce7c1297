"""Who is told of every change that the writing service makes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from tongqu.core.server import Change
    from tongqu.gateway.publication import Api
    from tongqu.gateway.writing import Edit, Written


class Ledger(Protocol):
    """Is told which rows of which table are changed, so that whoever follows the table learns of it."""

    def began(self, api: Api) -> int:
        """A change of the API's table is about to be made; a number for it. Durable before it returns."""
        ...

    def done(self, begun: int, api: Api, edit: Edit, changes: Sequence[Change], written: Written) -> None:
        """It is committed."""
        ...

    def undone(self, begun: int) -> None:
        """Nothing was changed."""
        ...
