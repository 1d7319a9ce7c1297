"""`tongqu assess`: a vendor's interface scored by its document and by calls, compared with before, and watched."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tongqu.app.messages import LANGUAGES, catalogue
from tongqu.testing.command_line import Done, inside
from tongqu.testing.planted_interface import MISSING, planted
from tongqu.testing.services.certificates import Authority
from tongqu.testing.services.http_peer import Asked, HttpPeer, Out

ID_CARD = "11010519491231002X"
TOKEN = "s3cret-token-of-the-plant"
NAME = "王小明"


class Qms(HttpPeer):
    """A vendor's QMS: it wants a token, tells its limits, and one of its lists is not as described."""

    name = "QMS"

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self.open = False
        rows: dict[str, list[dict[str, Any]]] = {
            "/api/v1/inspection-results": [
                {"lot_no": "L1", "item_code": "A", "value": 1.5, "inspector": NAME, "id_card": ID_CARD}
            ],
            "/api/v1/inspection-plans": [{"plan_no": 17}],
            "/api/v1/standards": [{"item_code": "A", "upper_limit": 2, "lower_limit": 1}],
        }
        for path, records in rows.items():
            self.routes[path] = self._answer(records)

    def _answer(self, records: list[dict[str, Any]]) -> Any:
        def answer(asked: Asked, out: Out) -> None:
            if asked.headers.get("authorization") != f"Bearer {TOKEN}" and not self.open:
                out.json({"code": "unauthorised", "message": "no token"}, 401)
                return
            head = {"X_RateLimit_Limit": "600", "X_Content_Type_Options": "nosniff"}
            out.json({"items": records, "total": len(records)}, 200, **head)

        return answer


@pytest.fixture
def qms() -> Iterator[Qms]:
    with Qms() as peer:
        yield peer


def paper(
    folder: Path, server: str = "https://qms.example/api/v1", name: str = "vendor.json", **changes: Any
) -> dict[str, Any]:
    raw = {**planted(server), **changes}
    (folder / name).write_text(json.dumps(raw), encoding="utf-8")
    return raw


def project(folder: Path, base: str, **more: Any) -> None:
    connection = {
        "type": "rest",
        "base_url": base,
        "openapi": "vendor.json",
        "auth": {"bearer": "${env:QMS_TOKEN}"},
        **more,
    }
    (folder / "tongqu.yaml").write_text(json.dumps({"connections": {"qms": connection}}), encoding="utf-8")


def assess(folder: Path, *arguments: str) -> Done:
    done = inside(folder, "assess", *arguments, "--json", QMS_TOKEN=TOKEN)
    assert done.code == 0, done.err + done.out
    return done


def check(done: Done, id: str) -> Any:
    return next(one for one in done.document["checks"] if one["id"] == id)


def test_a_document_alone(tmp_path: Path) -> None:
    paper(tmp_path)
    done = assess(tmp_path, "--openapi", "vendor.json", "--checklist", "qms", "--out", "report")
    document = done.document
    assert document["axes"]["business"]["score"] == 60.0
    assert check(done, "descriptions")["params"]["share"] == 0.3
    missing = {one["params"]["scenario"] for one in document["findings"] if one["id"] == "scenario.missing"}
    assert missing == set(MISSING)
    assert check(done, "latency")["score"] is None
    assert [one["given"] for one in document["vendor"]] == [False] * 5
    assert json.loads((tmp_path / "report/assessment.json").read_text()) == {
        key: value for key, value in document.items() if key != "report"
    }


def test_the_checklist_that_fits_best_is_taken(tmp_path: Path) -> None:
    paper(tmp_path)
    assert [one["checklist"] for one in assess(tmp_path, "--openapi", "vendor.json").document["coverage"]] == ["qms"]


def test_an_own_checklist(tmp_path: Path) -> None:
    paper(tmp_path)
    (tmp_path / "own.yaml").write_text(
        "name: own\ntitle: {zh: 自有, en: Ours}\nscenarios:\n"
        "  plans: {title: {en: Plans}, does: read, about: [[inspection plan]], fields: {plan_no: [计划号]}}\n"
        "  gauges: {title: {en: Gauges}, does: read, about: [[gauge, 量具]], weight: 3}\n",
        encoding="utf-8",
    )
    assert (
        assess(tmp_path, "--openapi", "vendor.json", "--checklist", "own.yaml").document["axes"]["business"]["score"]
        == 25.0
    )


def test_a_connection_is_called(tmp_path: Path, qms: Qms) -> None:
    paper(tmp_path)
    project(tmp_path, f"{qms.url}/api/v1")
    done = assess(tmp_path, "qms", "--checklist", "qms", "--out", "report", "--calls", "2")
    calls = {one["operation"]: one for one in done.document["calls"]}
    assert calls["GET /inspection-results"]["status"] == 200
    assert len(calls["GET /inspection-results"]["ms"]) == 2
    assert calls["GET /inspection-plans"]["deviations"] == [{"path": "items[].plan_no", "what": "type"}]
    assert calls["GET /nonconformities"]["status"] == 404
    assert check(done, "conformance")["score"] == 0.5
    assert check(done, "enforced")["score"] == 1.0
    assert check(done, "limits")["params"]["seen"] == "x-ratelimit-limit: 600"
    assert check(done, "masking")["params"]["without"] == check(done, "masking")["params"]["count"] == 2
    assert check(done, "latency")["params"]["calls"] == 6
    assert {asked.method for asked in qms.calls} == {"GET"}


def test_no_personal_data_and_no_secret_is_told(tmp_path: Path, qms: Qms) -> None:
    paper(tmp_path)
    project(tmp_path, f"{qms.url}/api/v1")
    done = assess(tmp_path, "qms", "--out", "report")
    texts = [done.out, done.err, *(path.read_text(encoding="utf-8") for path in (tmp_path / "report").iterdir())]
    for text in texts:
        assert all(word not in text for word in (ID_CARD, TOKEN, NAME))


def test_a_door_that_is_open_is_found(tmp_path: Path, qms: Qms) -> None:
    qms.open = True
    paper(tmp_path)
    project(tmp_path, f"{qms.url}/api/v1")
    done = assess(tmp_path, "qms")
    assert check(done, "enforced")["score"] == 0.0
    assert ("enforced.open", "high") in {(one["id"], one["severity"]) for one in done.document["findings"]}


def test_tls_is_looked_at(tmp_path: Path) -> None:
    authority = Authority(tmp_path)
    paper(tmp_path)
    with Qms(tls=authority.server()) as peer:
        project(tmp_path, f"{peer.url}/api/v1", tls={"ca_file": str(authority.ca_file)})
        done = assess(tmp_path, "qms")
        assert check(done, "tls")["params"] == {"version": "TLSv1.3"}
        assert check(done, "ciphers")["score"] == 1.0
        assert check(done, "certificate")["score"] == 0.5
        project(tmp_path, f"{peer.url}/api/v1", tls={"verify": False})
        refused = assess(tmp_path, "qms")
    assert (check(refused, "certificate")["score"], check(refused, "tls")["score"]) == (0.0, 1.0)


def test_a_host_that_is_not_there_is_a_result(tmp_path: Path) -> None:
    paper(tmp_path)
    with Qms() as peer:
        url = peer.url
    project(tmp_path, f"{url}/api/v1")
    done = assess(tmp_path, "qms")
    assert {one["status"] for one in done.document["calls"]} == {0}
    assert (check(done, "conformance")["score"], check(done, "latency")["score"]) == (None, None)
    assert "conformance.silent" in {one["id"] for one in done.document["findings"]}


def test_two_assessments_are_compared(tmp_path: Path) -> None:
    raw = paper(tmp_path)
    assess(tmp_path, "--openapi", "vendor.json", "--checklist", "qms", "--out", "old")
    del raw["paths"]["/standards"]
    raw["components"]["schemas"]["Result"]["properties"]["value"]["description"] = "Measured value"
    paper(tmp_path, **raw)
    done = assess(tmp_path, "--openapi", "vendor.json", "--checklist", "qms", "--against", "old/assessment.json")
    comparison = done.document["comparison"]
    assert comparison["axes"]["business"] == {"old": 60.0, "new": 50.0}
    assert [(one["scenario"], one["old"], one["new"]) for one in comparison["scenarios"]] == [
        ("inspection_standards", "covered", "missing")
    ]
    assert {"descriptions", "coverage.qms"} <= {one["id"] for one in comparison["checks"]}
    assert [one["params"]["scenario"] for one in comparison["findings"]["new"]] == ["inspection_standards"]
    again = assess(tmp_path, "--openapi", "vendor.json", "--checklist", "qms", "--against", "last")
    assert again.document["comparison"]["checks"] == []


def test_a_breaking_change_is_raised_once(tmp_path: Path) -> None:
    raw = paper(tmp_path)

    def watch() -> Done:
        return inside(tmp_path, "assess", "--openapi", "vendor.json", "--watch", "--json")

    assert (watch().code, watch().document["first"]) == (0, False)
    raw["components"]["schemas"]["Plan"]["properties"]["site"] = {"type": "string"}
    paper(tmp_path, **raw)
    harmless = watch()
    assert (harmless.code, harmless.document["breaking"], harmless.document["other"]) == (0, 0, 1)
    del raw["components"]["schemas"]["Standard"]["properties"]["upper_limit"]
    paper(tmp_path, **raw)
    broken = watch()
    assert (broken.code, broken.document["breaking"]) == (3, 1)
    assert broken.document["changes"][0]["message"] == "GET /standards: field items[].upper_limit is gone"
    assert watch().document["changes"] == []


def test_what_the_vendor_gave(tmp_path: Path) -> None:
    paper(tmp_path)
    (tmp_path / "given.yaml").write_text(
        "documents: [manual.pdf]\nsuccess_cases: [Plant 1, Plant 2]\n", encoding="utf-8"
    )
    done = assess(tmp_path, "--openapi", "vendor.json", "--evidence", "given.yaml")
    assert {one["kind"] for one in done.document["vendor"] if one["given"]} == {"documents", "success_cases"}
    assert sum(one["id"] == "vendor.missing" for one in done.document["findings"]) == 3


@pytest.mark.parametrize("language", LANGUAGES)
def test_the_report_needs_nothing_else(tmp_path: Path, qms: Qms, language: str) -> None:
    raw = paper(tmp_path)
    raw["info"]["title"] = "<script>alert(1)</script> | QMS"
    paper(tmp_path, **raw)
    project(tmp_path, f"{qms.url}/api/v1")
    assess(tmp_path, "qms", "--out", "report", "--lang", language, "--checklist", "qms")
    html = (tmp_path / "report/assessment.html").read_text(encoding="utf-8")
    assert not re.search(r"<(script|link|img|iframe|object|embed)\b|@import|url\(|\b(src|href)=", html)
    assert html.count("<svg") > 20
    assert catalogue(language)["assess.axis.business"] in html
    markdown = (tmp_path / "report/assessment.md").read_text(encoding="utf-8")
    assert "<script>" not in markdown
    assert catalogue(language)["assess.formula"] in markdown


def test_a_document_at_an_address(tmp_path: Path, qms: Qms) -> None:
    qms.routes["/openapi.json"] = lambda _, out: out.json(planted())
    qms.routes["/page"] = lambda _, out: out.answer(200, b"<html>sign in</html>")
    done = assess(tmp_path, "--openapi", f"{qms.url}/openapi.json?key={TOKEN}", "--checklist", "qms", "--out", "report")
    assert done.document["axes"]["business"]["score"] == 60.0
    assert done.document["calls"] == []  # a document's own addresses are not called without a connection
    assert TOKEN not in done.out + done.err
    wrong = inside(tmp_path, "assess", "--openapi", f"{qms.url}/page", "--json")
    assert (wrong.code, wrong.document["problems"][0]["code"]) == (1, "config.invalid_settings")


def test_addresses_in_a_wsdl_are_data(tmp_path: Path, qms: Qms) -> None:
    space = 'xmlns="http://schemas.xmlsoap.org/wsdl/" xmlns:x="http://www.w3.org/2001/XMLSchema"'
    with HttpPeer() as inner:
        inner.routes["/secret.xsd"] = lambda _, out: out.answer(200, b"<schema/>")
        places = ("types.xsd", f"{inner.url}/secret.xsd", "http://169.254.169.254/latest.xsd")
        imports = "".join(f'<x:include schemaLocation="{place}"/>' for place in places)
        text = f"<definitions {space}><types><x:schema>{imports}</x:schema></types></definitions>"
        qms.routes["/v.wsdl"] = lambda _, out: out.answer(200, text.encode())
        qms.routes["/types.xsd"] = lambda _, out: out.answer(200, b"<schema/>")
        done = assess(tmp_path, "--wsdl", f"{qms.url}/v.wsdl", "--checklist", "mes")
        assert inner.calls == []
    unread = next(one for one in done.document["findings"] if one["id"] == "protocol.unread")
    assert {one["place"] for one in unread["evidence"]} == set(places[1:])


def test_a_wsdl_with_imports_that_lead_away(tmp_path: Path) -> None:
    (tmp_path / "types.xsd").write_text('<schema xmlns="http://www.w3.org/2001/XMLSchema"/>', encoding="utf-8")
    (tmp_path / "v.wsdl").write_text(
        '<definitions xmlns="http://schemas.xmlsoap.org/wsdl/" name="Lots"><types>'
        '<x:schema xmlns:x="http://www.w3.org/2001/XMLSchema"><x:include schemaLocation="types.xsd"/>'
        '<x:include schemaLocation="file:///etc/passwd"/><x:include schemaLocation="/etc/passwd"/></x:schema></types>'
        '<portType name="p"><operation name="GetLots"/></portType></definitions>',
        encoding="utf-8",
    )
    done = assess(tmp_path, "--wsdl", "v.wsdl", "--checklist", "mes")
    assert done.document["interface"]["title"] == "Lots"
    unread = next(one for one in done.document["findings"] if one["id"] == "protocol.unread")
    assert unread["params"]["count"] == 2
    assert "root:" not in done.out


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        ((), 2, "no document"),
        (("--openapi", "none.json"), 1, "there is no file"),
        (("--openapi", "vendor.json", "--wsdl", "vendor.json"), 2, "name one document"),
        (("--openapi", "vendor.json", "--checklist", "hospital"), 1, "there is no checklist"),
        (("--openapi", "vendor.json", "--calls", "-1"), 2, "--calls"),
        (("--openapi", "vendor.json", "--against", "vendor.json"), 2, "no assessment"),
        (("--openapi", "bad.json"), 2, "no OpenAPI document"),
        (("sqlite:x.db",), 2, "no interface over HTTP"),
    ],
)
def test_refusals(tmp_path: Path, arguments: tuple[str, ...], code: int, message: str) -> None:
    paper(tmp_path)
    (tmp_path / "bad.json").write_text("{}", encoding="utf-8")
    done = inside(tmp_path, "assess", *arguments, "--json")
    assert done.code == code, done.out + done.err
    assert message in done.document["problems"][0]["message"]


def test_every_text_is_there() -> None:
    """Ids are put together at run time, so the guard of messages cannot see them."""
    from tongqu.catalog import assessing

    folder = Path(assessing.__file__).parent
    source = "\n".join(path.read_text(encoding="utf-8") for path in folder.glob("*.py"))
    ids = {f"assess.finding.{one}" for one in re.findall(r'found\(\s*"([a-z_.]+)"', source)}
    ids |= {f"assess.change.{one}" for one in re.findall(r'Change\(\s*"([a-z_.]+)"', source)}
    ids |= {f"assess.check.{one}" for one in re.findall(r'(?:Check|_lists|_share|_shares)\(\s*"([a-z_]+)"', source)}
    ids |= {f"assess.finding.{one}.without" for one in re.findall(r'_(?:lists|share|shares)\(\s*"([a-z_]+)"', source)}
    assert len(ids) > 60
    for language in LANGUAGES:
        assert ids - set(catalogue(language)) == set()
