"""What a WSDL or an answer may hold: imports that lead astray, bombs, pages for people, faults, attachments."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.x509.oid import NameOID

from tongqu.connectors.soap.service import Service
from tongqu.connectors.soap.settings import SoapSettings
from tongqu.connectors.soap.source import SoapSource
from tongqu.core.data import Read, Split
from tongqu.core.errors import (
    AnswerError,
    AuthError,
    CallRefusedError,
    ConnectorError,
    EgressRefusedError,
    PeerFailedError,
)
from tongqu.testing.services.http_peer import Asked, Handler, HttpPeer, Out

TYPES = """
<xsd:schema targetNamespace="urn:x" elementFormDefault="qualified">{more}
 <xsd:complexType name="Order"><xsd:sequence>
  <xsd:element name="Id" type="xsd:int"/><xsd:element name="Note" type="xsd:string" minOccurs="0" nillable="true"/>
  <xsd:choice><xsd:element name="Post" type="xsd:string"/><xsd:element name="Fetch" type="xsd:string"/></xsd:choice>
  <xsd:element name="Photo" type="xsd:base64Binary" minOccurs="0"/>
 </xsd:sequence><xsd:attribute name="kind" type="xsd:string"/></xsd:complexType>
 <xsd:element name="List"><xsd:complexType><xsd:sequence/></xsd:complexType></xsd:element>
 <xsd:element name="ListResponse"><xsd:complexType><xsd:sequence>
  <xsd:element name="Order" type="t:Order" minOccurs="0" maxOccurs="unbounded"/>
 </xsd:sequence></xsd:complexType></xsd:element>
 <xsd:element name="Broken"><xsd:complexType><xsd:sequence/></xsd:complexType></xsd:element>
</xsd:schema>"""
WSDL = """<definitions xmlns="http://schemas.xmlsoap.org/wsdl/" xmlns:s="http://schemas.xmlsoap.org/wsdl/soap/"
 xmlns:xsd="http://www.w3.org/2001/XMLSchema" xmlns:t="urn:x" targetNamespace="urn:x">
<types>{types}</types>
<message name="In"><part name="{part}" {given}/></message>
<message name="Out"><part name="{part}" {taken}/></message>
<message name="F"><part name="f" element="t:Broken"/></message>
<portType name="P"><operation name="List"><input message="t:In"/><output message="t:Out"/>
 <fault name="F" message="t:F"/></operation></portType>
<binding name="B" type="t:P"><s:binding style="{style}" transport="http://schemas.xmlsoap.org/soap/http"/>
 <operation name="List"><s:operation soapAction="urn:list"/><input><s:body use="literal" {space}/></input>
 <output><s:body use="literal" {space}/></output><fault name="F"><s:fault name="F" use="literal"/></fault></operation>
</binding>
<service name="S"><port name="P" binding="t:B"><s:address location="{address}"/></port></service></definitions>"""
ENVELOPE = '<s:Envelope xmlns:s="http://schemas.xmlsoap.org/soap/envelope/"><s:Body>{}</s:Body></s:Envelope>'
ORDERS = (
    '<ListResponse xmlns="urn:x" xmlns:xsi="http://www.w3.org/2001/XMLSchema-instance">'
    '<Order kind="A"><Id>1</Id><Note xsi:nil="true"/><Post>p</Post><New>?</New></Order>'
    "<Order><Id>2</Id><Fetch>f</Fetch></Order></ListResponse>"
)
FAULT = "<s:Fault><faultcode>{}</faultcode><faultstring>not now</faultstring><detail>{}</detail></s:Fault>"


def wsdl(address: str, more: str = "", style: str = "document") -> bytes:
    part = {"part": "p", "given": 'element="t:List"', "taken": 'element="t:ListResponse"', "space": ""}
    if style == "rpc":
        part = {"part": "r", "given": 'type="xsd:string"', "taken": 'type="t:Orders"', "space": 'namespace="urn:x"'}
        more += '<xsd:complexType name="Orders"><xsd:sequence><xsd:element name="Order" type="t:Order" '
        more += 'maxOccurs="unbounded"/></xsd:sequence></xsd:complexType>'
    return WSDL.format(types=TYPES.format(more=more), style=style, address=address, **part).encode()


def answering(body: str | bytes, status: int = 200, kind: str = "text/xml") -> Handler:
    def answer(_: Asked, out: Out) -> None:
        out.answer(status, body.encode() if isinstance(body, str) else body, Content_Type=kind)

    return answer


def rows(answer: Handler, *, more: str = "", described: Callable[[str], bytes] | None = None, **told: Any) -> pa.Table:
    with HttpPeer() as peer:

        def route(asked: Asked, out: Out) -> None:
            if asked.method == "GET":
                out.answer(200, described(peer.url) if described else wsdl(f"{peer.url}/x", more))
            else:
                answer(asked, out)

        peer.routes["/x"] = route
        datasets = {"List": told.pop("dataset", {})}
        source = SoapSource(SoapSettings.parse({"base_url": f"{peer.url}/x", "datasets": datasets, **told}))
        try:
            (dataset,) = source.datasets(["List"])
            return pa.Table.from_batches([b.rows for b in source.read(Read(dataset, Split("0", "List")))])
        finally:
            source.close()


def test_nil_choices_attributes_and_unknown_elements() -> None:
    assert rows(answering(ENVELOPE.format(ORDERS))).to_pylist() == [
        {"@kind": "A", "Id": 1, "Note": None, "Post": "p", "Fetch": None, "Photo": None},
        {"@kind": None, "Id": 2, "Note": None, "Post": None, "Fetch": "f", "Photo": None},
    ]


def test_rpc_answers_are_read_too() -> None:
    body = '<t:ListResponse xmlns:t="urn:x"><r><Order><Id>1</Id><Post>p</Post></Order></r></t:ListResponse>'
    found = rows(
        answering(ENVELOPE.format(body)), described=lambda url: wsdl(f"{url}/x", style="rpc"),
        dataset={"arguments": {"r": "all"}},
    )  # fmt: skip
    assert found.column("Id").to_pylist() == [1]


def test_attachments_stand_where_they_are_included() -> None:
    body = '<ListResponse xmlns="urn:x"><Order><Id>1</Id><Post>p</Post><Photo><xop:Include '
    body += 'xmlns:xop="http://www.w3.org/2004/08/xop/include" href="cid:a%40x"/></Photo></Order></ListResponse>'
    parts = (
        b"--b\r\nContent-Type: application/xop+xml\r\nContent-ID: <root>\r\n\r\n" + ENVELOPE.format(body).encode()
        + b"\r\n--b\r\nContent-Type: image/png\r\nContent-Transfer-Encoding: binary\r\nContent-ID: <a@x>\r\n\r\n"
        + b"\x89PNG\xff\x00" + b"\r\n--b--\r\n"
    )  # fmt: skip
    kind = 'multipart/related; boundary=b; type="application/xop+xml"; start="<root>"'
    assert rows(answering(parts, kind=kind)).column("Photo").to_pylist() == [b"\x89PNG\xff\x00"]


@pytest.mark.parametrize("status", [200, 500])
@pytest.mark.parametrize(
    ("code", "detail", "kind"),
    [
        ("s:Client", "", CallRefusedError),
        ("s:Server", '<Broken xmlns="urn:x">why</Broken>', CallRefusedError),  # the WSDL declares it
        ("s:Server", "<Other/>", PeerFailedError),
        ("wsse:FailedAuthentication", "", AuthError),
    ],
)
def test_a_fault_is_an_error_with_any_status(status: int, code: str, detail: str, kind: type[ConnectorError]) -> None:
    with pytest.raises(kind, match="not now") as caught:
        rows(answering(ENVELOPE.format(FAULT.format(code, detail)), status))
    assert caught.value.params["code"] == code


@pytest.mark.parametrize(
    ("body", "status", "kind"),
    [
        ("<html>Please log in</html>", 200, AnswerError),
        ("<html>Bad gateway</html>", 500, PeerFailedError),
        (ENVELOPE.format('<Other xmlns="urn:x"/>'), 200, AnswerError),
        ('<!DOCTYPE x [<!ENTITY a "aa">]>' + ENVELOPE.format(ORDERS.replace(">p<", ">&a;<")), 200, AnswerError),
        (ENVELOPE.format(ORDERS)[:-40], 200, AnswerError),
    ],
)
def test_what_is_no_answer_is_never_an_empty_list(body: str, status: int, kind: type[ConnectorError]) -> None:
    with pytest.raises(kind):
        rows(answering(body, status))


@pytest.mark.parametrize(
    ("more", "kind"),
    [
        ('<xsd:import namespace="urn:y" schemaLocation="file:///etc/passwd"/>', AnswerError),
        ('<xsd:include schemaLocation="http://169.254.169.254/latest/meta-data"/>', EgressRefusedError),
    ],
)
def test_imports_lead_nowhere_else(more: str, kind: type[ConnectorError]) -> None:
    with pytest.raises(kind):
        rows(answering(ENVELOPE.format(ORDERS)), more=more)


def test_a_wsdl_file_imports_files_beside_it_only(tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    (tmp_path / "secret.xsd").write_text("<a/>")
    file = tmp_path / "in" / "x.wsdl"
    file.write_bytes(wsdl("http://127.0.0.1:1/x", '<xsd:include schemaLocation="../secret.xsd"/>'))
    service = Service(SoapSettings.parse({"base_url": "http://127.0.0.1:1/x", "wsdl": str(file)}), None)
    with pytest.raises(AnswerError, match="no address of a service"):
        service.description.operations()
    service.close()


def test_imports_in_a_circle_end() -> None:
    more = '<xsd:include schemaLocation="x?wsdl=2"/>'

    def described(url: str) -> bytes:
        return wsdl(f"{url}/x", more)

    with pytest.raises(AnswerError):
        rows(answering(ENVELOPE.format(ORDERS)), described=described)


def test_a_wsdl_with_a_document_type_is_refused() -> None:
    bomb = b'<!DOCTYPE x [<!ENTITY a "aaaa"><!ENTITY b "&a;&a;&a;&a;">]><definitions>&b;</definitions>'
    with pytest.raises(AnswerError, match="document type"):
        rows(answering(""), described=lambda _: bomb)


def test_calls_go_nowhere_that_the_wsdl_says_within_a_private_network() -> None:
    with pytest.raises(EgressRefusedError):
        rows(answering(""), described=lambda _: wsdl("http://10.1.2.3/x"))


def _rsa(folder: Path) -> str:
    """A file with an RSA key and its certificate."""
    key = rsa.generate_private_key(65537, 2048)
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "client")])
    now = datetime.now(UTC)
    builder = x509.CertificateBuilder(name, name, key.public_key(), 1, now, now + timedelta(days=1))
    certificate = builder.sign(key, hashes.SHA256())
    plain = serialization.NoEncryption()
    pem = key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, plain)
    (folder / "client.pem").write_bytes(certificate.public_bytes(serialization.Encoding.PEM) + pem)
    return str(folder / "client.pem")


def test_calls_carry_a_user_and_a_signature(tmp_path: Path) -> None:
    bodies: list[bytes] = []

    def answer(asked: Asked, out: Out) -> None:
        bodies.append(asked.body)
        answering(ENVELOPE.format(ORDERS))(asked, out)

    file = _rsa(tmp_path)
    told = {
        "user": "me", "password": "s3cret", "digest": True, "lifetime_seconds": 300,
        "cert_file": file, "key_file": file,
    }  # fmt: skip
    rows(answer, security=told)
    assert b"s3cret" not in bodies[0]
    assert b"PasswordDigest" in bodies[0]
    assert b"rsa-sha256" in bodies[0]
    from lxml import etree
    from zeep.wsse.signature import BinarySignature

    BinarySignature(file, file).verify(etree.fromstring(bodies[0]))
