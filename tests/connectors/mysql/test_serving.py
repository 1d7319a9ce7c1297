"""What MariaDB serves in its own way: collations, generated keys, masks, statements, and lost servers."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any, TypeVar
from urllib.parse import unquote, urlsplit

import pyarrow as pa
import pymysql
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlglot import exp, parse_one

from tongqu.connectors.mysql.serving.server import MysqlServer
from tongqu.connectors.mysql.settings import from_url
from tongqu.core.errors import (
    AuthError,
    ConnectError,
    ExpressionError,
    InvalidPlanError,
    NotFoundError,
    PrivilegeError,
    RefusedRowsError,
    UnknownOutcomeError,
)
from tongqu.core.server import Change, Idempotency, Query
from tongqu.meaning.masks import Mask, masked_value
from tongqu.testing.conformance.asked import LIMITS, column, hole, parsed, query
from tongqu.testing.services import start_mariadb
from tongqu.testing.services.proxy import FaultProxy

T = TypeVar("T")
ID: list[pa.Field[Any]] = [pa.field("id", pa.int64())]


def done(url: str, *statements: str, rows: list[tuple[Any, ...]] | None = None) -> list[tuple[Any, ...]]:
    """Run statements, the last one for each of the rows; what it found."""
    parts = urlsplit(url)
    connection = pymysql.connect(
        host=parts.hostname, port=parts.port or 0, user=parts.username, password=unquote(parts.password or ""),
        database=parts.path[1:], autocommit=True, charset="utf8mb4",
    )  # fmt: skip
    try:
        with connection.cursor() as cursor:
            for statement in statements[:-1] if rows is not None else statements:
                cursor.execute(statement)
            if rows is not None:
                cursor.executemany(statements[-1], rows)
            return list(cursor.fetchall())
    finally:
        connection.close()


def serve(url: str, work: Callable[[MysqlServer], Awaitable[T]]) -> T:
    """What the work gives, done with an open server."""

    async def whole() -> T:
        server = MysqlServer(from_url(url))
        await server.open()
        try:
            return await work(server)
        finally:
            await server.close()

    return asyncio.run(whole())


def asked(url: str, sql: str, columns: list[pa.Field[Any]], **params: Any) -> list[dict[str, Any]]:
    """The rows that a SELECT with `:name` parameters gives."""
    tree = parse_one(sql, read="mysql")
    assert isinstance(tree, exp.Query)

    async def work(server: MysqlServer) -> list[dict[str, Any]]:
        return parsed((await server.query(Query(tree, params, tuple(columns)), "json", LIMITS)).body)

    return serve(url, work)


def test_text_of_any_collation_and_charset_is_compared_by_code_point(mysql_url: str) -> None:
    words = ["b", "A", "a", "B", "é", "e", "a "]
    done(
        mysql_url,
        "CREATE TABLE words (id bigint PRIMARY KEY, uni varchar(9) COLLATE utf8mb4_unicode_ci, "
        "latin varchar(9) CHARACTER SET latin1)",
        "INSERT INTO words VALUES (%s, %s, %s)",
        rows=[(number, word, word) for number, word in enumerate(words, 1)],
    )
    for name in ("uni", "latin"):
        ordered = asked(mysql_url, f"SELECT id FROM (SELECT id, `{name}` FROM words) v ORDER BY `{name}`", ID)
        assert [words[row["id"] - 1] for row in ordered] == sorted(words)
        equal = asked(mysql_url, f"SELECT id FROM (SELECT id, `{name}` FROM words) v WHERE `{name}` = :p", ID, p="a")
        assert [row["id"] for row in equal] == [3]
        either = asked(
            mysql_url, f"SELECT id FROM (SELECT * FROM words) v WHERE `{name}` IN (:p, :q)", ID, p="é", q="B"
        )
        assert {row["id"] for row in either} == {4, 5}
        groups = asked(mysql_url, f"SELECT COUNT(*) AS id FROM (SELECT `{name}` FROM words) v GROUP BY `{name}`", ID)
        assert len(groups) == len(words)


def test_every_type_is_what_it_is_in_json(mysql_url: str) -> None:
    done(
        mysql_url,
        "CREATE TABLE odd (id bigint PRIMARY KEY, d decimal(30,10), u bigint unsigned, f float, b bit(1), t time(6), "
        "ts timestamp(6) NULL, dt datetime(6), j json, e enum('x','y'), y year, raw varbinary(4), yes tinyint(1), "
        "g uuid)",
        "INSERT INTO odd VALUES (1, 12345678901234567890.0123456789, 18446744073709551615, 0.1, b'1', '12:34:56.5', "
        "'2024-01-01 00:00:00.5', '2024-01-01 00:00:00', '{\"a\": 1.10}', 'y', 2024, x'00ff', 1, "
        "'123e4567-e89b-12d3-a456-426614174000')",
    )

    async def work(server: MysqlServer) -> None:
        dataset = await server.describe("odd")
        body = (await server.query(query(dataset, dataset.schema.names), "json", LIMITS)).body
        assert body.decode() == (
            '[{"id":1,"d":12345678901234567890.0123456789,"u":18446744073709551615,"f":0.1,"b":true,"t":"12:34:56.5",'
            '"ts":"2024-01-01T00:00:00.5+00:00","dt":"2024-01-01T00:00:00","j":{"a":1.10},"e":"y","y":2024,'
            '"raw":"\\\\x00ff","yes":1,"g":"123e4567-e89b-12d3-a456-426614174000"}]'
        )

    serve(mysql_url, work)


def test_documents_are_looked_into(mysql_url: str) -> None:
    done(
        mysql_url,
        "CREATE TABLE docs (id bigint PRIMARY KEY, doc json)",
        """INSERT INTO docs VALUES (1, '{"k": {"v": "x"}}'), (2, '{"k": {"v": null}}'), (3, null)""",
    )
    text = exp.JSONExtractScalar(this=column("doc"), expression=exp.JSONPath(expressions=[
        exp.JSONPathRoot(), exp.JSONPathKey(this="k"), exp.JSONPathKey(this="v")]))  # fmt: skip

    async def work(server: MysqlServer) -> None:
        dataset = await server.describe("docs")
        same = query(dataset, ["id"], where=exp.EQ(this=text.copy(), expression=hole("p")), params={"p": "x"})
        assert parsed((await server.query(same, "json", LIMITS)).body) == [{"id": 1}]
        nothing = query(dataset, ["id"], where=exp.Is(this=text.copy(), expression=exp.Null()))
        assert (await server.query(nothing, "json", LIMITS)).rows == 2
        with pytest.raises(InvalidPlanError):
            wrong = exp.ArrayContainsAll(this=column("doc"), expression=hole("p"))
            await server.query(query(dataset, ["id"], where=wrong, params={"p": "x"}), "json", LIMITS)

    serve(mysql_url, work)


def test_keys_that_the_database_counts_are_given_back(mysql_url: str) -> None:
    done(mysql_url, "CREATE TABLE counted (id bigint AUTO_INCREMENT PRIMARY KEY, v varchar(9) NOT NULL, w varchar(3))")

    async def work(server: MysqlServer) -> None:
        dataset = await server.describe("counted")
        v = dataset.schema.field("v")
        back = query(dataset, ["id", "v"])
        made = await server.transact([Change("insert", "counted", (v,), [("a",), ("b",)], returning=back)], LIMITS)
        page = made.pages[0]
        assert page is not None and parsed(page.body) == [{"id": 1, "v": "a"}, {"id": 2, "v": "b"}]
        for row, kind in ((("c", "hunter2"), "length"), ((None, "x"), "required")):
            with pytest.raises(RefusedRowsError) as told:
                change = Change("insert", "counted", (v, dataset.schema.field("w")), [row])
                await server.transact([change], LIMITS)
            assert told.value.params["kind"] == kind and told.value.params["column"] in ("v", "w")
            assert "hunter2" not in str(told.value.problem())

    serve(mysql_url, work)


def test_statements_that_are_no_select_are_not_approved(mysql_url: str) -> None:
    done(mysql_url, "CREATE TABLE t (id bigint)")
    for sql in ("DELETE FROM t", "SELECT 1; SELECT 2", "SELECT id FROM t FOR UPDATE", "SELECT missing FROM t",
                "SELECT id FROM t WHERE id = :undeclared"):  # fmt: skip
        with pytest.raises(ExpressionError):
            serve(mysql_url, lambda server, sql=sql: server.columns(sql, {}))  # type: ignore[misc]  # one statement a call


def test_reading_connections_cannot_write(mysql_url: str) -> None:
    done(
        mysql_url,
        "CREATE TABLE t (id bigint) ENGINE=InnoDB",
        "CREATE FUNCTION sneak() RETURNS int DETERMINISTIC MODIFIES SQL DATA "
        "BEGIN INSERT INTO t VALUES (1); RETURN 1; END",
    )
    with pytest.raises(PrivilegeError):
        asked(mysql_url, "SELECT sneak() AS id", ID)
    with pytest.raises(NotFoundError):
        asked(mysql_url, "SELECT id FROM missing", ID)


def test_a_refused_login_is_told(mysql_url: str) -> None:
    with pytest.raises(AuthError) as told:
        serve(mysql_url.replace("://root:", "://root:wrong"), lambda server: server.describe("x"))
    assert "wrong" not in str(told.value)


def test_a_restarted_server_is_found_again() -> None:
    server = start_mariadb()
    try:
        url = server.database()
        done(url, "CREATE TABLE kept (id bigint PRIMARY KEY)", "INSERT INTO kept VALUES (1)")

        async def work(serving: MysqlServer) -> None:
            asking = query(await serving.describe("kept"), ["id"])
            await asyncio.gather(*(serving.query(asking, "json", LIMITS) for _ in range(5)))
            server.kill9()
            with pytest.raises(ConnectError):
                await serving.query(asking, "json", LIMITS)
            await asyncio.to_thread(server.restart)
            assert (await serving.query(asking, "json", LIMITS)).rows == 1

        serve(url, work)
    finally:
        server.stop()


def test_a_commit_whose_answer_is_lost_is_told_or_found_out(mysql_url: str) -> None:
    done(mysql_url, "CREATE TABLE sent (id bigint PRIMARY KEY)")
    parts = urlsplit(mysql_url)
    with FaultProxy(str(parts.hostname), parts.port or 0) as proxy:

        async def work(server: MysqlServer) -> None:
            dataset = await server.describe("sent")
            rows = [Change("insert", "sent", tuple(dataset.schema), [(number,)]) for number in (1, 2)]
            await server.transact([], LIMITS, Idempotency("a", "k", "p"), lambda _: b"")
            proxy.drop_replies(after=lambda piece: piece.endswith(b"\x03COMMIT"))
            with pytest.raises(UnknownOutcomeError):
                await server.transact(rows[:1], LIMITS)
            await server.transact([], LIMITS)
            proxy.drop_replies(after=lambda piece: piece.endswith(b"\x03COMMIT"))
            found = await server.transact(rows[1:], LIMITS, Idempotency("a", "k2", "p"), lambda _: b"made")
            assert found.touched == (1,)

        serve(proxy.url(mysql_url), work)
    assert done(mysql_url, "SELECT id FROM sent ORDER BY id") == [(1,), (2,)]


TEXTS = st.text(
    st.one_of(st.characters(codec="utf-8"), st.sampled_from("张王欧阳司马娜 \t\n\u3000@＠.*-_𠮷😀é1234567890")),
    max_size=24,
)
KINDS: tuple[dict[str, Any], ...] = (
    {"with": "name"}, {"with": "email"}, {"with": "phone"}, {"with": "keep", "first": 2, "last": 1},
)  # fmt: skip


@settings(max_examples=8, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(values=st.lists(TEXTS, min_size=40, max_size=60))
def test_masks_are_those_of_python(mysql_url: str, values: list[str]) -> None:
    done(
        mysql_url, "DROP TABLE IF EXISTS people", "CREATE TABLE people (id bigint PRIMARY KEY, v longtext)",
        "INSERT INTO people VALUES (%s, %s)", rows=list(enumerate(values)),
    )  # fmt: skip

    async def work(server: MysqlServer) -> None:
        dataset = await server.describe("people")
        for kind in KINDS:
            mask = Mask.parse(kind)
            made = server.mask(mask, dataset.schema.field("v"))
            assert made is not None
            page = await server.query(query(dataset, ["v"], masks={"v": made}), "json", LIMITS)
            assert [row["v"] for row in parsed(page.body)] == [masked_value(mask, value) for value in values], kind

    serve(mysql_url, work)


def test_an_index_answers_an_equality_and_the_order_of_the_key(mysql_url: str) -> None:
    done(
        mysql_url,
        "CREATE TABLE many (id bigint PRIMARY KEY, code varchar(20), KEY (code))",
        "INSERT INTO many SELECT seq, CONCAT('c', seq) FROM seq_1_to_5000",
        "ANALYZE TABLE many",
    )

    async def work(server: MysqlServer) -> None:
        dataset = await server.describe("many")
        where = exp.EQ(this=column("code"), expression=hole("p"))
        cost = await server.explain(query(dataset, ["id"], where=where, params={"p": "c7"}))
        assert cost.rows <= 2 and "code" in cost.plan and "c7" not in cost.plan
        assert (await server.explain(query(dataset, ["id"], limit=20))).rows <= 20

    serve(mysql_url, work)
