"""What is described is what is sent: answers and faults are valid by the schemas inside the WSDL."""

from __future__ import annotations

from decimal import Decimal
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from lxml import etree
from tests.gateway.rest.plant import QUALITY
from tests.gateway.soap.messages import NS12, SPACE, message
from tests.gateway.soap.service import Service, run

from tongqu.core.policy import Actor
from tongqu.gateway.soap.rows import listed_rows, object_rows, table_rows
from tongqu.gateway.soap.shapes import named, tag, xsd_type
from tongqu.gateway.soap.words import PROBLEM, WSDL, XS, XSI
from tongqu.kit.serving import texts as serving

HR = Actor("client:hr", roles=frozenset(("quality", "hr")), attributes={"plant": "A"})


async def schemas(service: Service, name: str = "items") -> dict[str, etree.XMLSchema]:
    """The schemas of a description, by namespace; each is a valid schema of its own."""
    told = (await service.ask("GET", f"/soap/v1/{name}?wsdl")).root
    assert [str(child.tag).rpartition("}")[2] for child in told] == [
        "documentation", "types", *["message"] * (len(told) - 6), "portType", "binding", "binding", "service",
    ]  # fmt: skip
    found = told.find(f"{{{WSDL}}}types")
    return {one.get("targetNamespace"): etree.XMLSchema(etree.fromstring(etree.tostring(one))) for one in found}


CALLS = {
    "rows": "<Query><count>true</count></Query>",
    "some fields": "<Query><fields><field>lot</field></fields><limit>1</limit></Query>",
    "filter": "<Query><filter><weight><gt>1</gt></weight><or><id><in><value>1</value></in></id></or></filter></Query>",
    "one": "<Get><id>1</id></Get>",
    "new": "<Insert><rows><row><id>70</id><lot>x</lot><plant>A</plant></row></rows></Insert>",
    "change": "<Update><key><id>1</id></key><set><lot>y</lot></set><returnRows>1</returnRows></Update>",
    "gone": "<Delete><filter><id><eq>1</eq></id></filter><most>1</most></Delete>",
    "merge": "<Upsert><rows><row><id>1</id><lot>x</lot><plant>A</plant></row></rows></Upsert>",
}


@pytest.mark.parametrize("name", CALLS)
def test_messages_fit_the_description(tmp_path: Path, name: str) -> None:
    sent = CALLS[name].replace(">", f' xmlns="{SPACE}">', 1)

    async def work(service: Service) -> None:
        known = (await schemas(service))[SPACE]
        known.assertValid(etree.fromstring(sent))
        heard = await service.call(message(sent))
        assert heard.status == 200, heard.body
        known.assertValid(etree.fromstring(etree.tostring(heard.root[-1][0])))

    run(tmp_path, work, actor=QUALITY)


def test_faults_fit_the_description(tmp_path: Path) -> None:
    async def work(service: Service) -> None:
        known = (await schemas(service))[PROBLEM]
        wrong = f'<Query xmlns="{SPACE}"><fields><field>no</field></fields></Query>'
        for heard in (
            await service.call(message(wrong)),
            await service.call(message(wrong, space=NS12), kind="application/soap+xml"),
        ):
            known.assertValid(etree.fromstring(etree.tostring(heard.root.find(f".//{{{PROBLEM}}}problem"))))

    run(tmp_path, work, actor=QUALITY)


def types(told: Any, kind: str) -> dict[str, str]:
    """Elements of a complex type with their types."""
    found = told.find(f".//{{{XS}}}complexType[@name='{kind}']")
    return {one.get("name"): one.get("type", "") for one in found[0]}


def test_types_are_those_of_what_the_caller_sees(tmp_path: Path) -> None:
    async def work(service: Service) -> None:
        told = (await service.ask("GET", "/soap/v1/items?wsdl")).root
        assert types(told, "Row") == {
            "id": "xs:long", "lot": "xs:string", "plant": "xs:string", "weight": "", "passed": "xs:boolean",
            "made": "xs:date", "inspector": "xs:string", "line_id": "xs:long",
        }  # fmt: skip
        service.actor = HR
        assert "inspector" in types((await service.ask("GET", "/soap/v1/items?wsdl")).root, "Filter")

    run(tmp_path, work, actor=QUALITY)


@pytest.mark.parametrize("name", ["检验员", "a b", "1st", "and", "x_x0041_", "order", "a:b", "é", "_"])
def test_any_field_has_an_element(name: str) -> None:
    etree.fromstring(f"<{tag(name)}/>")
    assert ":" not in tag(name)
    assert named(tag(name)) == name


@pytest.mark.parametrize(
    ("kind", "values", "word", "texts"),
    [
        (pa.decimal128(38, 10), [Decimal("1E-10"), None], "decimal", ["0.0000000001", None]),
        (pa.float64(), [0.1, float("inf"), float("-inf"), float("nan")], "double", ["0.1", "INF", "-INF", "NaN"]),
        (pa.uint8(), [255], "unsignedByte", ["255"]),
        (pa.string(), ["", "a\r\n<&>\x01\ufffe", None], "string", ["", "a\r\n<&>", None]),
        (pa.binary(), [b"\0\xff", b""], "base64Binary", ["AP8=", ""]),
        (pa.bool_(), [True, False], "boolean", ["true", "false"]),
        (pa.timestamp("us", "UTC"), [0], "dateTime", ["1970-01-01T00:00:00+00:00"]),
    ],
)
def test_values_are_written_as_xml_schema_has_them(kind: Any, values: Any, word: str, texts: Any) -> None:
    field = pa.field("x", kind)
    assert xsd_type(field) == word
    table = pa.table([pa.array(values, kind)], schema=pa.schema([field]))
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, table.schema) as stream:
        stream.write_table(table)
    by_column = table_rows(sink.getvalue().to_pybytes(), {"x": field})
    by_value = listed_rows(
        [[value] for value in serving.values(table.column(0).combine_chunks(), field)], ["x"], {"x": field}
    )
    for written in (by_column, by_value):
        made = etree.fromstring(f'<rows xmlns:xsi="{XSI}">{written}</rows>')
        assert [None if one[0].get(f"{{{XSI}}}nil") else one[0].text or "" for one in made] == texts


def test_lists_keep_their_nulls() -> None:
    field = pa.field("x", pa.list_(pa.string()))
    told = object_rows([{"x": ["a", None, ""]}, {"x": None}], {"x": field})
    assert told == ('<row><x><item>a</item><item xsi:nil="true"/><item></item></x></row><row><x xsi:nil="true"/></row>')
