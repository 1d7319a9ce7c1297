"""Refusals as SOAP faults: whose fault it is, the same stable codes as everywhere, and no word more than elsewhere."""

from __future__ import annotations

from typing import Any
from xml.sax.saxutils import escape, quoteattr

from tongqu.gateway.exchange import Headers, Reply, Request
from tongqu.gateway.problems import Problem
from tongqu.gateway.soap.words import ADDRESSING, PROBLEM, SOAP11, WSSE, Version

_BY_HTTP = frozenset((401, 405, 410, 413, 415, 429))
"""Statuses by which HTTP itself tells what to do next; clients of SOAP act on them before they read the fault."""
_ALSO = frozenset(("api.unknown", "path.unknown", "address.refused", "overloaded"))
_SPECIAL = {"soap.version": "VersionMismatch", "soap.header": "MustUnderstand"}


def fault(problem: Problem, request: Request, version: Version, *, relates: str = "") -> Reply:
    """The problem as a fault of that version. SOAP 1.1 answers 500, SOAP 1.2 400 for the sender's faults and 500 for
    ours, except where HTTP has a status of its own to be acted on. `relates` is the message that is answered."""
    request.notes.reason = problem.code
    wsse = str(problem.more.get("wsse", ""))
    sender = problem.kind.status < 500
    http = not wsse and (problem.kind.status in _BY_HTTP or problem.code in _ALSO)
    plain = sender and problem.code not in _SPECIAL
    status = problem.kind.status if http else 400 if plain and version is not SOAP11 else 500
    told = _told(problem, request)
    headers = _addressed(relates) if relates else ""
    about_header = bool(wsse) or problem.code == "soap.header"
    make = _fault11 if version is SOAP11 else _fault12
    body = make(problem, request, version, "" if about_header else told)
    if about_header:  # what is wrong with a header is told in one, never in the detail (SOAP 1.1 §4.4)
        headers += told
    if version is not SOAP11 and problem.code == "soap.header" and problem.more.get("block"):
        headers += _not_understood(str(problem.more["block"]))
    if version is not SOAP11 and problem.code == "soap.version":
        headers += f'<s:Upgrade><s:SupportedEnvelope xmlns:v="{version.namespace}" qname="v:Envelope"/></s:Upgrade>'
    content: Headers = [("content-type", f"{version.media}; charset=utf-8"), ("cache-control", "no-store")]
    return Reply(status, [*content, *problem.headers], envelope(version, body, headers))


def envelope(version: Version, body: str, headers: str = "") -> bytes:
    """An envelope around a body, its prefix is `s`."""
    head = f"<s:Header>{headers}</s:Header>" if headers else ""
    return (
        f'<?xml version="1.0" encoding="UTF-8"?>\n<s:Envelope xmlns:s="{version.namespace}">{head}'
        f"<s:Body>{body}</s:Body></s:Envelope>"
    ).encode()


def _fault11(problem: Problem, request: Request, version: Version, detail: str) -> str:
    code, more = _code(problem, version), f"<detail>{detail}</detail>" if detail else ""
    space = f' xmlns:wsse="{WSSE}"' if code.startswith("wsse:") else ""
    words = f'<faultstring xml:lang="{request.language}">{escape(_sentence(problem, request.language))}</faultstring>'
    return f"<s:Fault><faultcode{space}>{code}</faultcode>{words}{more}</s:Fault>"


def _fault12(problem: Problem, request: Request, version: Version, detail: str) -> str:
    del request
    code = _code(problem, version)
    sub = code if code.startswith("wsse:") else f"p:{problem.code}"
    main = _SPECIAL.get(problem.code) or (version.sender if problem.kind.status < 500 else version.receiver)
    texts = "".join(
        f'<s:Text xml:lang="{language}">{escape(_sentence(problem, language))}</s:Text>' for language in ("en", "zh")
    )
    subcode = f'<s:Subcode><s:Value xmlns:p="{PROBLEM}" xmlns:wsse="{WSSE}">{sub}</s:Value></s:Subcode>'
    more = f"<s:Detail>{detail}</s:Detail>" if detail else ""
    return f"<s:Fault><s:Code><s:Value>s:{main}</s:Value>{subcode}</s:Code><s:Reason>{texts}</s:Reason>{more}</s:Fault>"


def _code(problem: Problem, version: Version) -> str:
    if problem.more.get("wsse"):
        return f"wsse:{problem.more['wsse']}"
    side = version.sender if problem.kind.status < 500 else version.receiver
    return f"s:{_SPECIAL.get(problem.code, side)}"


def _sentence(problem: Problem, language: str) -> str:
    title = problem.kind.zh if language == "zh" else problem.kind.en
    return f"{title}: {problem.detail}" if problem.detail else title


def _told(problem: Problem, request: Request) -> str:
    title = problem.kind.zh if request.language == "zh" else problem.kind.en
    words: dict[str, Any] = {
        "code": problem.code, "title": title, "detail": problem.detail, "hint": problem.hint,
        "retryable": "true" if problem.kind.retryable else "false", "instance": request.id,
    }  # fmt: skip
    inner = "".join(f"<{name}>{escape(str(text))}</{name}>" for name, text in words.items() if text)
    errors = "".join(_error(error) for error in problem.errors)
    return f"<problem xmlns={quoteattr(PROBLEM)}>{inner}{errors}</problem>"


def _error(error: dict[str, Any]) -> str:
    inner = "".join(
        f"<{name}>{escape(str(error[name]))}</{name}>"
        for name in ("parameter", "pointer", "code", "detail")
        if name in error
    )
    return f"<error>{inner}</error>"


def _addressed(relates: str) -> str:
    return (
        f'<a:Action xmlns:a="{ADDRESSING}">{ADDRESSING}/fault</a:Action>'
        f'<a:RelatesTo xmlns:a="{ADDRESSING}">{escape(relates)}</a:RelatesTo>'
    )


def _not_understood(tag: str) -> str:
    space, _, name = tag[1:].rpartition("}")
    return f"<s:NotUnderstood qname={quoteattr('n:' + name)} xmlns:n={quoteattr(space)}/>"
