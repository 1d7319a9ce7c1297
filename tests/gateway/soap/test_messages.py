"""Messages as .NET and Java stacks write them, messages that are none, and faults in both versions."""

from __future__ import annotations

import copy
import random
from pathlib import Path

import pytest
from lxml import etree
from tests.gateway.rest.plant import QUALITY
from tests.gateway.soap.messages import NS11, NS12, QUERY, SPACE, message
from tests.gateway.soap.service import Service, run
from tests.gateway.soap.test_schema import CALLS

from tongqu.core.policy import Actor

STRANGER = Actor("client:stranger", roles=frozenset(("other",)))
ADDRESSED = "http://www.w3.org/2005/08/addressing"
WCF = f"""<?xml version="1.0" encoding="utf-8"?>
<s:Envelope xmlns:s="{NS12}" xmlns:a="{ADDRESSED}">
  <s:Header>
    <a:Action s:mustUnderstand="1">{SPACE}/Query</a:Action>
    <a:MessageID>urn:uuid:1</a:MessageID>
    <a:ReplyTo><a:Address>{ADDRESSED}/anonymous</a:Address></a:ReplyTo>
    <a:To s:mustUnderstand="1">https://plant.example/soap/v1/items</a:To>
    <ActivityId xmlns="http://schemas.microsoft.com/2004/09/ServiceModel/Diagnostics">x</ActivityId>
  </s:Header>
  <s:Body xmlns:xsi="http://www.w3.org/2001/XMLSchema-instance" xmlns:xsd="http://www.w3.org/2001/XMLSchema">
    <Query xmlns="{SPACE}">
      <fields><field>id</field></fields>
      <filter><weight><ge xsi:type="xsd:decimal"> 2.25 </ge></weight></filter>
      <order><by><field>id</field><descending>1</descending></by></order>
    </Query>
  </s:Body>
</s:Envelope>"""
AXIS = f"""<soapenv:Envelope xmlns:soapenv="{NS11}" xmlns:q="{SPACE}">
  <soapenv:Header>
    <ns9:Session soapenv:actor="http://somebody.else" soapenv:mustUnderstand="1" xmlns:ns9="urn:else">x</ns9:Session>
  </soapenv:Header>
  <soapenv:Body><q:Query><q:filter><q:lot><q:in><q:value><![CDATA[L1]]></q:value><q:value>L<!-- -->2</q:value>
  </q:in></q:lot></q:filter><q:limit>5</q:limit></q:Query></soapenv:Body></soapenv:Envelope>"""


def test_messages_of_other_stacks(tmp_path: Path) -> None:
    async def work(service: Service) -> None:
        wcf = await service.call(WCF, kind=f'application/soap+xml; charset=utf-8; action="{SPACE}/Query"')
        assert (wcf.status, wcf.ids) == (200, ["5", "2"])
        assert wcf.headers["content-type"] == "application/soap+xml; charset=utf-8"
        assert wcf.root.findtext(f".//{{{ADDRESSED}}}RelatesTo") == "urn:uuid:1"
        axis = await service.call(AXIS, soapaction='""')
        assert (axis.status, axis.ids) == (200, ["1", "2"])
        utf16 = await service.call(message().encode("utf-16"), kind="text/xml; charset=utf-16")
        assert (utf16.status, utf16.ids) == (200, ["1", "2", "3", "5"])

    run(tmp_path, work, actor=QUALITY)


def _query(inner: str) -> str:
    return message(f'<Query xmlns="{SPACE}">{inner}</Query>')


MTOM = 'multipart/related; type="application/xop+xml"; start-info="text/xml"'
WRONG = {
    "two operations": (message(QUERY + QUERY), "body.malformed"),
    "no operation": (message(""), "body.malformed"),
    "no body": (f'<s:Envelope xmlns:s="{NS11}"/>', "body.malformed"),
    "two bodies": (message().replace("</s:Envelope>", "<s:Body/></s:Envelope>"), "body.malformed"),
    "something behind": (message().replace("</s:Envelope>", "<x/></s:Envelope>"), "body.malformed"),
    "another version": (message(space=NS12), "soap.version"),
    "no soap": ("<Query/>", "soap.version"),
    "not well-formed": (message()[:-1], "body.malformed"),
    "a document type": ("<!DOCTYPE s [<!ENTITY a 'b'>]>" + message(), "body.malformed"),
    "must understand": (message(header='<t:T xmlns:t="urn:t" s:mustUnderstand="1"/>'), "soap.header"),
    "reply elsewhere": (
        message(header=f'<a:ReplyTo xmlns:a="{ADDRESSED}"><a:Address>http://169.254.169.254/</a:Address></a:ReplyTo>'),
        "soap.addressing",
    ),
    "another action": (message(header=f'<a:Action xmlns:a="{ADDRESSED}">{SPACE}/Delete</a:Action>'), "soap.action"),
    "unknown operation": (message(f'<Drop xmlns="{SPACE}"/>'), "body.invalid"),
    "another namespace": (message(QUERY.replace(":items", ":lines")), "body.invalid"),
    "unknown element": (_query("<where/>"), "body.invalid"),
    "twice": (_query("<limit>1</limit><limit>2</limit>"), "body.invalid"),
    "text with elements": (_query("<limit><b>1</b></limit>"), "body.invalid"),
    "no number": (_query("<filter><weight><eq>much</eq></weight></filter>"), "value.invalid"),
    "null compared": (
        _query('<filter><weight><eq x:nil="1" xmlns:x="http://www.w3.org/2001/XMLSchema-instance"/></weight></filter>'),
        "body.invalid",
    ),
    "too deep": (_query("<filter>" + "<not>" * 40 + "</not>" * 40 + "</filter>"), "body.too_large"),
}


@pytest.mark.parametrize("name", WRONG)
def test_what_is_wrong_is_a_fault(tmp_path: Path, name: str) -> None:
    sent, code = WRONG[name]

    async def work(service: Service) -> None:
        heard = await service.call(sent)
        assert (heard.code, heard.reason) == (code, code)
        assert heard.status == (413 if code == "body.too_large" else 500)
        assert heard.headers["content-type"].startswith("text/xml")
        who = {"soap.version": "s:VersionMismatch", "soap.header": "s:MustUnderstand"}.get(code, "s:Client")
        assert heard.root.findtext(".//faultcode") == who

    run(tmp_path, work, actor=QUALITY)


def test_a_fault_of_the_newer_version_speaks_both_languages(tmp_path: Path) -> None:
    async def work(service: Service) -> None:
        heard = await service.call(
            message(f'<Get xmlns="{SPACE}"><id>99</id></Get>', space=NS12), kind="application/soap+xml"
        )
        assert (heard.status, heard.code) == (400, "row.unknown")
        texts = {
            one.get("{http://www.w3.org/XML/1998/namespace}lang"): one.text
            for one in heard.root.iter(f"{{{NS12}}}Text")
        }
        assert texts == {"en": "there is no such row", "zh": "没有这一行"}
        values = [one.text for one in heard.root.iter(f"{{{NS12}}}Value")]
        assert values == ["s:Sender", "p:row.unknown"]

    run(tmp_path, work, actor=QUALITY)


def test_hidden_and_unknown_are_refused_in_the_same_words(tmp_path: Path) -> None:
    places = [
        "<fields><field>{}</field></fields>",
        "<filter><{}/></filter>",
        "<filter><{0}><eq>1</eq></{0}></filter>",
        "<order><by><field>{}</field></by></order>",
        "<filter><not><{0}><isNull>1</isNull></{0}></not></filter>",
    ]

    async def work(service: Service) -> None:
        for place in places:
            hidden = await service.call(_query(place.format("salary")))
            unknown = await service.call(_query(place.format("nowhere")))
            assert (hidden.status, hidden.code) == (500, "field.unknown"), place
            told = hidden.body.replace(b"salary", b"nowhere")
            instance = hidden.root.findtext(".//{urn:tongqu:problem}instance").encode()
            other = unknown.root.findtext(".//{urn:tongqu:problem}instance").encode()
            assert told.replace(instance, other) == unknown.body

    run(tmp_path, work, actor=QUALITY)


def test_who_may_do_nothing_finds_no_api(tmp_path: Path) -> None:
    async def work(service: Service) -> None:
        for actor, status, code in ((STRANGER, 404, "api.unknown"), (None, 401, "auth.missing")):
            service.actor = actor
            for name in ("items", "nothing"):
                for heard in (
                    await service.call(message(), to=f"/soap/v1/{name}"),
                    await service.ask("GET", f"/soap/v1/{name}?wsdl"),
                ):
                    assert (heard.status, heard.code) == (status, code), name

    run(tmp_path, work)


@pytest.mark.parametrize("kind", ["application/json", MTOM, "", "text/xml; charset=utf-7"])
def test_other_media_are_refused(tmp_path: Path, kind: str) -> None:
    async def work(service: Service) -> None:
        assert (await service.call(message(), kind=kind)).status == 415
        assert (await service.ask("PUT", "/soap/v1/items")).status == 405

    run(tmp_path, work, actor=QUALITY)


def test_an_action_that_is_not_the_messages_is_refused(tmp_path: Path) -> None:
    async def work(service: Service) -> None:
        for action, status in ((f'"{SPACE}/Query"', 200), ('""', 200), ("Query", 200), (f'"{SPACE}/Delete"', 500)):
            assert (await service.call(message(), soapaction=action)).status == status

    run(tmp_path, work, actor=QUALITY)


def test_what_the_caller_may_not_do_is_not_described(tmp_path: Path) -> None:
    async def work(service: Service) -> None:
        told = await service.ask("GET", "/soap/v1/items?wsdl")
        assert b'name="Delete"' in told.body
        assert b"salary" not in told.body
        assert b'location="https://plant.example/soap/v1/items"' in told.body
        lines = await service.ask("GET", "/soap/v1/lines?wsdl")
        assert b'name="Query"' in lines.body
        assert b'name="Delete"' not in lines.body
        refused = await service.call(
            message(f'<Delete xmlns="{SPACE}"/>'.replace("items", "lines")), to="/soap/v1/lines"
        )
        assert refused.code == "body.invalid"

    run(tmp_path, work, actor=QUALITY)


def test_a_conditional_api_asks_for_the_etag(tmp_path: Path) -> None:
    async def work(service: Service) -> None:
        update = f'<Update xmlns="{SPACE}"><key><id>1</id></key><set><lot>x</lot></set>{{}}</Update>'
        assert (await service.call(message(update.format("")))).code == "row.unconditional"
        got = await service.call(message(f'<Get xmlns="{SPACE}"><id>1</id></Get>'))
        etag = got.root.findtext(f".//{{{SPACE}}}etag")
        assert (await service.call(message(update.format(f"<etag>{etag}</etag>")))).status == 200
        assert (await service.call(message(update.format(f"<etag>{etag}</etag>")))).code == "row.changed"

    entries = {"items": {"write": {"insert": True, "update": True, "delete": True, "conditional": True}}}
    run(tmp_path, work, actor=QUALITY, entries=entries)


NAMES = [
    "filter", "and", "or", "not", "in", "value", "eq", "isNull", "fields", "field", "order", "by", "limit", "rows",
    "row", "set", "key", "id", "lot", "x", "most", "etag",
]  # fmt: skip
TEXTS = ["1", "-1", "", "true", "9" * 30, "NaN", "2026-13-45", "中", "a%\\", "lot", "\U0001f600"]


def changed(sent: str, dice: random.Random) -> bytes:
    """The message with a few elements removed, doubled, renamed, filled or added."""
    root = etree.fromstring(sent)
    for _ in range(dice.randint(1, 4)):
        elements = list(root[-1].iter(f"{{{SPACE}}}*"))
        if not elements:
            break
        one = dice.choice(elements)
        way = dice.choice(["remove", "double", "rename", "fill", "add"])
        parent = one.getparent()
        assert parent is not None
        if way == "remove":
            parent.remove(one)
        elif way == "double":
            one.addnext(copy.deepcopy(one))
        elif way == "rename":
            one.tag = f"{{{SPACE}}}{dice.choice(NAMES)}"
        elif way == "fill":
            one[:] = []
            one.text = dice.choice(TEXTS)
        else:
            etree.SubElement(one, f"{{{SPACE}}}{dice.choice(NAMES)}").text = dice.choice(TEXTS)
    return etree.tostring(root)


def test_whatever_a_message_holds_it_is_answered(tmp_path: Path) -> None:
    dice = random.Random(11)  # noqa: S311  which messages, nothing secret
    sent = [message(text.replace(">", f' xmlns="{SPACE}">', 1)) for text in CALLS.values()]

    async def work(service: Service) -> None:
        seen = set()
        for _ in range(300):
            heard = await service.call(changed(dice.choice(sent), dice))
            assert heard.code == heard.reason
            seen.add(heard.reason)
        assert "field.unknown" in seen
        assert not {code for code in seen if code.startswith(("internal", "source", "outcome"))}

    run(tmp_path, work, actor=QUALITY)
