"""WSDLs as vendors' tools write them (.NET asmx, CXF): connected to without settings, read, written, refused."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from tongqu.connectors.soap.settings import SoapSettings
from tongqu.connectors.soap.sink import SoapSink
from tongqu.connectors.soap.source import SoapSource
from tongqu.core.data import Dataset, Mode, Read, Split, Write, WriteMode
from tongqu.kit.xml_tree import local, tree
from tongqu.testing.command_line import inside
from tongqu.testing.pour import pour
from tongqu.testing.services.http_peer import Asked, Handler, HttpPeer, Out

# a .NET service: types in documents at relative addresses, three ports of which two speak SOAP, ArrayOf…, a choice
ASMX = """<?xml version="1.0" encoding="utf-8"?>
<wsdl:definitions xmlns:s="http://www.w3.org/2001/XMLSchema" xmlns:soap12="http://schemas.xmlsoap.org/wsdl/soap12/"
 xmlns:http="http://schemas.xmlsoap.org/wsdl/http/" xmlns:mime="http://schemas.xmlsoap.org/wsdl/mime/"
 xmlns:tns="http://tempuri.org/" xmlns:soap="http://schemas.xmlsoap.org/wsdl/soap/"
 xmlns:tm="http://microsoft.com/wsdl/mime/textMatching/" xmlns:wsdl="http://schemas.xmlsoap.org/wsdl/"
 targetNamespace="http://tempuri.org/">
<wsdl:types><s:schema elementFormDefault="qualified" targetNamespace="http://tempuri.org/">
 <s:include schemaLocation="types/orders.xsd"/>
 <s:element name="GetOrders"><s:complexType><s:sequence>
  <s:element minOccurs="0" maxOccurs="1" name="since" nillable="true" type="s:dateTime"/></s:sequence></s:complexType>
 </s:element>
 <s:element name="GetOrdersResponse"><s:complexType><s:sequence>
  <s:element minOccurs="0" maxOccurs="1" name="GetOrdersResult" type="tns:ArrayOfOrder"/></s:sequence></s:complexType>
 </s:element>
 <s:element name="SaveOrder"><s:complexType><s:sequence>
  <s:element minOccurs="0" maxOccurs="1" name="order" type="tns:Order"/></s:sequence></s:complexType></s:element>
 <s:element name="SaveOrderResponse"><s:complexType><s:sequence>
  <s:element minOccurs="1" maxOccurs="1" name="SaveOrderResult" type="s:boolean"/></s:sequence></s:complexType>
 </s:element></s:schema></wsdl:types>
<wsdl:message name="GetOrdersSoapIn"><wsdl:part name="parameters" element="tns:GetOrders"/></wsdl:message>
<wsdl:message name="GetOrdersSoapOut"><wsdl:part name="parameters" element="tns:GetOrdersResponse"/></wsdl:message>
<wsdl:message name="SaveOrderSoapIn"><wsdl:part name="parameters" element="tns:SaveOrder"/></wsdl:message>
<wsdl:message name="SaveOrderSoapOut"><wsdl:part name="parameters" element="tns:SaveOrderResponse"/></wsdl:message>
<wsdl:message name="PingHttpGetIn"/><wsdl:message name="PingHttpGetOut"><wsdl:part name="Body" type="s:string"/>
</wsdl:message>
<wsdl:portType name="PingHttpGet"><wsdl:operation name="Ping"><wsdl:input message="tns:PingHttpGetIn"/>
 <wsdl:output message="tns:PingHttpGetOut"/></wsdl:operation></wsdl:portType>
<wsdl:portType name="OrdersSoap">
 <wsdl:operation name="GetOrders"><wsdl:input message="tns:GetOrdersSoapIn"/>
  <wsdl:output message="tns:GetOrdersSoapOut"/></wsdl:operation>
 <wsdl:operation name="SaveOrder"><wsdl:input message="tns:SaveOrderSoapIn"/>
  <wsdl:output message="tns:SaveOrderSoapOut"/></wsdl:operation></wsdl:portType>
<wsdl:binding name="OrdersHttpGet" type="tns:PingHttpGet"><http:binding verb="GET"/>
 <wsdl:operation name="Ping"><http:operation location="/Ping"/><wsdl:input><http:urlEncoded/></wsdl:input>
 <wsdl:output><mime:mimeXml part="Body"/></wsdl:output></wsdl:operation></wsdl:binding>
{bindings}
<wsdl:service name="Orders">
 <wsdl:port name="OrdersHttpGet" binding="tns:OrdersHttpGet"><http:address location="{url}"/></wsdl:port>
 <wsdl:port name="OrdersSoap" binding="tns:OrdersSoap"><soap:address location="{url}"/></wsdl:port>
 <wsdl:port name="OrdersSoap12" binding="tns:OrdersSoap12"><soap12:address location="{url}"/></wsdl:port>
</wsdl:service></wsdl:definitions>"""
BINDING = """<wsdl:binding name="Orders{n}" type="tns:OrdersSoap">
 <{p}:binding transport="http://schemas.xmlsoap.org/soap/http"/>
 <wsdl:operation name="GetOrders"><{p}:operation soapAction="http://tempuri.org/GetOrders" style="document"/>
  <wsdl:input><{p}:body use="literal"/></wsdl:input><wsdl:output><{p}:body use="literal"/></wsdl:output>
 </wsdl:operation>
 <wsdl:operation name="SaveOrder"><{p}:operation soapAction="http://tempuri.org/SaveOrder" style="document"/>
  <wsdl:input><{p}:body use="literal"/></wsdl:input><wsdl:output><{p}:body use="literal"/></wsdl:output>
 </wsdl:operation></wsdl:binding>"""
ORDERS_XSD = """<s:schema xmlns:s="http://www.w3.org/2001/XMLSchema" xmlns:tns="http://tempuri.org/"
 elementFormDefault="qualified" targetNamespace="http://tempuri.org/"><s:include schemaLocation="../lines.xsd"/>
 <s:complexType name="ArrayOfOrder"><s:sequence>
  <s:element minOccurs="0" maxOccurs="unbounded" name="Order" nillable="true" type="tns:Order"/></s:sequence>
 </s:complexType>
 <s:complexType name="Entity"><s:sequence><s:element name="OrderNo" minOccurs="0" type="s:string"/></s:sequence>
 </s:complexType>
 <s:complexType name="Order"><s:complexContent mixed="false"><s:extension base="tns:Entity"><s:sequence>
  <s:element minOccurs="1" name="Id" type="tns:guid"/>
  <s:element minOccurs="1" name="Amount" nillable="true" type="s:decimal"/>
  <s:element minOccurs="1" name="Changed" type="s:dateTime"/>
  <s:choice><s:element name="Plant" type="s:string"/><s:element name="Branch" type="s:int"/></s:choice>
  <s:element minOccurs="0" name="Lines" type="tns:ArrayOfLine"/>
 </s:sequence></s:extension></s:complexContent></s:complexType>
 <s:simpleType name="guid"><s:restriction base="s:string"><s:pattern value="[0-9a-f-]{36}"/></s:restriction>
 </s:simpleType></s:schema>"""
LINES_XSD = """<s:schema xmlns:s="http://www.w3.org/2001/XMLSchema" xmlns:tns="http://tempuri.org/"
 elementFormDefault="qualified" targetNamespace="http://tempuri.org/">
 <s:complexType name="ArrayOfLine"><s:sequence><s:element minOccurs="0" maxOccurs="unbounded" name="Line"
  nillable="true" type="tns:Line"/></s:sequence></s:complexType>
 <s:complexType name="Line"><s:sequence><s:element name="Item" type="s:string"/>
  <s:element name="Tags" minOccurs="0" type="tns:ArrayOfString"/></s:sequence></s:complexType>
 <s:complexType name="ArrayOfString"><s:sequence><s:element minOccurs="0" maxOccurs="unbounded" name="string"
  nillable="true" type="s:string"/></s:sequence></s:complexType></s:schema>"""
ORDER = """<Order><OrderNo>订单-1</OrderNo><Id>005056a2-1234-1ed9-a0b1-000000000001</Id><Amount>12.50</Amount>
<Changed>2026-01-02T08:00:00.1234567+08:00</Changed><Plant>P1</Plant><Lines><Line><Item>A</Item><Tags><string>x</string>
<string>y</string></Tags></Line></Lines></Order><Order xsi:nil="true"/>
<Order><Id>005056a2-1234-1ed9-a0b1-000000000002</Id><Amount xsi:nil="true"/><Changed>2026-01-03T00:00:00Z</Changed>
<Branch>7</Branch><Lines/></Order>"""
XSI = 'xmlns:xsi="http://www.w3.org/2001/XMLSchema-instance"'


def _document(text: str) -> Handler:
    def answer(_: Asked, out: Out) -> None:
        out.answer(200, text.encode(), Content_Type="text/xml")

    return answer


class Asmx(HttpPeer):
    """The .NET service; it refuses an order of a negative amount with a fault, and keeps what is saved."""

    def __init__(self) -> None:
        self.saved: list[str] = []
        super().__init__({"/Orders.asmx": self._answer})
        self.routes |= {"/types/orders.xsd": _document(ORDERS_XSD), "/lines.xsd": _document(LINES_XSD)}

    def _answer(self, asked: Asked, out: Out) -> None:
        if asked.method == "GET":
            bindings = BINDING.format(n="Soap", p="soap") + BINDING.format(n="Soap12", p="soap12")
            text = ASMX.format(url=f"{self.url}/Orders.asmx", bindings=bindings)
            out.answer(200, text.encode(), Content_Type="text/xml; charset=utf-8")
            return
        space = tree(asked.body, "call").tag[1:].partition("}")[0]
        body = next(one for one in tree(asked.body, "call") if local(one.tag) == "Body")[0]
        if local(body.tag) == "GetOrders":
            answer = f'<GetOrdersResponse xmlns="http://tempuri.org/" {XSI}><GetOrdersResult>{ORDER}</GetOrdersResult>'
            answer += "</GetOrdersResponse>"
        elif b">-" in asked.body:
            answer = "<s:Fault><faultcode>s:Client</faultcode><faultstring>金额不能为负</faultstring></s:Fault>"
        else:
            self.saved.append(asked.body.decode())
            answer = '<SaveOrderResponse xmlns="http://tempuri.org/"><SaveOrderResult>true</SaveOrderResult>'
            answer += "</SaveOrderResponse>"
        whole = f'<s:Envelope xmlns:s="{space}"><s:Body>{answer}</s:Body></s:Envelope>'
        out.answer(500 if "Fault" in answer else 200, whole.encode(), Content_Type=asked.headers["content-type"])


@pytest.fixture
def asmx() -> Iterator[Asmx]:
    with Asmx() as made:
        yield made


def rows(told: SoapSettings, name: str, **more: Any) -> list[dict[str, Any]]:
    with closing(SoapSource(told)) as source:
        (dataset,) = source.datasets([name])
        read = Read(dataset, Split("0", name, more.pop("spec", {})), **more)
        return pa.Table.from_batches([batch.rows for batch in source.read(read)]).to_pylist()


def test_a_net_service_needs_no_settings(asmx: Asmx) -> None:
    """`since` is not needed, so its list is found; the first port that speaks SOAP is called. A record that is nil is
    a row of nulls."""
    found = rows(SoapSettings(base_url=f"{asmx.url}/Orders.asmx"), "GetOrders")
    assert found.pop(1) == dict.fromkeys(found[0])
    assert found == [
        {
            "OrderNo": "订单-1", "Id": "005056a2-1234-1ed9-a0b1-000000000001", "Amount": Decimal("12.5000000000"),
            "Changed": datetime(2026, 1, 2, 0, 0, 0, 123456, tzinfo=UTC), "Plant": "P1", "Branch": None,
            "Lines": '[{"Item":"A","Tags":["x","y"]}]',
        },
        {
            "OrderNo": None, "Id": "005056a2-1234-1ed9-a0b1-000000000002", "Amount": None,
            "Changed": datetime(2026, 1, 3, tzinfo=UTC), "Plant": None, "Branch": 7, "Lines": None,
        },
    ]  # fmt: skip


@pytest.mark.parametrize("port", ["OrdersSoap", "OrdersSoap12"])
def test_its_changes_are_asked_for_on_any_port(asmx: Asmx, port: str) -> None:
    dataset = {"key": "Id", "incremental": {"cursor": "Changed", "param": "since"}}
    told = SoapSettings.parse(
        {"base_url": f"{asmx.url}/Orders.asmx", "port_name": port, "datasets": {"GetOrders": dataset}}
    )
    spec = {"after": {"cursor": "2026-01-02T12:00:00+00:00"}, "until": {"cursor": "2026-02-01T00:00:00+00:00"}}
    found = rows(told, "GetOrders", spec=spec, mode=Mode.INCREMENTAL, cursor="Changed")
    assert [row["Branch"] for row in found] == [7]
    assert b"2026-01-02T12:00:00Z" in asmx.calls[-1].body


def test_its_records_are_written_back_and_its_faults_quarantined(asmx: Asmx, tmp_path: Path) -> None:
    save = {"operation": "SaveOrder", "ok": "SaveOrderResult=true"}
    told = {"base_url": f"{asmx.url}/Orders.asmx", "datasets": {"orders": {"write": {"create": save}}}}
    table = pa.table(
        {
            "Id": ["005056a2-1234-1ed9-a0b1-000000000001", "005056a2-1234-1ed9-a0b1-000000000002"],
            "Amount": pa.array([Decimal("1.10"), Decimal("-1.00")], pa.decimal128(12, 2)),
            "Changed": pa.array([datetime(2026, 1, 2, tzinfo=UTC)] * 2, pa.timestamp("us", "UTC")),
            "Branch": pa.array([7, 8], pa.int32()),
            "Lines": pa.array([[{"Item": "A", "Tags": ["x", "y"]}]] * 2),
        }
    )
    write = Write("orders", Dataset("orders", table.schema), WriteMode.APPEND, "sync", "run 1")
    with closing(SoapSink(SoapSettings.parse(told))) as sink:
        sink.lodge(tmp_path)
        counts = pour(sink, write, [table])
        (bad,) = sink.quarantined()
    assert (counts.inserted, counts.quarantined) == (1, 1)
    assert "金额不能为负" in bad["message"]
    (saved,) = asmx.saved
    order = next(one for one in tree(saved.encode(), "").iter() if local(one.tag) == "order")
    assert [local(one.tag) for one in order] == ["Id", "Amount", "Changed", "Branch", "Lines"]
    assert [one.text for one in order.iter() if local(one.tag) == "string"] == ["x", "y"]


# ---- CXF: the WSDL imports its port types, its schemas have any, enumerations, zones, binary

CXF = """<wsdl:definitions xmlns:wsdl="http://schemas.xmlsoap.org/wsdl/" name="LotServiceService"
 xmlns:xs="http://www.w3.org/2001/XMLSchema" xmlns:soap="http://schemas.xmlsoap.org/wsdl/soap/"
 xmlns:ns1="http://api.mes.example/" xmlns:tns="http://impl.mes.example/" targetNamespace="http://impl.mes.example/">
<wsdl:import location="{url}?wsdl=LotService.wsdl" namespace="http://api.mes.example/"/>
<wsdl:binding name="B" type="ns1:LotService"><soap:binding style="document"
 transport="http://schemas.xmlsoap.org/soap/http"/><wsdl:operation name="findLots"><soap:operation soapAction=""
 style="document"/><wsdl:input name="findLots"><soap:body use="literal"/></wsdl:input><wsdl:output
 name="findLotsResponse"><soap:body use="literal"/></wsdl:output></wsdl:operation></wsdl:binding>
<wsdl:service name="LotServiceService"><wsdl:port binding="tns:B" name="LotServicePort">
 <soap:address location="{url}"/></wsdl:port></wsdl:service></wsdl:definitions>"""
PORTS = """<wsdl:definitions xmlns:wsdl="http://schemas.xmlsoap.org/wsdl/" xmlns:xs="http://www.w3.org/2001/XMLSchema"
 xmlns:ns1="http://api.mes.example/" targetNamespace="http://api.mes.example/"><wsdl:types>
<xs:schema xmlns:tns="http://api.mes.example/" elementFormDefault="unqualified" version="1.0"
 targetNamespace="http://api.mes.example/">
 <xs:element name="findLots" type="tns:findLots"/><xs:element name="findLotsResponse" type="tns:findLotsResponse"/>
 <xs:complexType name="findLots"><xs:sequence/></xs:complexType>
 <xs:complexType name="findLotsResponse"><xs:sequence><xs:element maxOccurs="unbounded" minOccurs="0" name="return"
  type="tns:lot"/></xs:sequence></xs:complexType>
 <xs:complexType name="lot"><xs:sequence><xs:element name="批号" type="xs:string"/>
  <xs:element minOccurs="0" name="state" type="tns:lotState"/><xs:element minOccurs="0" name="at" type="xs:dateTime"/>
  <xs:element minOccurs="0" name="photo" type="xs:base64Binary"/>
  <xs:element minOccurs="0" name="count" type="xs:unsignedLong"/>
  <xs:any maxOccurs="unbounded" minOccurs="0" namespace="##other" processContents="lax"/></xs:sequence>
  <xs:attribute name="version" type="xs:int"/><xs:anyAttribute/></xs:complexType>
 <xs:simpleType name="lotState"><xs:restriction base="xs:string"><xs:enumeration value="OPEN"/>
  <xs:enumeration value="CLOSED"/></xs:restriction></xs:simpleType></xs:schema></wsdl:types>
<wsdl:message name="findLots"><wsdl:part element="ns1:findLots" name="parameters"/></wsdl:message>
<wsdl:message name="findLotsResponse"><wsdl:part element="ns1:findLotsResponse" name="parameters"/></wsdl:message>
<wsdl:portType name="LotService"><wsdl:operation name="findLots"><wsdl:input message="ns1:findLots" name="findLots"/>
 <wsdl:output message="ns1:findLotsResponse" name="findLotsResponse"/></wsdl:operation></wsdl:portType>
</wsdl:definitions>"""
LOTS = """<soap:Envelope xmlns:soap="http://schemas.xmlsoap.org/soap/envelope/"><soap:Body>
<ns2:findLotsResponse xmlns:ns2="http://api.mes.example/"><return version="3"><批号>L-1</批号><state>OPEN</state>
<at>2026-03-29T02:30:00+05:45</at><photo>iVBORw0KGgo=</photo><count>18446744073709551615</count>
<x:extra xmlns:x="urn:x">e</x:extra></return></ns2:findLotsResponse></soap:Body></soap:Envelope>"""


def _cxf(asked: Asked, out: Out) -> None:
    text = CXF.format(url=f"http://{asked.headers['host']}/lots")
    if asked.method == "POST":
        text = LOTS
    elif asked.query.get("wsdl"):
        text = PORTS
    out.answer(200, text.encode(), Content_Type="text/xml;charset=UTF-8")


def test_a_cxf_service_needs_no_settings() -> None:
    with HttpPeer({"/lots": _cxf}) as peer:
        (found,) = rows(SoapSettings.parse({"base_url": f"{peer.url}/lots", "allow": ["127.0.0.1"]}), "findLots")
    assert found == {
        "@version": 3, "批号": "L-1", "state": "OPEN", "at": datetime(2026, 3, 28, 20, 45, tzinfo=UTC),
        "photo": b"\x89PNG\r\n\x1a\n", "count": Decimal(2**64 - 1),
    }  # fmt: skip


@pytest.mark.parametrize("named", [True, False])
def test_a_soap_connection_is_assessed_by_its_own_wsdl(asmx: Asmx, tmp_path: Path, named: bool) -> None:
    wsdl = f"\n    wsdl: {asmx.url}/Orders.asmx?WSDL" if named else ""
    (tmp_path / "tongqu.yaml").write_text(
        f"connections:\n  erp:\n    type: soap\n    base_url: {asmx.url}/Orders.asmx{wsdl}\n", encoding="utf-8"
    )
    done = inside(tmp_path, "assess", "erp", "--checklist", "erp", "--json")
    assert done.code == 0, done.err + done.out
    interface = done.document["interface"]
    assert (interface["title"], interface["protocol"]) == ("Orders", "WSDL 1.1, SOAP 1.1 and 1.2")
    assert not [one for one in done.document["findings"] if one["id"] == "protocol.unread"]
