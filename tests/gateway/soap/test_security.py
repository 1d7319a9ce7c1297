"""WS-Security: who a message is believed to be from, and everything that was once signed and proves nothing."""

from __future__ import annotations

import base64
import copy
from collections.abc import Callable
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from lxml import etree
from tests.gateway.rest.plant import QUALITY
from tests.gateway.soap.messages import NS11, QUERY, SPACE, STRONG, certificate, message
from tests.gateway.soap.service import Heard, Service, run
from zeep.wsse.signature import BinarySignature

from tongqu.core.policy import Actor
from tongqu.gateway.auth.identify import thumbprint
from tongqu.gateway.soap.words import BASE64, DSIG, PASSWORD_TEXT, WSSE, WSU

NOW = datetime(2026, 11, 22, 8)  # noqa: DTZ001  written with Z behind
EVIL = f'<Delete xmlns="{SPACE}"><filter><id><gt>0</gt></id></filter></Delete>'
DIGEST = PASSWORD_TEXT.replace("Text", "Digest")
Envelope = Any


def stamp(made: datetime = NOW, seconds: float = 300) -> str:
    until = made + timedelta(seconds=seconds)
    inner = f"<u:Created>{made.isoformat()}Z</u:Created><u:Expires>{until.isoformat()}Z</u:Expires>"
    return f'<u:Timestamp xmlns:u="{WSU}">{inner}</u:Timestamp>'


def secured(inside: str, more: str = "") -> str:
    return f'<w:Security xmlns:w="{WSSE}" xmlns:u="{WSU}" s:mustUnderstand="1"{more}>{inside}</w:Security>'


def token(secret: str, name: str = "mes", *, kind: str = PASSWORD_TEXT, more: str = "") -> str:
    password = f'<w:Password Type="{kind}">{secret}</w:Password>'
    return f"<w:UsernameToken><w:Username>{name}</w:Username>{password}{more}</w:UsernameToken>"


def nonce(text: str, made: datetime = NOW) -> str:
    once = base64.b64encode(text.encode()).decode()
    return f'<w:Nonce EncodingType="{BASE64}">{once}</w:Nonce><u:Created>{made.isoformat()}Z</u:Created>'


@pytest.fixture(scope="module")
def keys(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("keys")
    certificate(folder, "mes")
    certificate(folder, "thief")
    return folder


def mark(keys: Path, name: str = "mes") -> str:
    """The thumbprint that the client registered."""
    from cryptography.hazmat.primitives.serialization import Encoding

    read = x509.load_pem_x509_certificate((keys / f"{name}.pem").read_bytes())
    return thumbprint(read.public_bytes(Encoding.DER))


def signed(keys: Path, body: str = QUERY, *, by: str = "mes", header: str = "") -> Envelope:
    """An envelope whose Body and Timestamp are signed, as zeep does it."""
    envelope = etree.fromstring(message(body, header or secured(stamp())))
    signing = BinarySignature(str(keys / f"{by}.key"), str(keys / f"{by}.pem"), **STRONG)
    return etree.fromstring(etree.tostring(signing.apply(envelope, {})[0]))


def fault(heard: Heard) -> str:
    found: str = heard.root.findtext(".//faultcode") or ""
    return found


def test_a_user_name_token(tmp_path: Path) -> None:
    async def work(service: Service) -> None:
        good = await service.call(message(header=secured(token(service.secret))))
        assert (good.status, good.who, good.ids) == (200, "client:mes", ["1", "2", "3", "5"])
        once = message(header=secured(token(service.secret, more=nonce("n1"))))
        assert (await service.call(once)).status == 200
        again = await service.call(once)
        assert (again.status, fault(again), again.reason) == (500, "wsse:InvalidSecurityToken", "auth.invalid")
        assert again.root.find(f".//{{{NS11}}}Header") is not None
        assert again.root.find(".//detail") is None

    run(tmp_path, work)


REFUSED: dict[str, tuple[Callable[[str], str], str]] = {
    "another secret": (lambda secret: secured(token(secret + "x")), "wsse:FailedAuthentication"),
    "another name": (lambda secret: secured(token(secret, "hr")), "wsse:FailedAuthentication"),
    "a digest": (lambda secret: secured(token(secret, kind=DIGEST)), "wsse:UnsupportedSecurityToken"),
    "two tokens": (lambda secret: secured(token(secret) + token(secret)), "wsse:InvalidSecurity"),
    "no password": (
        lambda secret: secured("<w:UsernameToken><w:Username>mes</w:Username></w:UsernameToken>"),
        "wsse:InvalidSecurityToken",
    ),
    "an old token": (
        lambda secret: secured(token(secret, more=nonce("n2", NOW - timedelta(minutes=7)))), "wsse:MessageExpired",
    ),
    "an old stamp": (
        lambda secret: secured(stamp(NOW - timedelta(hours=1), 7200) + token(secret)), "wsse:MessageExpired",
    ),
    "an ended stamp": (
        lambda secret: secured(stamp(NOW - timedelta(seconds=200), 10) + token(secret)), "wsse:MessageExpired",
    ),
    "a stamp to come": (lambda secret: secured(stamp(NOW + timedelta(hours=1)) + token(secret)), "wsse:MessageExpired"),
    "two stamps": (lambda secret: secured(stamp() + stamp() + token(secret)), "wsse:InvalidSecurity"),
    "no time": (
        lambda secret: secured(stamp().replace("2026", "soon") + token(secret)), "wsse:InvalidSecurity",
    ),
    "two headers": (lambda secret: secured(token(secret)) + secured(""), "s:Client"),
    "for somebody else": (
        lambda secret: secured(token(secret), ' s:actor="http://somebody.else"'), "s:Client",
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", REFUSED)
def test_what_is_not_believed(tmp_path: Path, name: str) -> None:
    header, code = REFUSED[name]

    async def work(service: Service) -> None:
        heard = await service.call(message(header=header(service.secret)))
        assert (fault(heard), heard.ids) == (code, [])
        assert heard.who == "anonymous"

    run(tmp_path, work)


def test_two_callers_in_one_call_are_refused(tmp_path: Path) -> None:
    async def work(service: Service) -> None:
        other = Actor("client:other", roles=frozenset(("quality",)), attributes={"plant": "A"})
        told = message(header=secured(token(service.secret)))
        for actor, status in ((QUALITY, 200), (other, 500)):
            service.actor = actor
            assert (await service.call(told)).status == status
        assert (await service.call(message(header=secured(token("wrong"))))).reason == "auth.invalid"
        disguised = told.replace("http://docs.oasis", "http&#58;//docs.oasis")
        assert (await service.call(disguised)).reason == "auth.ambiguous"
        service.actor = None
        assert (await service.call(disguised)).reason == "auth.ambiguous"

    run(tmp_path, work)


def test_a_signed_message_counts_once(tmp_path: Path, keys: Path) -> None:
    async def work(service: Service) -> None:
        sent = etree.tostring(signed(keys))
        first = await service.call(sent)
        assert (first.status, first.who, first.ids) == (200, "client:mes", ["1", "2", "3", "5"])
        again = await service.call(sent)
        assert (fault(again), again.ids) == ("wsse:InvalidSecurity", [])
        late = etree.tostring(signed(keys))
        service.clock.later(400)
        assert fault(await service.call(late)) == "wsse:MessageExpired"

    run(tmp_path, work, certificate=mark(keys))


def body_of(envelope: Envelope) -> Any:
    return envelope.find(f"{{{NS11}}}Body")


def security_of(envelope: Envelope) -> Any:
    return envelope.find(f".//{{{WSSE}}}Security")


def signature_of(envelope: Envelope) -> Any:
    return envelope.find(f".//{{{DSIG}}}Signature")


def other_body(**attributes: str) -> Any:
    made = etree.fromstring(message(EVIL))[-1]
    for name, value in attributes.items():
        made.set(f"{{{WSU}}}Id" if name == "wsu" else name, value)
    return made


def moved(place: Callable[[Envelope], Any], **attributes: str) -> Callable[[Envelope], None]:
    """The signed Body somewhere else, another one in its place; `IT` stands for its id."""

    def change(envelope: Envelope) -> None:
        original = body_of(envelope)
        id = original.get(f"{{{WSU}}}Id")
        new = other_body(**{name: id if value == "IT" else value for name, value in attributes.items()})
        envelope.replace(original, new)
        place(envelope).append(original)

    return change


def wrapper(envelope: Envelope) -> Any:
    return etree.SubElement(envelope[0], "{urn:x}Wrapper")


def in_object(envelope: Envelope) -> Any:
    return etree.SubElement(signature_of(envelope), f"{{{DSIG}}}Object")


def inside_new_body(envelope: Envelope) -> Any:
    return body_of(envelope)[0]


def fresh_stamp(envelope: Envelope) -> None:
    """The signed Timestamp in a wrapper, a later one in its place."""
    old = envelope.find(f".//{{{WSU}}}Timestamp")
    new = etree.fromstring(stamp(NOW + timedelta(seconds=30)))
    old.getparent().replace(old, new)
    wrapper(envelope).append(old)


def set_all(path: str, name: str, value: str) -> Callable[[Envelope], None]:
    def change(envelope: Envelope) -> None:
        for one in envelope.iter(path):
            one.set(name, value)

    return change


def transform(algorithm: str) -> Callable[[Envelope], None]:
    def change(envelope: Envelope) -> None:
        for one in envelope.iter(f"{{{DSIG}}}Transforms"):
            etree.SubElement(one, f"{{{DSIG}}}Transform").set("Algorithm", algorithm)

    return change


def text(path: str, value: str) -> Callable[[Envelope], None]:
    def change(envelope: Envelope) -> None:
        envelope.find(f".//{path}").text = value

    return change


def second_signature(envelope: Envelope) -> None:
    security_of(envelope).append(copy.deepcopy(signature_of(envelope)))


def key_value(envelope: Envelope) -> None:
    info = signature_of(envelope)[-1]
    info[:] = [etree.fromstring(f'<d:KeyValue xmlns:d="{DSIG}"/>')]


def without(path: str) -> Callable[[Envelope], None]:
    def change(envelope: Envelope) -> None:
        found = envelope.find(f".//{path}")
        found.getparent().remove(found)

    return change


HMAC = "http://www.w3.org/2001/04/xmldsig-more#hmac-sha256"
XSW: dict[str, Callable[[Envelope], None]] = {
    "the body in a wrapper": moved(wrapper),
    "the same id on the new body": moved(wrapper, wsu="IT"),
    "its id as a plain Id": moved(wrapper, Id="IT"),
    "its id as an xml:id": moved(wrapper, **{"{http://www.w3.org/XML/1998/namespace}id": "IT"}),
    "its id as a SAML id": moved(wrapper, AssertionID="IT"),
    "the body in the header": moved(lambda envelope: envelope[0]),
    "the body in Security": moved(security_of),
    "the body in an Object": moved(in_object),
    "the body inside the new body": moved(inside_new_body),
    "the body in the new body, same id": moved(inside_new_body, wsu="IT"),
    "the body behind the body": moved(lambda envelope: envelope),
    "the body in the Envelope's beginning": lambda envelope: envelope.insert(0, other_body()),
    "a fresh stamp": fresh_stamp,
    "no stamp": without(f"{{{WSU}}}Timestamp"),
    "no signature": without(f"{{{DSIG}}}Signature"),
    "two signatures": second_signature,
    "a reference to everything": set_all(f"{{{DSIG}}}Reference", "URI", ""),
    "a reference outside": set_all(f"{{{DSIG}}}Reference", "URI", "http://127.0.0.1:1/x"),
    "a reference by xpointer": set_all(f"{{{DSIG}}}Reference", "URI", "#xpointer(/)"),
    "an XPath transform": transform("http://www.w3.org/TR/1999/REC-xpath-19991116"),
    "an XSLT transform": transform("http://www.w3.org/TR/1999/REC-xslt-19991116"),
    "an enveloped transform": transform(f"{DSIG}enveloped-signature"),
    "another canonicalisation": set_all(f"{{{DSIG}}}Transform", "Algorithm", "http://www.w3.org/TR/2001/REC-xml-c14n-20010315"),
    "HMAC by the public key": set_all(f"{{{DSIG}}}SignatureMethod", "Algorithm", HMAC),
    "SHA-1 signatures": set_all(f"{{{DSIG}}}SignatureMethod", "Algorithm", f"{DSIG}rsa-sha1"),
    "SHA-1 digests": set_all(f"{{{DSIG}}}DigestMethod", "Algorithm", f"{DSIG}sha1"),
    "another value": text(f"{{{SPACE}}}field", "lot"),
    "another operation behind": lambda envelope: body_of(envelope).append(etree.fromstring(EVIL)),
    "another digest": text(f"{{{DSIG}}}DigestValue", "AAAA"),
    "no Base64": text(f"{{{WSSE}}}BinarySecurityToken", "%"),
    "no certificate": text(f"{{{WSSE}}}BinarySecurityToken", "AAAA"),
    "a bare key": key_value,
}  # fmt: skip


@pytest.mark.parametrize("name", XSW)
def test_signature_wrapping_proves_nothing(tmp_path: Path, keys: Path, name: str) -> None:
    envelope = signed(keys)
    before = etree.tostring(envelope)
    XSW[name](envelope)
    assert etree.tostring(envelope) != before

    async def work(service: Service) -> None:
        heard = await service.call(etree.tostring(envelope))
        assert heard.status in (401, 500)
        assert (heard.ids, heard.who) == ([], "anonymous")
        assert heard.reason in ("auth.invalid", "auth.missing", "auth.expired", "body.malformed")
        rest = await service.call(etree.tostring(signed(keys)))
        assert rest.ids == ["1", "2", "3", "5"]

    run(tmp_path, work, certificate=mark(keys))


def test_the_certificate_of_somebody_else(tmp_path: Path, keys: Path) -> None:
    async def work(service: Service) -> None:
        thief = await service.call(etree.tostring(signed(keys, by="thief")))
        assert (fault(thief), thief.reason) == ("wsse:FailedAuthentication", "auth.invalid")
        swapped = signed(keys, by="thief")
        mine = signed(keys)
        path = f".//{{{WSSE}}}BinarySecurityToken"
        swapped.find(path).text = mine.find(path).text
        assert fault(await service.call(etree.tostring(swapped))) == "wsse:FailedCheck"

    run(tmp_path, work, certificate=mark(keys))


def test_addressing_headers_must_be_signed_too(tmp_path: Path, keys: Path) -> None:
    async def work(service: Service) -> None:
        header = f'{secured(stamp())}<a:To xmlns:a="http://www.w3.org/2005/08/addressing">x</a:To>'
        heard = await service.call(etree.tostring(signed(keys, header=header)))
        assert fault(heard) == "wsse:InvalidSecurity"

    run(tmp_path, work, certificate=mark(keys))
