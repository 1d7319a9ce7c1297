"""The signature of a message: of known algorithms, by the one certificate inside, over the very elements we process."""

from __future__ import annotations

import base64
import binascii
from dataclasses import dataclass
from typing import TYPE_CHECKING

from tongqu.gateway.soap.envelope import Message, local
from tongqu.gateway.soap.words import BASE64, DSIG, WSSE, WSU, X509
from tongqu.kit.drivers import driver

if TYPE_CHECKING:
    from lxml.etree import _Element

C14N = "http://www.w3.org/2001/10/xml-exc-c14n#"
_MORE = "http://www.w3.org/2001/04/xmldsig-more#"
SIGNATURES = frozenset(
    (f"{_MORE}rsa-sha256", f"{_MORE}rsa-sha384", f"{_MORE}rsa-sha512", f"{_MORE}ecdsa-sha256", f"{_MORE}ecdsa-sha384",
     f"{_MORE}ecdsa-sha512")
)  # fmt: skip
DIGESTS = frozenset(
    ("http://www.w3.org/2001/04/xmlenc#sha256", f"{_MORE}sha384", "http://www.w3.org/2001/04/xmlenc#sha512")
)
_MOST = 10
"""References of one signature."""


class BadSignatureError(Exception):
    """The signature is not of the one form that is accepted, or does not fit. Its text is for logs, not for callers."""


@dataclass(frozen=True)
class Signed:
    """A signature that fits. `certificate` (DER) is what it was made by, `signed` the elements that it covers,
    `digest` the bytes that stand for this one signature."""

    certificate: bytes
    signed: tuple[_Element, ...]
    info: bytes

    def covers(self, element: _Element | None) -> bool:
        """Whether this very element was signed, with everything in it."""
        return element is not None and any(one is element for one in self.signed)


def verified(message: Message, security: _Element) -> Signed:
    """Check the one signature of a Security header; raises BadSignatureError.

    Accepted is what WS-Security 1.1 clients send, and nothing else of XML Signature: exclusive canonicalisation, SHA-2,
    RSA or ECDSA, a reference by `#id` to the Body or to direct children of Header or Security, no other transform, a
    certificate beside it. Each id exists once in the whole message, and what an id leads to is looked at in the tree
    that is processed, so that a signed element that was moved elsewhere (signature wrapping) proves nothing.
    """
    signature = _only(security, DSIG, "Signature")
    parts = [str(child.tag) for child in signature]
    if parts != [f"{{{DSIG}}}{name}" for name in ("SignedInfo", "SignatureValue", "KeyInfo")]:
        raise BadSignatureError("a signature has SignedInfo, SignatureValue and KeyInfo, and nothing else")
    info, _, key = signature
    places = _places(message, security)
    signed = tuple(places[_reference(part)] for part in _references(info) if _known(part, places))
    certificate, token = _certificate(key, security)
    if places.get(token.get(f"{{{WSU}}}Id", "")) is not token:
        raise BadSignatureError("the certificate is not beside the signature")
    _checked(signature, certificate, signed)
    from lxml import etree

    return Signed(certificate, signed, etree.tostring(info, method="c14n", exclusive=True))


def _places(message: Message, security: _Element) -> dict[str, _Element]:
    """What may be signed, by id: Body, and direct children of Header and Security. Raises for an id that is there
    twice, in whatever attribute it stands."""
    may = {id(element): element for element in (message.body, *message.blocks, *security)}
    found: dict[str, _Element] = {}
    seen: set[str] = set()
    for element in message.envelope.iter():
        for attribute, value in element.attrib.items():
            if str(attribute).rpartition("}")[2].lower() in ("id", "assertionid"):
                if value in seen:
                    raise BadSignatureError("an id is there twice")
                seen.add(str(value))
        name = element.get(f"{{{WSU}}}Id")
        if name is not None and id(element) in may:
            found[name] = element
    return found


def _references(info: _Element) -> list[_Element]:
    """The references of a SignedInfo whose algorithms are known."""
    rest = [child for child in info if child.tag != f"{{{DSIG}}}Reference"]
    if [str(child.tag) for child in rest] != [f"{{{DSIG}}}CanonicalizationMethod", f"{{{DSIG}}}SignatureMethod"]:
        raise BadSignatureError("SignedInfo is not of the expected form")
    canonical, method = rest
    if canonical.get("Algorithm") != C14N or method.get("Algorithm") not in SIGNATURES or len(method):
        raise BadSignatureError("the algorithms of the signature are not accepted")
    found = [child for child in info if child.tag == f"{{{DSIG}}}Reference"]
    if not 1 <= len(found) <= _MOST:
        raise BadSignatureError("there are no references, or too many")
    for one in found:
        transforms = [f"{{{DSIG}}}Transforms", f"{{{DSIG}}}DigestMethod", f"{{{DSIG}}}DigestValue"]
        if [str(child.tag) for child in one] != transforms:
            raise BadSignatureError("a reference is not of the expected form")
        steps = list(one[0])
        if len(steps) != 1 or steps[0].tag != f"{{{DSIG}}}Transform" or steps[0].get("Algorithm") != C14N:
            raise BadSignatureError("a reference has another transform than exclusive canonicalisation")
        if one[1].get("Algorithm") not in DIGESTS:
            raise BadSignatureError("the digest is not accepted")
    return found


def _reference(part: _Element) -> str:
    uri = part.get("URI", "")
    if not uri.startswith("#") or len(uri) < 2:
        raise BadSignatureError("a reference leads out of the message")
    return uri[1:]


def _known(part: _Element, places: dict[str, _Element]) -> bool:
    if _reference(part) not in places:
        raise BadSignatureError("a reference leads to nothing that may be signed")
    return True


def _certificate(key: _Element, security: _Element) -> tuple[bytes, _Element]:
    """The certificate that KeyInfo leads to, in DER, and the token it stands in."""
    token = _only(security, WSSE, "BinarySecurityToken")
    if len(key) != 1 or key[0].tag != f"{{{WSSE}}}SecurityTokenReference" or len(key[0]) != 1:
        raise BadSignatureError("KeyInfo refers to a BinarySecurityToken, directly")
    reference = key[0][0]
    if reference.tag != f"{{{WSSE}}}Reference" or reference.get("URI") != f"#{token.get(f'{{{WSU}}}Id', '')}":
        raise BadSignatureError("KeyInfo does not refer to the BinarySecurityToken")
    if token.get("ValueType") != X509 or token.get("EncodingType", BASE64) != BASE64 or len(token):
        raise BadSignatureError("the BinarySecurityToken holds no X.509 certificate")
    try:
        return base64.b64decode("".join((token.text or "").split()), validate=True), token
    except (binascii.Error, ValueError):
        raise BadSignatureError("the certificate is not in Base64") from None


def _checked(signature: _Element, certificate: bytes, signed: tuple[_Element, ...]) -> None:
    """The mathematics, by libxmlsec: only the elements that we found are known to it by an id."""
    xmlsec = driver("xmlsec", "gateway")
    try:
        context = xmlsec.SignatureContext()
        for element in {id(one): one for one in signed}.values():
            context.register_id(element, "Id", WSU)
        context.key = xmlsec.Key.from_memory(certificate, xmlsec.KeyFormat.CERT_DER)
        context.verify(signature)
    except (xmlsec.Error, ValueError, TypeError) as error:
        raise BadSignatureError("the signature does not fit") from error


def _only(parent: _Element, space: str, name: str) -> _Element:
    found = [child for child in parent if child.tag == f"{{{space}}}{name}"]
    if len(found) != 1:
        raise BadSignatureError(f"there is not exactly one {local(found[0]) if found else name}")
    return found[0]
