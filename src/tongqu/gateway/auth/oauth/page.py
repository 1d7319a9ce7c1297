"""The login page: plain HTML without a script, in Chinese and English, that no other page can frame."""

from __future__ import annotations

from collections.abc import Mapping
from html import escape

from tongqu.gateway.exchange import Headers, Reply

_WORDS: Mapping[str, tuple[str, str]] = {
    "title": ("Log in", "登录"),
    "for": ("{client} asks to call interfaces in your name.", "{client} 请求以您的身份调用接口。"),
    "scope": ("Limited to: {scope}", "限于：{scope}"),
    "name": ("User name", "用户名"),
    "password": ("Password", "密码"),
    "code": ("Code of the second factor (if you have one)", "动态验证码（如已启用）"),
    "new": ("New password", "新密码"),
    "go": ("Log in and allow", "登录并允许"),
    "allow": ("Allow", "允许"),
    "no": ("Refuse", "拒绝"),
    "you": ("You are logged in as {name}.", "您已登录为 {name}。"),
    "wrong": ("Name or password are not right, or the account is locked.", "用户名或密码错误，或账户已被锁定。"),
    "wait": ("Too many wrong tries from this address. Wait a moment.", "该地址错误次数过多，请稍候。"),
    "code_needed": ("The code of the second factor is needed.", "需要动态验证码。"),
    "enrol": (
        "An administrator needs a second factor: `tongqu user totp NAME`.",
        "管理员必须启用动态验证码：`tongqu user totp NAME`。",
    ),
    "change": ("The password must be changed: give a new one too.", "密码必须更换：请同时填写新密码。"),
    "weak": ("The new password is not good enough: {told}.", "新密码不符合要求：{told}。"),
    "late": ("The page was open for too long. Try again.", "页面已过期，请重试。"),
    "unsafe": (
        "The application that sent you here, or its address, is not known. Nothing was sent to it.",
        "来源应用或其回调地址未登记，未向其发送任何信息。",
    ),
}


def word(id: str, language: str, /, **told: str) -> str:
    """A text of the page, escaped."""
    texts = _WORDS[id]
    return escape(texts[1 if language == "zh" else 0].format(**told))


def login(
    language: str, hidden: Mapping[str, str], *, client: str, scope: str, name: str = "", said: str = "",
    logged_in: str = "",
) -> str:  # fmt: skip
    """The page that asks who the person is, or only whether a logged-in person agrees. `said` is escaped already."""
    kept = "".join(f'<input type="hidden" name="{escape(one)}" value="{escape(value)}">'
                   for one, value in hidden.items())  # fmt: skip
    lines = [f"<h1>{word('title', language)}</h1>", f"<p>{word('for', language, client=client)}</p>"]
    if scope:
        lines.append(f"<p>{word('scope', language, scope=scope)}</p>")
    if said:
        lines.append(f'<p role="alert">{said}</p>')
    if logged_in:
        fields = f"<p>{word('you', language, name=logged_in)}</p>"
    else:
        fields = (
            _field("username", "name", language, "text", "username", value=name)
            + _field("password", "password", language, "password", "current-password")
            + _field("otp", "code", language, "text", "one-time-code")
            + (_field("new_password", "new", language, "password", "new-password") if said else "")
        )
    buttons = (
        f'<button name="answer" value="yes">{word("allow" if logged_in else "go", language)}</button> '
        f'<button name="answer" value="no" formnovalidate>{word("no", language)}</button>'
    )
    lines.append(f'<form method="post" action="/oauth/authorize">{kept}{fields}{buttons}</form>')
    return _whole(language, "".join(lines))


def unsafe(language: str) -> str:
    """The page for a request that must not be answered to its sender."""
    return _whole(language, f"<h1>{word('title', language)}</h1><p>{word('unsafe', language)}</p>")


def shown(html: str, *, status: int = 200, goes_to: str = "", more: Headers | None = None) -> Reply:
    """The page as an answer. `goes_to` is the origin that its form may end at."""
    policy = (
        f"default-src 'none'; style-src 'unsafe-inline'; form-action 'self' {goes_to}; frame-ancestors 'none';"
        " base-uri 'none'"
    )
    headers = [
        ("content-type", "text/html; charset=utf-8"),
        ("content-security-policy", policy.replace(" ;", ";")),
        ("x-frame-options", "DENY"),
        ("referrer-policy", "no-referrer"),
        ("cache-control", "no-store"),
    ]
    return Reply(status, [*headers, *(more or [])], html.encode())


def _field(name: str, label: str, language: str, kind: str, fill: str, *, value: str = "") -> str:
    return (
        f'<label>{word(label, language)}<input name="{name}" type="{kind}" autocomplete="{fill}"'
        f' value="{escape(value)}" maxlength="256"></label>'
    )


def _whole(language: str, body: str) -> str:
    style = (
        "body{font:16px/1.6 system-ui,sans-serif;max-width:24rem;margin:10vh auto;padding:0 1rem;color:#1b1f24}"
        "label{display:block;margin:.8rem 0}input{display:block;width:100%;padding:.5rem;font:inherit;"
        "box-sizing:border-box}button{padding:.5rem 1rem;font:inherit;margin-top:.6rem}[role=alert]{color:#a40e26}"
    )
    return (
        f'<!doctype html><html lang="{"zh" if language == "zh" else "en"}"><meta charset="utf-8">'
        f'<meta name="viewport" content="width=device-width"><title>Tongqu</title><style>{style}</style>'
        f"<body>{body}</body></html>"
    )
