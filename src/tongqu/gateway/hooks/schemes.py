"""Chooses what verifies a hook's deliveries."""

from __future__ import annotations

from tongqu.gateway.hooks.delivery import Keys, Verifier
from tongqu.gateway.hooks.sealed import DingTalk, Feishu, WeCom
from tongqu.gateway.hooks.settings import HookEntry
from tongqu.gateway.hooks.signatures import AnyHmac, DingTalkRobot, GitHub, Standard, Token


def verifier(entry: HookEntry, keys: Keys) -> Verifier:
    """The scheme of a hook with its secrets; raises InvalidSettingsError for secrets that do not fit it."""
    match entry.verify:
        case "standard":
            return Standard(keys, entry.tolerance)
        case "github":
            return GitHub(keys)
        case "dingtalk":
            return DingTalk(keys, entry.owner, entry.tolerance)
        case "dingtalk_robot":
            return DingTalkRobot(keys, entry.tolerance)
        case "wecom":
            return WeCom(keys, entry.owner, entry.tolerance)
        case "feishu":
            return Feishu(keys, entry.tolerance)
        case "token":
            return Token(keys, entry.show)
        case "hmac":
            assert entry.hmac is not None  # noqa: S101  # the settings see to it
            return AnyHmac(keys, entry.hmac, entry.tolerance)
