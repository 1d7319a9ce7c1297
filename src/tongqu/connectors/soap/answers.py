"""What a SOAP service answers: a body, a fault as an error of ours, or attachments put back where they belong."""

from __future__ import annotations

import re
from base64 import b64encode
from email import message_from_bytes
from email.policy import HTTP
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote

from tongqu.connectors.soap.encoded import is_encoded, resolved
from tongqu.core.errors import AnswerError, AuthError, CallRefusedError, ConnectorError, PeerFailedError
from tongqu.kit.http.status import refusal
from tongqu.kit.xml_tree import local, tree

if TYPE_CHECKING:
    from collections.abc import Mapping
    from xml.etree.ElementTree import Element

    from tongqu.kit.http.call import Reply

_BODY = re.compile(rb"<(?:[\w.-]+:)?Body\b[^>]*?(/?)>\s*(?:<!--.*?-->\s*)*(?:<(?:[\w.-]+:)?([\w.-]+))?", re.DOTALL)
_OFTEN, _FEW = 4, 16 << 20
"""The attachments in all places that name them: so often as much as came, and so many bytes more."""
_INCLUDE = re.compile(
    rb"<(?:[\w.-]+:)?Include\b[^>]*?\bhref\s*=\s*[\"']cid:([^\"']+)[\"'][^>]*?(?:/>|>\s*</(?:[\w.-]+:)?Include\s*>)"
)
_LOGIN = ("FailedAuthentication", "InvalidSecurity", "InvalidSecurityToken", "Client.Authentication")
_SHOWN = 300


def content(reply: Reply, operation: str, faults: frozenset[str], wanted: str = "") -> bytes:
    """The XML of an answer. Raises for a fault whatever its status: AuthError (WS-Security), CallRefusedError (the
    caller's fault, or one that the WSDL declares), PeerFailedError (all others); and AnswerError for what is no SOAP,
    or has another element than `wanted` in its body."""
    body = _whole(reply)
    if is_encoded(body):
        tree(body, operation)
        body = resolved(body, operation)
    found = _BODY.search(body)
    if found is None or b"Envelope" not in body[: found.start()]:
        if reply.status >= 400:
            raise refusal(reply.status, reply.headers, reply.content, operation)
        begins = reply.content[:60].decode("utf-8", "replace")
        raise AnswerError(
            f"the answer of {operation} is no SOAP: it begins {begins!r}", path=operation,
            hint="a page for people may have answered: is the address right, and does the login hold?",
        )  # fmt: skip
    name = (found[2] or b"").decode("utf-8", "replace")
    if name == "Fault":
        raise fault(body, operation, faults, reply.status)
    if reply.status >= 400:
        raise refusal(reply.status, reply.headers, reply.content, operation)
    if wanted and name and name != wanted:
        raise AnswerError(f"the answer of {operation} holds {name!r}, not {wanted!r}", path=operation)
    return body


def fault(body: bytes, operation: str, declared: frozenset[str], status: int) -> ConnectorError:
    """The error that a fault is (SOAP 1.1 §4.4, SOAP 1.2 part 1 §5.4)."""
    found = _first(tree(body, operation), "Fault")
    code = _said(found, "faultcode") or _said(found, "Code/Value")
    inner = _said(found, "Code/Subcode/Value")
    words = _said(found, "faultstring") or _said(found, "Reason/Text") or "no reason is given"
    detail = _first(found, "detail") if found is not None else None
    detail = detail if detail is not None else _first(found, "Detail") if found is not None else None
    kind = local(detail[0].tag) if detail is not None and len(detail) else ""
    plain = [code.rpartition(":")[2], inner.rpartition(":")[2]]
    error_type: type[ConnectorError] = PeerFailedError
    if any(one in _LOGIN for one in plain):
        error_type = AuthError
    elif plain[0].partition(".")[0] in ("Client", "Sender") or (kind and kind in declared):
        error_type = CallRefusedError
    text = " ".join("".join(detail.itertext()).split()) if detail is not None else ""
    login = "give security: {user: …, password: …}, or mend it" if error_type is AuthError else ""
    error = error_type(
        f"{operation} was answered with a fault: {_clean(words)}",
        hint=f"the system says: {_clean(text)}" if text else login,
        params={"code": _clean(inner or code), "fault": kind},
    )  # fmt: skip
    error.status = status
    error.answer = body[: 64 * 1024]
    return error


def document(body: bytes, operation: str) -> Any:
    """A small answer as plain values: what stands in the element in its body, by local names; repeated elements are
    lists, nil and empty ones None."""
    root = _first(tree(body, operation), "Body")
    first = root[0] if root is not None and len(root) else None
    return _value(first) if first is not None else None


def _value(element: Element) -> Any:
    if any(local(key) == "nil" and value in ("true", "1") for key, value in element.attrib.items()):
        return None
    if not len(element):
        return element.text.strip() if element.text and element.text.strip() else None
    found: dict[str, Any] = {}
    for child in element:
        name, value = local(child.tag), _value(child)
        if name in found:
            held = found[name]
            found[name] = [*held, value] if isinstance(held, list) else [held, value]
        else:
            found[name] = value
    return found


def _whole(reply: Reply) -> bytes:
    """The answer's XML; of MTOM and SwA with the attachments that it includes as base64 text in their place."""
    kind = reply.headers.get("content-type", "")
    if not kind.lower().startswith("multipart/"):
        return reply.content
    parsed = message_from_bytes(b"Content-Type: " + kind.encode("latin-1", "replace") + b"\r\n\r\n" + reply.content,
                                policy=HTTP)  # fmt: skip
    parts = [part for part in parsed.iter_parts() if not part.is_multipart()] if parsed.is_multipart() else []
    if not parts:
        raise AnswerError("the answer says that it has parts, and has none", path=reply.url.partition("?")[0])
    start = str(parsed.get_param("start") or "").strip("<>")
    held = {str(part.get("Content-ID", "")).strip().strip("<>"): part for part in parts}
    root = held.get(start, parts[0])
    data = root.get_payload(decode=True)
    where = reply.url.partition("?")[0]
    files = _Attached(held, _OFTEN * len(reply.content) + _FEW, where)
    whole = _INCLUDE.sub(
        lambda match: files.text(match[1].decode("utf-8", "replace")), data if isinstance(data, bytes) else b""
    )
    return _beside(whole, files, where) if b"cid:" in whole else whole


class _Attached:
    """The attachments of an answer, as base64. All places that name them together hold at most `room` bytes: one that
    is named again and again would fill the memory."""

    def __init__(self, parts: Mapping[str, Any], room: int, where: str):
        self._parts, self._room, self._where = parts, room, where

    def __contains__(self, name: str) -> bool:
        return unquote(name) in self._parts

    def text(self, name: str) -> bytes:
        """The one of this (quoted) name; raises AnswerError if it did not come, or is named too often."""
        if name not in self:
            raise AnswerError(f"the answer includes an attachment {unquote(name)!r} that did not come",
                              path=self._where)  # fmt: skip
        payload = self._parts[unquote(name)].get_payload(decode=True)
        found = b64encode(payload if isinstance(payload, bytes) else b"")
        self._room -= len(found)
        if self._room < 0:
            raise AnswerError("the answer names its attachments so often that it would grow beyond measure",
                              path=self._where)  # fmt: skip
        return found


def _beside(body: bytes, files: _Attached, where: str) -> bytes:
    """The XML with attachments in the elements that name them (SwA: `href`; swaRef: their text)."""
    from lxml import etree

    tree(body, where)
    root = etree.fromstring(body, etree.XMLParser(resolve_entities=False, no_network=True, huge_tree=True))
    for one in root.iter(etree.Element):
        told = one.get("href") or ("" if len(one) else (one.text or "").strip())
        name = told[4:] if told.startswith("cid:") else ""
        if name and (name in files or one.get("href")):
            text = files.text(name).decode()
            one.attrib.pop("href", None)
            one.text = text
    return bytes(etree.tostring(root))


def _first(element: Element | None, name: str) -> Element | None:
    if element is None:
        return None
    return next((one for one in element.iter() if isinstance(one.tag, str) and local(one.tag) == name), None)


def _said(element: Element | None, path: str) -> str:
    """The text at local names below an element."""
    for name in path.split("/"):
        if element is None:
            return ""
        element = next((one for one in element if local(one.tag) == name), None)
    return (element.text or "").strip() if element is not None else ""


def _clean(text: str) -> str:
    return "".join(c if c.isprintable() else " " for c in text)[:_SHOWN]
