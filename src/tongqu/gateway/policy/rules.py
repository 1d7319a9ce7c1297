"""Rules of one API, compiled once: roles and attributes of the actor, fields, masks and rows."""

from __future__ import annotations

from abc import abstractmethod
from typing import Protocol

from tongqu.core.policy import Actor
from tongqu.gateway.policy.decision import Action, Conflict, Decision


class Policy(Protocol):
    """What the access rules of one API come to."""

    version: str
    """Digest of the rules."""
    conflicts: tuple[Conflict, ...]
    """What its owner should look at."""
    timed: bool
    """Whether its decisions depend on the time of day."""

    @abstractmethod
    def decide(self, actor: Actor, action: Action) -> Decision:
        """The decision for an actor at this moment; pure and cheap (kept per role set)."""
        ...

    @abstractmethod
    def opened(self) -> Policy:
        """The same rules without the gate that stands before a draft: what holds for made-up rows."""
        ...
