"""Services of the years before WS-I: rpc/encoded with references and arrays (Axis 1), attachments beside a body."""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Callable
from contextlib import closing
from email import message_from_bytes
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from tongqu.connectors.soap.service import Service
from tongqu.connectors.soap.settings import SoapSettings
from tongqu.connectors.soap.sink import SoapSink
from tongqu.connectors.soap.source import SoapSource
from tongqu.core.data import Dataset, Read, Split, Write, WriteMode
from tongqu.core.errors import AnswerError, InvalidSettingsError
from tongqu.kit.http.call import Repeat
from tongqu.testing.pour import pour
from tongqu.testing.services.http_peer import Asked, HttpPeer, Out

AXIS = """<wsdl:definitions xmlns:wsdl="http://schemas.xmlsoap.org/wsdl/" targetNamespace="urn:QMS" xmlns:tns="urn:QMS"
 xmlns:soap="http://schemas.xmlsoap.org/wsdl/soap/" xmlns:soapenc="http://schemas.xmlsoap.org/soap/encoding/"
 xmlns:xsd="http://www.w3.org/2001/XMLSchema" xmlns:mime="http://schemas.xmlsoap.org/wsdl/mime/"
 xmlns:apachesoap="http://xml.apache.org/xml-soap">
<wsdl:types><schema targetNamespace="urn:QMS" xmlns="http://www.w3.org/2001/XMLSchema">
 <import namespace="http://schemas.xmlsoap.org/soap/encoding/"/>
 <complexType name="Lot"><sequence><element name="lotNo" nillable="true" type="soapenc:string"/>
  <element name="qty" type="xsd:int"/><element name="grade" nillable="true" type="tns:Grade"/>
  <element name="marks" nillable="true" type="tns:ArrayOf_xsd_string"/></sequence></complexType>
 <complexType name="Grade"><sequence><element name="code" type="xsd:string"/></sequence></complexType>
 <complexType name="ArrayOfLot"><complexContent><restriction base="soapenc:Array">
  <attribute ref="soapenc:arrayType" wsdl:arrayType="tns:Lot[]"/></restriction></complexContent></complexType>
 <complexType name="ArrayOf_xsd_string"><complexContent><restriction base="soapenc:Array">
  <attribute ref="soapenc:arrayType" wsdl:arrayType="xsd:string[{ranks}]"/></restriction></complexContent></complexType>
</schema></wsdl:types>
<wsdl:message name="listIn"/>
<wsdl:message name="listOut"><wsdl:part name="listLotsReturn" type="tns:ArrayOfLot"/></wsdl:message>
<wsdl:message name="saveIn"><wsdl:part name="lot" type="tns:Lot"/></wsdl:message>
<wsdl:message name="saveOut"><wsdl:part name="saveLotReturn" type="xsd:int"/></wsdl:message>
<wsdl:message name="fileIn"><wsdl:part name="no" type="xsd:string"/>
<wsdl:part name="file" type="apachesoap:DataHandler"/>
</wsdl:message><wsdl:message name="fileOut"><wsdl:part name="r" type="xsd:int"/></wsdl:message>
<wsdl:portType name="P"><wsdl:operation name="listLots"><wsdl:input message="tns:listIn"/>
 <wsdl:output message="tns:listOut"/></wsdl:operation>
 <wsdl:operation name="saveLot"><wsdl:input message="tns:saveIn"/><wsdl:output message="tns:saveOut"/></wsdl:operation>
 <wsdl:operation name="putFile"><wsdl:input message="tns:fileIn"/><wsdl:output message="tns:fileOut"/></wsdl:operation>
</wsdl:portType>
<wsdl:binding name="B" type="tns:P"><soap:binding style="{style}" transport="http://schemas.xmlsoap.org/soap/http"/>
 <wsdl:operation name="listLots"><soap:operation soapAction=""/><wsdl:input>{body}</wsdl:input>
  <wsdl:output>{body}</wsdl:output></wsdl:operation>
 <wsdl:operation name="saveLot"><soap:operation soapAction=""/><wsdl:input>{body}</wsdl:input>
  <wsdl:output>{body}</wsdl:output></wsdl:operation>
 <wsdl:operation name="putFile"><soap:operation soapAction=""/><wsdl:input><mime:multipartRelated>
   <mime:part>{body}</mime:part><mime:part><mime:content part="file" type="*/*"/></mime:part></mime:multipartRelated>
  </wsdl:input><wsdl:output>{body}</wsdl:output></wsdl:operation>
</wsdl:binding>
<wsdl:service name="S"><wsdl:port name="P" binding="tns:B"><soap:address location="{address}"/></wsdl:port>
</wsdl:service></wsdl:definitions>"""
BODY = '<soap:body use="encoded" namespace="urn:QMS" encodingStyle="http://schemas.xmlsoap.org/soap/encoding/"/>'
ENVELOPE = """<soapenv:Envelope xmlns:soapenv="http://schemas.xmlsoap.org/soap/envelope/"
 xmlns:xsd="http://www.w3.org/2001/XMLSchema" xmlns:xsi="http://www.w3.org/2001/XMLSchema-instance"
 xmlns:soapenc="http://schemas.xmlsoap.org/soap/encoding/"><soapenv:Body>{}</soapenv:Body></soapenv:Envelope>"""
ENC = 'soapenv:encodingStyle="http://schemas.xmlsoap.org/soap/encoding/"'
REFERENCES = f"""<ns1:listLotsResponse {ENC} xmlns:ns1="urn:QMS"><listLotsReturn soapenc:arrayType="ns1:Lot[2]"
 xsi:type="soapenc:Array"><listLotsReturn href="#id0"/><listLotsReturn href="#id1"/></listLotsReturn>
</ns1:listLotsResponse>
<multiRef id="id1" soapenc:root="0" {ENC} xsi:type="ns2:Lot" xmlns:ns2="urn:QMS">
 <lotNo xsi:type="soapenc:string">批-2</lotNo><qty xsi:type="xsd:int">2</qty><grade href="#id2"/>
 <marks xsi:nil="true"/></multiRef>
<multiRef id="id0" soapenc:root="0" {ENC}><lotNo>L-1</lotNo><qty>1</qty><grade href="#id2"/>
 <marks soapenc:arrayType="xsd:string[2]" xsi:type="soapenc:Array"><marks>a</marks><marks>b</marks></marks></multiRef>
<multiRef id="id2" soapenc:root="0" {ENC}><code>A</code></multiRef>"""
SAVED = f'<r:saveLotResponse {ENC} xmlns:r="urn:QMS"><saveLotReturn>7</saveLotReturn></r:saveLotResponse>'
CIRCLE = f"""<r:listLotsResponse {ENC} xmlns:r="urn:QMS"><listLotsReturn soapenc:arrayType="r:Lot[1]"><i href="#a"/>
</listLotsReturn></r:listLotsResponse><m id="a" soapenc:root="0"><grade href="#b"/></m>
<m id="b"><code href="#a"/></m>"""
BOMB = (
    f'<r:listLotsResponse {ENC} xmlns:r="urn:QMS"><listLotsReturn soapenc:arrayType="r:Lot[1]"><i href="#n30"/>'
    "</listLotsReturn></r:listLotsResponse>"
    + "".join(f'<m id="n{n}"><a href="#n{n - 1}"/><b href="#n{n - 1}"/></m>' for n in range(1, 31))
    + '<m id="n0">x</m>'
)
LONG = (
    f'<r:listLotsResponse {ENC} xmlns:r="urn:QMS"><listLotsReturn soapenc:arrayType="r:Lot[600]">'
    + '<i href="#n"/>' * 600
    + f'</listLotsReturn></r:listLotsResponse><m id="n"><lotNo>{"x" * 1_000_000}</lotNo></m>'
)
SPARSE = f"""<r:listLotsResponse {ENC} xmlns:r="urn:QMS"><listLotsReturn soapenc:arrayType="r:Lot[9]">
<i soapenc:position="[3]"><qty>1</qty></i></listLotsReturn></r:listLotsResponse>"""


class Peer:
    """The service: answers with `answer`, keeps what it is sent."""

    def __init__(self, answer: str = REFERENCES, *, ranks: str = "", style: str = "rpc", body: str = BODY):
        self.answer, self.told = answer, {"ranks": ranks, "style": style, "body": body}
        self.asked: list[Asked] = []

    def __call__(self, asked: Asked, out: Out) -> None:
        if asked.method == "GET":
            address = f"http://{asked.headers['host']}/axis"
            out.answer(200, AXIS.format(address=address, **self.told).encode(), Content_Type="text/xml")
            return
        self.asked.append(asked)
        answer = SAVED if b"saveLot" in asked.body or b"putFile" in asked.body else self.answer
        out.answer(200, ENVELOPE.format(answer).encode(), Content_Type="text/xml; charset=utf-8")


def within(peer: Peer, act: Callable[[str], Any]) -> Any:
    with HttpPeer({"/axis": peer}) as server:
        return act(f"{server.url}/axis")


def rows(peer: Peer) -> list[dict[str, Any]]:
    def read(url: str) -> list[dict[str, Any]]:
        source = SoapSource(SoapSettings.parse({"base_url": url}))
        try:
            (dataset,) = source.datasets()
            read = Read(dataset, Split("0", dataset.name))
            return pa.Table.from_batches([batch.rows for batch in source.read(read)]).to_pylist()
        finally:
            source.close()

    found: list[dict[str, Any]] = within(peer, read)
    return found


def test_references_and_arrays_are_put_in_their_place() -> None:
    assert rows(Peer()) == [
        {"lotNo": "L-1", "qty": 1, "grade": '{"code":"A"}', "marks": '["a","b"]'},
        {"lotNo": "批-2", "qty": 2, "grade": '{"code":"A"}', "marks": None},
    ]


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        (CIRCLE, "circle"), (BOMB, "more than"), (LONG, "more than"), (SPARSE, "left out"),
        (REFERENCES.replace('id="id2"', 'id="id9"'), "did not come"),
    ],
)  # fmt: skip
def test_references_that_make_no_answer_are_refused(answer: str, said: str) -> None:
    with pytest.raises(AnswerError, match=said):
        rows(Peer(answer))


def test_arrays_of_several_dimensions_are_refused_with_the_next_step() -> None:
    with pytest.raises(AnswerError, match=r"several dimensions \(ArrayOf_xsd_string\)") as caught:
        rows(Peer(ranks=","))
    assert "plain list" in caught.value.hint


def test_a_record_is_written_encoded(tmp_path: Path) -> None:
    peer = Peer()

    def put(url: str) -> None:
        create = {"operation": "saveLot", "arguments": {"lot": "{*}"}, "id": "saveLotReturn"}
        told = {"base_url": url, "datasets": {"lots": {"operation": "listLots", "write": {"create": create}}}}
        marks = pa.array([["a", "b"]], pa.list_(pa.string()))
        table = pa.table({"lotNo": ["批-3"], "qty": pa.array([3], pa.int32()), "marks": marks})
        write = Write("lots", Dataset("lots", table.schema), WriteMode.APPEND, "sync", "run")
        with closing(SoapSink(SoapSettings.parse(told))) as sink:
            sink.lodge(tmp_path)
            assert (pour(sink, write, [table]).inserted, sink.quarantined()) == (1, [])

    within(peer, put)
    body = peer.asked[-1].body.decode()
    assert "encodingStyle" in body
    for said in (
        'xsi:type="t0:Lot"',
        'xsi:type="xsd:string">批-3',
        'xsi:type="xsd:int">3',
        'arrayType="xsd:string[2]"',
    ):
        assert said in body


def sent(peer: Peer, operation: str, arguments: dict[str, Any], **more: Any) -> Any:
    def call(url: str) -> None:
        service = Service(SoapSettings.parse({"base_url": url, **more}), None)
        try:
            service.call(operation, arguments, "", repeat=Repeat.NEVER)
        finally:
            service.close()

    within(peer, call)
    asked = peer.asked[-1]
    kind = asked.headers["content-type"].encode()
    message: Any = message_from_bytes(b"Content-Type: " + kind + b"\r\n\r\n" + asked.body)
    return message


@pytest.mark.parametrize("use", ["encoded", "literal"])
def test_a_part_that_the_wsdl_binds_as_an_attachment_goes_as_one(use: str) -> None:
    peer = Peer(body=BODY.replace("encoded", use, 1))
    root, part = sent(peer, "putFile", {"no": "L-1", "file": "iVBORw0KGgo="}).get_payload()
    name = part["Content-ID"].strip("<>")
    assert part.get_payload(decode=True) == b"\x89PNG\r\n\x1a\n"
    assert f'href="cid:{name}"' in root.get_payload()
    assert "iVBOR" not in root.get_payload()


def test_a_document_with_attachments_as_parts_is_refused_with_the_next_step() -> None:
    with pytest.raises(InvalidSettingsError, match="attachments as parts") as caught:
        sent(Peer(style="document", body='<soap:body use="literal"/>'), "putFile", {})
    assert "mtom" in caught.value.hint


# ---- attachments of document/literal services

PHOTOS = """<definitions xmlns="http://schemas.xmlsoap.org/wsdl/" xmlns:s="http://schemas.xmlsoap.org/wsdl/soap12/"
 xmlns:x="http://www.w3.org/2001/XMLSchema" xmlns:t="urn:t" targetNamespace="urn:t"><types>
<x:schema targetNamespace="urn:t" elementFormDefault="qualified" xmlns:ref="http://ws-i.org/profiles/basic/1.1/xsd">
 <x:import namespace="http://ws-i.org/profiles/basic/1.1/xsd"/>
 <x:complexType name="Photo"><x:sequence><x:element name="no" type="x:string"/><x:element name="data"
  type="x:base64Binary" minOccurs="0"/><x:element name="scan" type="ref:swaRef" minOccurs="0"/></x:sequence>
 </x:complexType>
 <x:element name="put"><x:complexType><x:sequence><x:element name="photo" type="t:Photo"/></x:sequence></x:complexType>
 </x:element><x:element name="list"><x:complexType><x:sequence/></x:complexType></x:element>
 <x:element name="done"><x:complexType><x:sequence><x:element name="photo" type="t:Photo" minOccurs="0"
  maxOccurs="unbounded"/></x:sequence></x:complexType></x:element></x:schema></types>
<message name="I"><part name="p" element="t:put"/></message>
<message name="L"><part name="p" element="t:list"/></message>
<message name="O"><part name="p" element="t:done"/></message>
<portType name="P"><operation name="put"><input message="t:I"/><output message="t:O"/></operation>
<operation name="list"><input message="t:L"/><output message="t:O"/></operation></portType>
<binding name="B" type="t:P"><s:binding style="document" transport="http://schemas.xmlsoap.org/soap/http"/>
<operation name="put"><s:operation soapAction="urn:put"/><input><s:body use="literal"/></input><output><s:body
 use="literal"/></output></operation><operation name="list"><s:operation soapAction="urn:list"/><input><s:body
 use="literal"/></input><output><s:body use="literal"/></output></operation></binding>
<service name="S"><port name="P" binding="t:B"><s:address location="{address}"/></port></service></definitions>"""
DONE = '<e:Envelope xmlns:e="http://www.w3.org/2003/05/soap-envelope"><e:Body>{}</e:Body></e:Envelope>'


class Photos(Peer):
    """A SOAP 1.2 service whose list comes with attachments: one by `href`, one by the text of a swaRef."""

    times, data = 1, b"\x89PNG"

    def __call__(self, asked: Asked, out: Out) -> None:
        """Answer."""
        if asked.method == "GET":
            text = PHOTOS.format(address=f"http://{asked.headers['host']}/axis")
            out.answer(200, text.encode(), Content_Type="text/xml")
            return
        self.asked.append(asked)
        photo = '<photo><no>1</no><data href="cid:a@x"/><scan>cid:b@x</scan></photo>' if b"list" in asked.body else ""
        root = DONE.format(f'<done xmlns="urn:t">{photo * self.times}</done>').encode()
        parts = b"--m\r\nContent-Type: application/soap+xml\r\n\r\n" + root
        for name in (b"a", b"b"):
            parts += b"\r\n--m\r\nContent-Type: image/png\r\nContent-ID: <" + name + b"@x>\r\n\r\n" + self.data + name
        kind = 'multipart/related; type="application/soap+xml"; boundary=m'
        out.answer(200, parts + b"\r\n--m--\r\n", Content_Type=kind)


def test_attachments_beside_an_answer_stand_where_they_are_named() -> None:
    assert rows(Photos()) == [{"no": "1", "data": b"\x89PNGa", "scan": b"\x89PNGb"}]


def test_an_attachment_that_is_named_again_and_again_does_not_fill_the_memory() -> None:
    photos = Photos()
    photos.times, photos.data = 100, b"p" * 1_000_000
    with pytest.raises(AnswerError, match="so often"):
        rows(photos)


def test_large_binary_goes_as_an_attachment_where_that_is_wanted() -> None:
    data, small = bytes(range(256)) * 8, "AAEC"
    arguments = {"photo": {"no": "客户-1", "data": b64encode(data).decode(), "scan": small}}
    root, part = sent(Photos(), "put", arguments, attachments="mtom").get_payload()
    text = root.get_payload(decode=True).decode()
    assert root["Content-Type"].startswith('application/xop+xml; charset=utf-8; type="application/soap+xml')
    assert part.get_payload(decode=True) == data
    assert f'href="cid:{part["Content-ID"].strip("<>")}"' in text
    assert "xop:Include" in text
    assert small in text
    assert "客户-1" in text
    plain = Photos()
    assert not sent(plain, "put", arguments).is_multipart()
    assert b64encode(data) in plain.asked[-1].body
