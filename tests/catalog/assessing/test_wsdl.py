"""WSDL documents as interfaces: what they describe, and what they must not do."""

from __future__ import annotations

import pytest

from tongqu.catalog.assessing.checklist import ready
from tongqu.catalog.assessing.scenarios import coverage
from tongqu.catalog.assessing.shapes import Interface, fields
from tongqu.catalog.assessing.wsdl import interface_of
from tongqu.core.errors import InvalidSettingsError, NotFoundError

SERVICE = """<?xml version="1.0"?>
<w:definitions xmlns:w="http://schemas.xmlsoap.org/wsdl/" xmlns:s="http://schemas.xmlsoap.org/wsdl/soap/"
  xmlns:x="http://www.w3.org/2001/XMLSchema" xmlns:t="urn:qms:v2.1" targetNamespace="urn:qms:v2.1" name="Qms">
  <w:types><x:schema targetNamespace="urn:qms:v2.1">
    IMPORT
    <x:element name="GetInspectionResults"><x:complexType><x:sequence>
      <x:element name="pageNo" type="x:int"/><x:element name="updatedSince" type="x:dateTime" minOccurs="0"/>
    </x:sequence></x:complexType></x:element>
    <x:element name="GetInspectionResultsResponse"><x:complexType><x:sequence>
      <x:element name="total" type="x:int"/>
      <x:element name="result" type="t:Result" minOccurs="0" maxOccurs="unbounded"/>
    </x:sequence></x:complexType></x:element>
    <x:complexType name="Keyed"><x:sequence><x:element name="lotNo" type="x:string"><x:annotation>
      <x:documentation>批号</x:documentation></x:annotation></x:element></x:sequence></x:complexType>
    <x:complexType name="Result"><x:complexContent><x:extension base="t:Keyed"><x:sequence>
      <x:element name="itemCode" type="x:string"/>
      <x:element name="measuredValue" type="x:decimal" nillable="true"/>
      <x:element name="verdict" type="t:Verdict" minOccurs="0"/>
      <x:element name="parts" type="t:Result" minOccurs="0" maxOccurs="unbounded"/>
    </x:sequence></x:extension></x:complexContent></x:complexType>
    <x:simpleType name="Verdict"><x:restriction base="x:string"><x:enumeration value="ok"/><x:enumeration value="ng"/>
    </x:restriction></x:simpleType>
    <x:element name="Wrong"><x:complexType><x:sequence><x:element name="code" type="x:string"/>
      <x:element name="message" type="x:string"/></x:sequence></x:complexType></x:element>
  </x:schema></w:types>
  <w:message name="Ask"><w:part name="body" element="t:GetInspectionResults"/></w:message>
  <w:message name="Answer"><w:part name="body" element="t:GetInspectionResultsResponse"/></w:message>
  <w:message name="Fault"><w:part name="fault" element="t:Wrong"/></w:message>
  <w:message name="Cancel"><w:part name="lotNo" type="x:string"/></w:message>
  <w:portType name="QmsPort">
    <w:operation name="GetInspectionResults"><w:documentation>Inspection results</w:documentation>
      <w:input message="t:Ask"/><w:output message="t:Answer"/><w:fault name="f" message="t:Fault"/></w:operation>
    <w:operation name="CancelLot"><w:input message="t:Cancel"/></w:operation>
  </w:portType>
  <w:binding name="b" type="t:QmsPort"><s:binding transport="http://schemas.xmlsoap.org/soap/http"/></w:binding>
  <w:service name="QmsService"><w:port name="p" binding="t:b"><s:address location="https://qms.example/soap"/></w:port>
  </w:service>
</w:definitions>"""


def read(text: str = SERVICE, imports: dict[str, bytes] | None = None) -> Interface:
    asked = imports or {}

    def load(address: str) -> bytes:
        if address not in asked:
            raise NotFoundError("no", path=address)
        return asked[address]

    return interface_of(text.replace("IMPORT", "").encode(), "/docs/qms.wsdl", load)


def test_what_it_describes() -> None:
    interface = read()
    assert (interface.protocol, interface.title, interface.version) == ("WSDL 1.1, SOAP 1.1", "QmsService", "2.1")
    assert interface.servers == ("https://qms.example/soap",)
    results, cancel = interface.operations
    assert (results.label, *results.does, *results.statuses) == ("GetInspectionResults", "read", "200", "fault")
    assert cancel.does == {"delete"}
    assert results.records is not None
    known = {path: member for path, member in fields(results.records) if "." not in path}
    assert list(known) == ["lotNo", "itemCode", "measuredValue", "verdict", "parts"]
    assert (known["lotNo"].description, known["lotNo"].required, known["verdict"].required) == ("批号", True, False)
    assert known["measuredValue"].shape.nullable
    assert known["verdict"].shape.choices == ("ok", "ng")
    assert known["parts"].shape.type == "array"


def test_scenarios_are_found_in_it() -> None:
    states = {one.scenario: one.state for one in coverage(read(), ready("qms")).verdicts}
    assert {name for name, state in states.items() if state == "covered"} == {
        "inspection_results", "inspection_results_changed",
    }  # fmt: skip


def test_credentials_among_the_fields_are_seen() -> None:
    asked = '<x:element name="pageNo" type="x:int"/>'
    interface = read(SERVICE.replace(asked, f'{asked}<x:element name="apiKey" type="x:string"/>'))
    assert [one.access for one in interface.operations] == [(frozenset({"apiKey"}),), None]
    assert interface.schemes["apiKey"].where == "body"


@pytest.mark.parametrize(
    ("space", "version"),
    [
        ("http://fedex.com/ws/ship/v23", "23"),
        ("http://www.onvif.org/ver10/device/wsdl", "10"),
        ("urn:lots:2019-07", "2019-07"),
        ("urn:partner.soap.sforce.com", ""),
    ],
)
def test_the_version_is_that_of_the_namespace(space: str, version: str) -> None:
    text = SERVICE.replace('targetNamespace="urn:qms:v2.1" name="Qms"', f'targetNamespace="{space}" name="Qms"')
    assert read(text).version == version


def test_imports_are_read_once_and_may_go_in_circles() -> None:
    text = SERVICE.replace("IMPORT", '<x:include schemaLocation="more.xsd"/>')
    more = (
        b'<x:schema xmlns:x="http://www.w3.org/2001/XMLSchema"><x:include schemaLocation="more.xsd"/>'
        b'<x:complexType name="Plan"/></x:schema>'
    )
    assert read(text, {"/docs/more.xsd": more}).unread == ()
    assert read(text).unread == ("/docs/more.xsd",)


def test_types_that_multiply_end() -> None:
    again = "".join(f'<x:group ref="t:g{number}"/>' for number in range(20))
    groups = "".join(f'<x:group name="g{n}"><x:sequence>{again}</x:sequence></x:group>' for n in range(20))
    bomb = f'{groups}<x:complexType name="Bomb"><x:group ref="t:g0"/></x:complexType>'
    grown = SERVICE.replace("IMPORT", bomb).replace('name="itemCode" type="x:string"', 'name="itemCode" type="t:Bomb"')
    assert len(read(grown).operations) == 2


def test_a_simple_type_that_holds_itself_ends() -> None:
    odd = '<x:simpleType name="Odd"><x:sequence><x:element name="o" type="t:Odd"/></x:sequence></x:simpleType>'
    grown = SERVICE.replace("IMPORT", odd).replace('name="itemCode" type="x:string"', 'name="itemCode" type="t:Odd"')
    assert len(read(grown).operations) == 2


@pytest.mark.parametrize(
    "text",
    [
        '<!DOCTYPE d [<!ENTITY a "b">]><d>&a;</d>',
        "<definitions>",
        '<html xmlns="http://www.w3.org/1999/xhtml"/>',
        "<a>" * 300 + "</a>" * 300,
    ],
)
def test_what_is_no_wsdl_is_refused(text: str) -> None:
    with pytest.raises(InvalidSettingsError):
        read(text)
