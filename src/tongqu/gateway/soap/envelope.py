"""A SOAP message taken apart: version, header blocks that must be understood, and the one element of its body."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from tongqu.gateway.problems import Kind, Problem, declare
from tongqu.gateway.soap.words import ADDRESSING, ANONYMOUS, MEDIA, SOAP11, VERSIONS, WSSE, Version

if TYPE_CHECKING:
    from lxml.etree import _Element

declare(
    {
        "soap.version": Kind(400, "the envelope is of another version of SOAP", "SOAP 信封版本不符"),
        "soap.header": Kind(400, "a header that must be understood is not", "不支持必须理解的 SOAP 头"),
        "soap.action": Kind(400, "the action is not that of the message", "SOAPAction 与消息不符"),
        "soap.addressing": Kind(400, "replies go back on the connection that the call came by", "应答只能沿原连接返回"),
    }
)
_CHARSETS = frozenset(("", "utf-8", "utf8", "utf-16", "us-ascii"))
_ADDRESSED = frozenset(("Action", "To", "MessageID", "ReplyTo", "FaultTo", "From", "RelatesTo"))


@dataclass(frozen=True)
class Media:
    """What a Content-Type of SOAP says: the version it stands for and, in SOAP 1.2, the action."""

    version: Version
    action: str = ""


@dataclass(frozen=True)
class Message:
    """A message that is for us. `operation` is the one element of `body`; `security` the WS-Security header, `blocks`
    all header blocks, `addressed` the texts of WS-Addressing headers by their name."""

    version: Version
    envelope: _Element
    body: _Element
    operation: _Element
    blocks: tuple[_Element, ...]
    security: _Element | None
    addressed: dict[str, str]


def media_of(header: str) -> Media:
    """Raises Problem `media.unknown` for what is no SOAP message, MTOM (`multipart/related`) among it."""
    kind, *rest = (part.strip() for part in header.split(";"))
    told = dict(_parameter(part) for part in rest)
    version = MEDIA.get(kind.lower())
    if version is None or told.get("charset", "").lower() not in _CHARSETS:
        raise Problem("media.unknown", "a SOAP message is text/xml (1.1) or application/soap+xml (1.2), in UTF-8")
    return Media(version, told.get("action", "") if version is not SOAP11 else "")


def message_of(root: _Element, media: Media) -> Message:
    """The parts of an envelope; raises Problem `body.malformed`, `soap.version`, `soap.header`, `soap.addressing`."""
    version = VERSIONS.get(_namespace(root))
    if local(root) != "Envelope" or version is None or version is not media.version:
        raise Problem("soap.version", f"the Content-Type stands for an Envelope of SOAP {media.version.number}")
    parts = [child for child in root if _namespace(child) == version.namespace]
    header = [child for child in parts if local(child) == "Header"]
    bodies = [child for child in parts if local(child) == "Body"]
    if len(root) != len(header) + len(bodies) or len(header) > 1 or len(bodies) != 1 or parts[-1] is not bodies[0]:
        raise Problem("body.malformed", "an Envelope has at most one Header, then one Body, and nothing else")
    operations = list(bodies[0])
    if len(operations) != 1:
        raise Problem("body.malformed", "the Body has one element: the operation")
    blocks = tuple(header[0]) if header else ()
    ours = [block for block in blocks if block.get(f"{{{version.namespace}}}{version.role}", "") in version.roles]
    for block in ours:
        if _must(block, version) and not _understood(block):
            raise Problem(
                "soap.header", f"the header {local(block)[:64]!r} is not understood", more={"block": str(block.tag)}
            )
    secured = [block for block in ours if block.tag == f"{{{WSSE}}}Security"]
    if len(secured) > 1:
        raise Problem("body.malformed", "there is more than one Security header")
    addressed = _addressing(ours)
    return Message(version, root, bodies[0], operations[0], blocks, secured[0] if secured else None, addressed)


def check_action(message: Message, told: str, names: tuple[str, ...]) -> None:
    """Refuse a message whose transport or WS-Addressing names another operation than its body; `names` are the ways to
    name the right one, and nothing at all."""
    for action in (told.strip().strip('"'), message.addressed.get("Action", "")):
        if action and action not in names:
            raise Problem("soap.action")


def local(element: _Element) -> str:
    """An element's name without its namespace."""
    return str(element.tag).rpartition("}")[2]


def _namespace(element: _Element) -> str:
    return str(element.tag)[1:].rpartition("}")[0]


def _parameter(text: str) -> tuple[str, str]:
    name, _, value = text.partition("=")
    return name.strip().lower(), value.strip().strip('"')


def _must(block: _Element, version: Version) -> bool:
    return block.get(f"{{{version.namespace}}}mustUnderstand", "").strip() in ("1", "true")


def _understood(block: _Element) -> bool:
    space = _namespace(block)
    return block.tag == f"{{{WSSE}}}Security" or (space == ADDRESSING and local(block) in _ADDRESSED)


def _addressing(blocks: list[_Element]) -> dict[str, str]:
    """WS-Addressing 1.0. Answers are never sent anywhere else: that would let a caller make us call others."""
    found: dict[str, str] = {}
    for block in blocks:
        name = local(block)
        if _namespace(block) != ADDRESSING:
            continue
        if name in found:
            raise Problem("soap.addressing", f"there is more than one {name[:64]!r}")
        address = block.find(f"{{{ADDRESSING}}}Address") if name in ("ReplyTo", "FaultTo") else None
        text = ((block if address is None else address).text or "").strip()
        if name in ("ReplyTo", "FaultTo") and text != ANONYMOUS:
            raise Problem("soap.addressing")
        found[name] = text
    return found
