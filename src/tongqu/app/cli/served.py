"""What happens while a gateway serves, told to people."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from tongqu.app.cli.call import tell, tell_problem
from tongqu.app.messages import t


def tell_served(word: str, told: Mapping[str, Any]) -> None:
    """What happens while it serves, for people."""
    if word == "stopping":
        tell(t("serve.stopping"))
    elif word == "died":
        tell(t("serve.died", worker=told["worker"], pid=told["pid"], code=told["code"]))
    elif word in ("served", "restored"):
        tell(t(f"serve.{word}", config=told["config"], apis=told["apis"]))
    else:
        kept = {"kept": "serve.kept", "unread": "serve.unread"}.get(word)
        tell(t(kept, config=told["config"]) if kept else t("serve.degraded", path=told["path"]))
        for problem in told["problems"]:
            tell_problem(problem)
