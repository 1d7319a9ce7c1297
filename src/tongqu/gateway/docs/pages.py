"""The pages under `/docs`: the document to try out, and what each problem code means; no script or style inside."""

from __future__ import annotations

from collections.abc import Mapping
from html import escape

from tongqu.gateway.problems import KINDS, Kind

POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
"""Content-Security-Policy of the pages."""
_WORDS = {
    "zh": {
        "title": "接口文档", "token": "令牌或接口密钥", "use": "使用", "mock": "试用时只要模拟数据（Prefer: mock）",
        "problems": "错误代码", "version": "版本", "code": "代码", "status": "状态", "means": "含义", "again": "可重试",
        "yes": "是", "no": "否", "other": "English", "formats": "其他格式", "none": "没有可用的接口：请先填写令牌",
        "safe": "令牌只保存在本页内存中。", "failed": "无法读取文档",
    },
    "en": {
        "title": "API documentation", "token": "Token or API key", "use": "Use",
        "mock": "Try with made-up data only (Prefer: mock)", "problems": "Problem codes", "version": "Version",
        "code": "Code", "status": "Status", "means": "Meaning", "again": "Retry may help", "yes": "yes", "no": "no",
        "other": "中文", "formats": "Other formats", "none": "No API to show: fill in a token first",
        "safe": "The token stays in this page's memory only.", "failed": "the document cannot be read",
    },
}  # fmt: skip


def docs_page(language: str) -> bytes:
    """The page that shows the caller's document."""
    told = {name: escape(word) for name, word in _WORDS[language].items()}
    other = f'<a href="/docs?lang={_other(language)}">{told["other"]}</a>'
    body = f"""<header>
<h1>{told["title"]}</h1>
<form id="who" autocomplete="off">
<label>{told["token"]} <input id="token" type="password" autocomplete="off" spellcheck="false"></label>
<button type="submit">{told["use"]}</button>
<label>{told["version"]} <select id="version"></select></label>
<label><input id="mock" type="checkbox" checked> {told["mock"]}</label>
</form>
<p id="links"><small>{told["safe"]}</small></p>
<nav><a href="/docs/problems?lang={language}">{told["problems"]}</a> {other}</nav>
</header>
<main id="docs" data-none="{told["none"]}" data-failed="{told["failed"]}" data-formats="{told["formats"]}"></main>
<script src="/docs/assets/swagger-ui-bundle.js"></script>
<script src="/docs/assets/docs.js"></script>"""
    return _page(language, told["title"], body, ("swagger-ui.css", "docs.css"))


def problems_page(language: str) -> bytes:
    """Every code with its status and meaning, each with its own anchor."""
    told = {name: escape(word) for name, word in _WORDS[language].items()}
    rows = "\n".join(_row(code, kind, language, told) for code, kind in sorted(KINDS.items()))
    heads = "".join(f'<th scope="col">{told[name]}</th>' for name in ("code", "status", "means", "again"))
    other = f'<a href="/docs/problems?lang={_other(language)}">{told["other"]}</a>'
    body = f"""<header><h1>{told["problems"]}</h1>
<nav><a href="/docs?lang={language}">{told["title"]}</a> {other}</nav></header>
<main><table><thead><tr>{heads}</tr></thead><tbody>
{rows}
</tbody></table></main>"""
    return _page(language, told["problems"], body, ("docs.css",))


def _row(code: str, kind: Kind, language: str, told: Mapping[str, str]) -> str:
    name, means = escape(code), escape(kind.zh if language == "zh" else kind.en)
    again = told["yes" if kind.retryable else "no"]
    link = f'<a href="#{name}"><code>{name}</code></a>'
    return f'<tr id="{name}"><td>{link}</td><td>{kind.status}</td><td>{means}</td><td>{again}</td></tr>'


def _page(language: str, title: str, body: str, styles: tuple[str, ...]) -> bytes:
    links = "".join(f'<link rel="stylesheet" href="/docs/assets/{name}">' for name in styles)
    return f"""<!doctype html>
<html lang="{"zh-CN" if language == "zh" else "en"}"><head><meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1"><title>{title}</title>{links}</head>
<body>
{body}
</body></html>
""".encode()


def _other(language: str) -> str:
    return "en" if language == "zh" else "zh"
