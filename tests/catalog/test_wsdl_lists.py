"""What the operations of a WSDL become: a list with its pages and changes, and what writes its records."""

from __future__ import annotations

from tongqu.catalog.assessing.wsdl import interface_of
from tongqu.catalog.wsdl_lists import lists
from tongqu.kit.openapi.lists import Found

HEADER = '<x:element name="Head"><x:complexType><x:sequence><x:element name="Code" type="x:int"/>' \
    '<x:element name="Message" type="x:string" minOccurs="0"/></x:sequence></x:complexType></x:element>'  # fmt: skip
LOTS = '<x:element name="Lot" type="t:Lot" minOccurs="0" maxOccurs="unbounded"/>'
PAGES = """<x:element name="Ask"><x:complexType><x:sequence><x:element name="PageIndex" type="x:int"/>
  <x:element name="PageSize" type="x:int"/><x:element name="UpdateTimeFrom" type="x:dateTime" minOccurs="0"/>
  </x:sequence></x:complexType></x:element>"""
PLANT = '<x:element name="Plant" type="x:string"/>'
NO = '<x:element name="LotNo" type="x:string"/>'


def found(**operations: tuple[str, str]) -> dict[str, Found]:
    """The datasets and the others by operation, of a service with these arguments and answers."""
    elements, rest = "", ""
    for name, (takes, gives) in operations.items():
        for element, held in ((name, takes), (f"{name}Response", gives)):
            held = f"<x:complexType><x:sequence>{held}</x:sequence></x:complexType>"  # noqa: PLW2901
            elements += f'<x:element name="{element}">{held}</x:element>'
            rest += f'<message name="{element}"><part name="p" element="t:{element}"/></message>'
    ports = "".join(
        f'<operation name="{name}"><input message="t:{name}"/><output message="t:{name}Response"/></operation>'
        for name in operations
    )
    lot = f"""<x:complexType name="Lot"><x:sequence>{NO}<x:element name="Result" type="x:string" minOccurs="0"/>
      <x:element name="UpdateTime" type="x:dateTime"/></x:sequence></x:complexType>"""
    text = f"""<definitions xmlns="http://schemas.xmlsoap.org/wsdl/" xmlns:x="http://www.w3.org/2001/XMLSchema"
      xmlns:t="urn:q" targetNamespace="urn:q">
      <types><x:schema targetNamespace="urn:q">{lot}{elements}</x:schema></types>
      {rest}<portType name="P">{ports}</portType></definitions>"""

    def load(address: str) -> bytes:
        raise AssertionError(address)

    return {one.operation: one for one in lists(interface_of(text.encode(), "x.wsdl", load))}


def test_a_list_with_pages_in_a_request() -> None:
    one = found(QueryLots=(PAGES + PLANT, HEADER + LOTS))["QueryLots"]
    assert (one.name, one.needs) == ("Lots", ("Plant",))
    assert one.settings == {
        "operation": "QueryLots",
        "paging": {"kind": "page", "param": "Ask.PageIndex", "size_param": "Ask.PageSize", "size": 100},
        "incremental": {"cursor": "UpdateTime", "param": "Ask.UpdateTimeFrom"},
        "key": ["LotNo"],
    }


def test_records_are_written_by_operations_on_the_same_thing() -> None:
    data = '<x:element name="Data" type="t:Lot"/>'
    service = found(
        QueryLots=(PAGES, LOTS),
        SaveLot=(data, HEADER),
        GetLot=(NO, data),
        DeleteLot=(NO, '<x:element name="Success" type="x:boolean"/>'),
        SaveOrder=(data, HEADER),
        AuditLot=(NO, HEADER),
    )
    assert {guess.setting: (guess.value, guess.source) for guess in service["QueryLots"].guesses} == {
        "write.upsert": (
            {"operation": "SaveLot", "arguments": {"Data": "{*}"}, "ok": "Head.Code=0", "error": "Head.Message"},
            "SaveLot",
        ),
        "write.look": ({"operation": "GetLot", "arguments": {"LotNo": "{LotNo}"}, "record": "Data"}, "GetLot"),
        "write.delete": (
            {"operation": "DeleteLot", "arguments": {"LotNo": "{LotNo}"}, "ok": "Success=true|1"}, "DeleteLot",
        ),
    }  # fmt: skip
    assert {name: one.reason for name, one in service.items() if not one.settings} == {
        "SaveOrder": "it is no query", "AuditLot": "it is no query",
    }  # fmt: skip


def test_what_needs_more_than_a_record_writes_none() -> None:
    data = '<x:element name="Data" type="t:Lot"/>'
    service = found(QueryLots=(PAGES, LOTS), SaveLot=(data + PLANT, HEADER), GetLot=(NO + PLANT, data))
    assert service["QueryLots"].guesses == ()
    assert not service["GetLot"].settings
