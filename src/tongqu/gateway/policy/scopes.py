"""What the scope of a token admits: a limit on top of all rules, which never gives anything by itself."""

from __future__ import annotations

from collections.abc import Collection

from tongqu.gateway.policy.decision import Action


def admitted(scopes: Collection[str], name: str, action: Action) -> bool:
    """Whether a token of this scope may be used for an action on the API of this name, in whatever version.

    `read` and `write` are for all APIs, `NAME:read` and `NAME:write` for one. Without any scope nothing is limited;
    words that mean something elsewhere admit nothing here. `write` does not hold `read`.
    """
    if not scopes:
        return True
    word = "read" if action == "read" else "write"
    return word in scopes or f"{name}:{word}" in scopes
