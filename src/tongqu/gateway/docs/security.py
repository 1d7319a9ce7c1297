"""How a caller may show who it is, as OpenAPI and AsyncAPI say it."""

from __future__ import annotations

from typing import Any

from tongqu.gateway.auth.identify import PURPOSE
from tongqu.gateway.auth.signatures import SCHEME

_TOLD = {
    "zh": {
        "bearer": "令牌（/oauth/token），或以 tqk_ 开头的接口密钥", "key": "接口密钥",
        "oauth": "客户端凭证，或人员经浏览器授权（PKCE）", "certificate": "客户端证书（mTLS）",
        "signature": f"请求签名：{SCHEME} Credential=…, Timestamp=…, Nonce=…, Signature=…",
    },
    "en": {
        "bearer": "a token of /oauth/token, or an API key that begins with tqk_", "key": "an API key",
        "oauth": "client credentials, or a person's authorisation in a browser (PKCE)",
        "certificate": "a client certificate (mTLS)",
        "signature": f"a signed request: {SCHEME} Credential=…, Timestamp=…, Nonce=…, Signature=…",
    },
}  # fmt: skip


def schemes(language: str) -> dict[str, Any]:
    """The security schemes of OpenAPI 3.1."""
    told = _TOLD[language]
    return {
        "bearer": {"type": "http", "scheme": "bearer", "description": told["bearer"]},
        "key": {"type": "apiKey", "in": "header", "name": "X-API-Key", "description": told["key"]},
        "oauth": {
            "type": "oauth2",
            "description": told["oauth"],
            "flows": {
                "clientCredentials": {"tokenUrl": "/oauth/token", "scopes": {}},
                "authorizationCode": {
                    "authorizationUrl": "/oauth/authorize", "tokenUrl": "/oauth/token", "refreshUrl": "/oauth/token",
                    "scopes": {},
                },
            },
        },
        "signature": {"type": "apiKey", "in": "header", "name": "Authorization", "description": told["signature"]},
        "certificate": {"type": "mutualTLS", "description": told["certificate"]},
    }  # fmt: skip


def ways(public: bool) -> list[dict[str, list[str]]]:
    """Any of them; none for an API that is open to everybody."""
    found: list[dict[str, list[str]]] = [{name: []} for name in ("bearer", "key", "oauth", "signature", "certificate")]
    return [*found, {}] if public else found


def purpose(language: str) -> dict[str, Any]:
    """The header that says what the data are needed for."""
    told = {"zh": "使用目的：已授予的目的之一", "en": "what the data are needed for, one of the purposes granted"}
    return {
        "name": PURPOSE.title(), "in": "header", "required": False, "description": told[language],
        "schema": {"type": "string"},
    }  # fmt: skip
