"""zeep against `tongqu serve` over PostgreSQL, in SOAP 1.1 and 1.2: a client that we did not write."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterator
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from typing import Any
from uuid import uuid4

import psycopg
import pytest
import requests
import zeep
from tests.gateway.soap.messages import STRONG, certificate
from zeep import xsd
from zeep.exceptions import Fault
from zeep.wsa import WsAddressingPlugin
from zeep.wsse.signature import BinarySignature
from zeep.wsse.username import UsernameToken
from zeep.wsse.utils import WSU, get_security_header

from tongqu.testing.command_line import inside
from tongqu.testing.services.gateway import Gateway
from tongqu.testing.services.postgres import Postgres

TABLES = """
CREATE TABLE items (
  id bigint PRIMARY KEY, lot text NOT NULL, plant text DEFAULT 'A', weight numeric(38,10), passed boolean, made date,
  at timestamptz, tags text[], photo bytea, "检验员" text, "a b" text, salary bigint);
INSERT INTO items VALUES
  (1, 'L1', 'A', 1234567890123456789012345678.0123456789, true, '2026-01-01', '2026-01-01 08:00+08', '{红,"b,c"}',
   '\\x00ff', '张三丰', 'x', 100),
  (2, '', 'A', NULL, false, NULL, NULL, NULL, NULL, '李四', NULL, 200),
  (3, 'L&<>"', 'A', -0.0000000001, NULL, '0999-12-31', '2026-01-01 00:00:00.123456Z', '{}', '', '王五',
   E'a\\r\\nb ', 300),
  (4, 'L4', 'B', 4, true, NULL, NULL, NULL, NULL, '赵六', NULL, 400);
CREATE TABLE many (id bigint PRIMARY KEY, name text);
"""
PROJECT = """
project: plant
connections:
  qms: {{type: postgres, url: "{url}"}}
datasets:
  items:
    title: {{zh: 检验}}
    fields:
      lot: {{class: internal, title: {{zh: 批号}}}}
      weight: {{unit: kg, min: -1}}
      检验员: {{class: personal, mask: name}}
      salary: {{class: secret}}
apis:
  items:
    title: {{zh: 检验记录, en: Inspections}}
    source: {{connection: qms, dataset: items}}
    access:
      roles: [quality]
      write_roles: [quality]
      rows: "plant = actor.plant"
      fields: {{检验员: {{roles: [hr], otherwise: mask}}}}
    write: {{insert: true, update: true, delete: true}}
  many:
    source: {{connection: qms, dataset: many}}
    access: {{roles: [quality], write_roles: [quality]}}
    write: {{insert: true}}
  few:
    source: {{connection: qms, dataset: many}}
    access: {{roles: [quality]}}
    limit: {{requests: 2, per: day}}
  open: {{source: {{connection: qms, dataset: many}}, access: {{public: true}}}}
"""


@dataclass(frozen=True)
class Outgoing:
    """Puts several things into what is sent, in order; what comes back is not signed."""

    parts: tuple[Any, ...]

    def apply(self, envelope: Any, headers: Any) -> Any:
        for part in self.parts:
            envelope, headers = part.apply(envelope, headers)
        return envelope, headers

    def verify(self, envelope: Any) -> Any:
        return envelope


@dataclass(frozen=True)
class Served:
    """A gateway, its database and a client that it knows."""

    gateway: Gateway
    database: str
    secret: str
    token: str
    folder: Path

    def session(self, **headers: str) -> requests.Session:
        session = requests.Session()
        session.headers.update(headers)
        return session

    def client(self, name: str = "items", **more: Any) -> zeep.Client:
        session = self.session()
        session.auth = ("mes", self.secret)
        return zeep.Client(f"{self.gateway.url}/soap/v1/{name}?wsdl", transport=zeep.Transport(session=session), **more)

    def inside_message(self, *wsse: Any, name: str = "items", **more: Any) -> Any:
        """A service whose messages carry their credentials; the description is read with HTTP's."""
        client = self.client(name, wsse=Outgoing(wsse), **more)
        client.transport.session.auth = None
        return client.service


@pytest.fixture(scope="module")
def served(postgres: Postgres, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    folder: Path = tmp_path_factory.mktemp("plant")
    url = postgres.database()
    (folder / "tongqu.yaml").write_text(PROJECT.format(url=url), encoding="utf-8")
    with psycopg.connect(url, autocommit=True) as database:
        database.execute(TABLES)
    added = inside(folder, "client", "add", "mes", "--role", "quality", "--attribute", "plant=A", "--json")
    assert added.code == 0, added.err
    certificate(folder)
    assert inside(folder, "client", "certificate", "mes", str(folder / "mes.pem"), "--json").code == 0
    token = inside(folder, "token", "issue", "mes", "--json").document["access_token"]
    with Gateway(folder) as gateway:
        yield Served(gateway, url, added.document["client_secret"], token, folder)
    postgres.drop(url.rpartition("/")[2])


@pytest.fixture(params=["Soap11", "Soap12"])
def service(request: pytest.FixtureRequest, served: Served) -> Any:
    """The operations of `items` over the rows as they were at first, in each version."""
    with psycopg.connect(served.database, autocommit=True) as database:
        database.execute("DROP TABLE IF EXISTS items, many")
        database.execute(TABLES)
    client = served.client()
    return client.bind("items", request.param)


def rows(answer: Any) -> list[Any]:
    found: list[Any] = answer.rows.row
    return found


def test_rows_come_as_they_are(service: Any) -> None:
    found = rows(service.Query(order={"by": [{"field": "id"}]}))
    assert [row.id for row in found] == [1, 2, 3]
    one, two, three = found
    assert one.weight == Decimal("1234567890123456789012345678.0123456789")
    assert (one.passed, one.made, one.photo, one.tags.item) == (True, dt.date(2026, 1, 1), b"\0\xff", ["红", "b,c"])
    assert one.at == dt.datetime(2026, 1, 1, tzinfo=dt.UTC)
    assert (one.检验员, two.检验员) == ("张*丰", "李*")
    assert (two.lot or "", two.weight, two.made, two.a_x0020_b) == ("", None, None, None)
    assert (three.lot, three.weight, three.a_x0020_b) == ('L&<>"', Decimal("-0.0000000001"), "a\r\nb ")
    assert "salary" not in dir(one)


@pytest.mark.parametrize(
    ("where", "ids"),
    [
        ({"lot": {"eq": "L1"}}, [1]),
        ({"lot": {"in": {"value": ["L1", ""]}}}, [1, 2]),
        ({"weight": {"lt": Decimal("-0.00000000005")}}, [3]),
        ({"weight": {"isNull": True}}, [2]),
        ({"weight": {"isNull": False}, "passed": {"eq": True}}, [1]),
        ({"or": [{"id": {"eq": 1}}, {"lot": {"eq": 'L&<>"'}, "id": {"gt": 1}}]}, [1, 3]),
        ({"not": [{"id": {"ge": 2}}]}, [1]),
        ({"and": [{"or": [{"id": {"eq": 1}}, {"id": {"eq": 2}}]}], "id": {"gt": 1}}, [2]),
        ({"made": {"eq": dt.date(2026, 1, 1)}}, [1]),
        ({"at": {"le": dt.datetime(2026, 1, 1, 8, tzinfo=dt.timezone(dt.timedelta(hours=8)))}}, [1]),
        ({"photo": {"eq": b"\0\xff"}}, [1]),
        ({"a_x0020_b": {"like": "a%"}}, [3]),
        ({"检验员": {"eq": "张*丰"}}, [1]),
    ],
)
def test_filters(service: Any, where: Any, ids: list[int]) -> None:
    found = rows(service.Query(filter=where, order={"by": [{"field": "id"}]}, fields={"field": ["id"]}))
    assert [row.id for row in found] == ids


def test_pages_and_order(service: Any) -> None:
    asked = {"order": {"by": [{"field": "id", "descending": True}]}, "limit": 2}
    first = service.Query(**asked, count=True)
    assert ([row.id for row in rows(first)], first.total) == ([3, 2], 3)
    second = service.Query(**asked, after=first.next)
    assert ([row.id for row in rows(second)], second.next) == ([1], None)
    with pytest.raises(Fault, match="cursor"):
        service.Query(after="nonsense")


def test_a_row_is_written_read_changed_and_deleted(service: Any) -> None:
    new = {"id": 10, "lot": "", "plant": "A", "weight": Decimal("0.0000000001"), "made": dt.date(2026, 2, 3),
           "tags": {"item": ["一", "b"]}, "photo": b"\1", "a_x0020_b": xsd.Nil}  # fmt: skip
    told = service.Insert(rows={"row": [new]}, returnRows=True)
    assert (told.touched, told.inserted, rows(told)[0].id, rows(told)[0].weight) == (1, 1, 10, new["weight"])
    got = service.Get(id=10)
    assert (got.row.lot or "", got.row.made, got.row.tags.item, got.row.photo) == ("", new["made"], ["一", "b"], b"\1")
    assert (got.row.passed, got.row.a_x0020_b) == (None, None)
    changed = service.Update(key={"id": 10}, set={"lot": "新", "made": xsd.Nil}, etag=got.etag, returnRows=True)
    assert (changed.touched, rows(changed)[0].lot, rows(changed)[0].made) == (1, "新", None)
    with pytest.raises(Fault, match="changed since"):
        service.Update(key={"id": 10}, set={"lot": "late"}, etag=got.etag)
    merged = service.Upsert(rows={"row": [{"id": 10, "lot": "M", "plant": "A"}, {"id": 11, "lot": "N", "plant": "A"}]})
    assert (merged.touched, merged.inserted, [key.id for key in merged.keys.key]) == (2, 1, [10, 11])
    assert service.Delete(filter={"id": {"ge": 10}}).touched == 2
    with pytest.raises(Fault, match="no such row"):
        service.Get(id=10)


def test_an_empty_text_is_no_null(service: Any, served: Served) -> None:
    service.Insert(
        rows={"row": [{"id": 20, "lot": "x", "a_x0020_b": ""}, {"id": 21, "lot": "y", "a_x0020_b": xsd.Nil}]}
    )
    with psycopg.connect(served.database) as database:
        assert database.execute('SELECT "a b" FROM items WHERE id >= 20 ORDER BY id').fetchall() == [("",), (None,)]


def test_a_repetition_is_harmless(service: Any) -> None:
    key = uuid4().hex
    asked = {"rows": {"row": [{"id": 30, "lot": "x"}]}, "idempotencyKey": key}
    assert [service.Insert(**asked).replayed for _ in range(2)] == [False, True]
    with pytest.raises(Fault, match="idempotency key"):
        service.Insert(rows={"row": [{"id": 31, "lot": "x"}]}, idempotencyKey=key)


@pytest.mark.parametrize(
    ("work", "code"),
    [
        (lambda service: service.Insert(rows={"row": [{"id": 1, "lot": "x"}]}), "row.conflict"),
        (lambda service: service.Insert(rows={"row": [{"id": 40, "lot": "x", "plant": "B"}]}), "access.denied"),
        (lambda service: service.Insert(rows={"row": [{"id": 40, "lot": "x", "weight": -2}]}), "body.invalid"),
        (lambda service: service.Update(set={"lot": "all"}), "write.unfiltered"),
        (lambda service: service.Update(filter={"id": {"gt": 0}}, set={"lot": "z"}, most=1), "write.too_many"),
        (lambda service: service.Update(key={"id": 4}, set={"lot": "z"}), "row.unknown"),
        (lambda service: service.Query(limit=-1), "body.invalid"),
    ],
)
def test_faults_have_our_codes(service: Any, work: Any, code: str) -> None:
    with pytest.raises(Fault) as told:
        work(service)
    twelve = bool(told.value.subcodes)
    assert told.value.code.rpartition(":")[2] == ("Sender" if twelve else "Client")
    detail = told.value.detail
    assert detail.findtext(".//{urn:tongqu:problem}code") == code
    if twelve:
        assert told.value.subcodes[0].localname == code


@pytest.mark.parametrize("port", ["Soap11", "Soap12"])
def test_a_thousand_rows_there_and_back(served: Served, port: str) -> None:
    with psycopg.connect(served.database, autocommit=True) as database:
        database.execute("TRUNCATE many")
    many = served.client("many").bind("many", port)
    sent = [{"id": number, "name": f"名 {number}"} for number in range(1000)]
    assert many.Insert(rows={"row": sent}).inserted == 1000
    got = many.Query(order={"by": [{"field": "id"}]}).rows.row
    assert [(row.id, row.name) for row in got] == [(row["id"], row["name"]) for row in sent]


def test_the_description_is_of_the_caller(served: Served) -> None:
    mine = served.session(authorization=f"Bearer {served.token}").get(f"{served.gateway.url}/soap/v1/items?wsdl")
    assert "批号" in mine.text
    assert 'totalDigits value="38"' in mine.text
    assert "salary" not in mine.text
    nobody = served.session()
    for name in ("items", "nothing"):
        refused = nobody.get(f"{served.gateway.url}/soap/v1/{name}?wsdl")
        assert (refused.status_code, "Basic" in refused.headers["www-authenticate"]) == (401, True)
    public = zeep.Client(f"{served.gateway.url}/soap/v1/open?wsdl")
    assert [name for name in ("Query", "Get", "Insert") if name in dir(public.service)] == ["Query", "Get"]
    public.service.Query()


class Stamp:
    """Adds a Timestamp, as clients that sign do."""

    def apply(self, envelope: Any, headers: Any) -> Any:
        now = dt.datetime.now(dt.UTC).replace(microsecond=0)
        until = now + dt.timedelta(minutes=5)
        get_security_header(envelope).append(WSU.Timestamp(WSU.Created(_zulu(now)), WSU.Expires(_zulu(until))))
        return envelope, headers


def _zulu(moment: dt.datetime) -> str:
    return moment.strftime("%Y-%m-%dT%H:%M:%SZ")


def test_a_user_name_token_in_the_message(served: Served) -> None:
    good = served.inside_message(UsernameToken("mes", served.secret), Stamp())
    assert rows(good.Query(fields={"field": ["id"]}))
    for token in (UsernameToken("mes", "wrong"), UsernameToken("hr", served.secret)):
        with pytest.raises(Fault) as told:
            served.inside_message(token).Query()
        assert told.value.code == "wsse:FailedAuthentication"
    with pytest.raises(Fault) as told:
        served.inside_message(UsernameToken("mes", served.secret, use_digest=True)).Query()
    assert (told.value.code, "hashed" in told.value.message) == ("wsse:UnsupportedSecurityToken", True)


def test_a_signed_message(served: Served) -> None:
    key, pem = str(served.folder / "mes.key"), str(served.folder / "mes.pem")
    signing = Stamp(), BinarySignature(key, pem, **STRONG)
    assert rows(served.inside_message(*signing).Query(fields={"field": ["id"]}))
    with pytest.raises(Fault, match="addressing"):  # zeep signs Body and Timestamp only
        served.inside_message(*signing, plugins=[WsAddressingPlugin()]).Query()
    with pytest.raises(Fault, match="Timestamp"):
        served.inside_message(signing[1]).Query()
    with pytest.raises(Fault, match="signature"):  # SHA-1
        served.inside_message(Stamp(), BinarySignature(key, pem)).Query()


def test_limits_are_of_the_client_that_the_message_names(served: Served) -> None:
    few = served.inside_message(UsernameToken("mes", served.secret), name="few")  # its description was the first call
    few.Query()
    with pytest.raises(Fault) as told:
        few.Query()
    assert told.value.detail.findtext(".//{urn:tongqu:problem}code") == "limit.exceeded"


def test_an_injection_is_refused_before_it_is_read(served: Served) -> None:
    with pytest.raises(Fault) as told:
        served.client().service.Query(filter={"lot": {"eq": "x' OR '1'='1"}})
    assert told.value.detail.findtext(".//{urn:tongqu:problem}code") == "shield.refused"


def test_a_name_and_secret_count_only_here(served: Served) -> None:
    told = served.session().get(f"{served.gateway.url}/api/v1/items", auth=("mes", served.secret))
    assert (told.status_code, told.json()["code"]) == (401, "auth.invalid")
