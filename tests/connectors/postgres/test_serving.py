"""What PostgreSQL serves that others do not have: collations, arrays, JSON paths, and lost servers."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable
from dataclasses import replace
from typing import Any, TypeVar
from urllib.parse import urlsplit

import psycopg
import pyarrow as pa
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlglot import exp, parse_one

from tongqu.connectors.postgres.serving.server import PostgresServer
from tongqu.connectors.postgres.settings import from_url
from tongqu.core import errors
from tongqu.core.server import Change, Idempotency, Limits, Query
from tongqu.meaning.masks import Mask, masked_value
from tongqu.testing.conformance.asked import LIMITS, column, hole, parsed, query
from tongqu.testing.services import start_postgres
from tongqu.testing.services.proxy import FaultProxy

T = TypeVar("T")


def done(url: str, *statements: str) -> None:
    """Run statements."""
    with psycopg.connect(url, autocommit=True) as connection:
        for statement in statements:
            connection.execute(statement)


def serve(url: str, work: Callable[[PostgresServer], Awaitable[T]]) -> T:
    """What the work gives, done with an open server."""

    async def whole() -> T:
        server = PostgresServer(from_url(url))
        await server.open()
        try:
            return await work(server)
        finally:
            await server.close()

    return asyncio.run(whole())


def asked(url: str, sql: str, columns: list[pa.Field[Any]], **params: Any) -> list[dict[str, Any]]:
    """The rows that a SELECT with `:name` parameters gives."""
    tree = parse_one(sql, read="postgres")
    assert isinstance(tree, exp.Query)

    async def work(server: PostgresServer) -> list[dict[str, Any]]:
        return parsed((await server.query(Query(tree, params, tuple(columns)), "json", LIMITS)).body)

    return serve(url, work)


ID: list[pa.Field[Any]] = [pa.field("id", pa.int64())]


def test_text_is_compared_by_code_point_whatever_the_collation(pg_url: str) -> None:
    done(
        pg_url,
        "CREATE COLLATION loose (provider = icu, locale = 'und-u-ks-level1', deterministic = false)",
        'CREATE TABLE words (id bigint PRIMARY KEY, icu text COLLATE "und-x-icu", loose text COLLATE loose)',
        "INSERT INTO words SELECT n, w, w FROM unnest('{b,A,a,B,é,e,中}'::text[]) WITH ORDINALITY u(w, n)",
    )
    words = ["b", "A", "a", "B", "é", "e", "中"]
    for name in ("icu", "loose"):
        ordered = asked(pg_url, f'SELECT id FROM (SELECT id, {name} FROM words) v ORDER BY "{name}"', ID)
        assert [words[row["id"] - 1] for row in ordered] == sorted(words)
        less = asked(pg_url, f'SELECT id FROM (SELECT * FROM words) v WHERE v."{name}" < :p', ID, p="a")
        assert {words[row["id"] - 1] for row in less} == {"A", "B"}
        equal = asked(pg_url, f'SELECT id FROM (SELECT id, {name} FROM words) v WHERE "{name}" = :p', ID, p="A")
        assert [row["id"] for row in equal] == [2]
        groups = asked(pg_url, f'SELECT count(*) AS id FROM (SELECT {name} FROM words) v GROUP BY "{name}"', ID)
        assert len(groups) == len(words)
        found = asked(
            pg_url, f"SELECT max({name}) AS m FROM (SELECT {name} FROM words) v", [pa.field("m", pa.string())]
        )
        assert found == [{"m": "中"}]


def test_every_type_is_what_it_is_in_json(pg_url: str) -> None:
    done(
        pg_url,
        "CREATE TYPE mood AS ENUM ('sad', 'ok')",
        "CREATE TYPE pair AS (a int, b text)",
        "CREATE TABLE odd (id bigint PRIMARY KEY, u uuid, j json, b jsonb, n numeric, x float8, t timestamptz,"
        " i interval, a int[], w text[], m mood, p pair, y bytea, net inet, yes boolean)",
        "INSERT INTO odd VALUES (1, '123e4567-e89b-12d3-a456-426614174000', '{\"a\":  1.10}', '{\"a\": 1.10}',"
        " 12345678901234567890.10, 'NaN', '2024-03-31 02:30:00.5+08', '1 day', '{1,null}', '{a,NULL}', 'ok',"
        " '(1,x)', '\\x00ff', '10.0.0.1', true), (2, null, 'null', 'null', 'NaN', '-Infinity', "
        "null, null, null, null, null, null, null, null, null)",
    )

    async def work(server: PostgresServer) -> None:
        dataset = await server.describe("odd")
        whole = query(dataset, dataset.schema.names)
        text = (await server.query(whole, "json", LIMITS)).body.decode()
        first, second = json.loads(text)
        assert '"n":12345678901234567890.10' in text
        assert first | {"n": 0} == {
            "id": 1, "u": "123e4567-e89b-12d3-a456-426614174000", "j": {"a": 1.1}, "b": {"a": 1.1}, "n": 0, "x": "NaN",
            "t": "2024-03-30T18:30:00.5+00:00", "i": "1 day", "a": [1, None], "w": ["a", None], "m": "ok",
            "p": "(1,x)", "y": "\\x00ff", "net": "10.0.0.1", "yes": True,
        }  # fmt: skip
        assert (second["j"], second["b"], second["n"], second["x"], second["u"]) == (
            None,
            None,
            "NaN",
            "-Infinity",
            None,
        )
        rows = await server.query(whole, "rows", LIMITS)
        assert [json.loads(json.dumps(row, default=float)) for row in rows.values] == [
            list(one.values()) for one in (first, second)
        ]

    serve(pg_url, work)


def test_arrays_paths_and_lists_are_asked_for(pg_url: str) -> None:
    done(
        pg_url,
        "CREATE TABLE docs (id bigint PRIMARY KEY, tags text[], doc jsonb)",
        """INSERT INTO docs VALUES (1, '{a,b}', '{"k": {"v": "x"}}'), (2, '{b,c}', '{"k": {"v": "y"}}')""",
    )
    view = "SELECT id FROM (SELECT * FROM docs) v WHERE"
    assert asked(pg_url, f"{view} tags @> :p", ID, p=["b", "c"]) == [{"id": 2}]
    assert asked(pg_url, f"{view} tags <@ :p", ID, p=["a", "b", "z"]) == [{"id": 1}]
    assert len(asked(pg_url, f"{view} tags && :p", ID, p=["b"])) == 2
    assert asked(pg_url, f"{view} id = ANY(:p)", ID, p=[2, 3]) == [{"id": 2}]
    assert asked(pg_url, f"{view} doc -> 'k' ->> 'v' = :p", ID, p="y") == [{"id": 2}]


def test_numbers_beyond_the_column_are_compared_all_the_same(pg_url: str) -> None:
    done(pg_url, "CREATE TABLE small (id int PRIMARY KEY)", "INSERT INTO small VALUES (1), (2)")
    view = "SELECT id FROM (SELECT * FROM small) v WHERE"
    assert asked(pg_url, f"{view} id < :p ORDER BY id", ID, p=2**70) == [{"id": 1}, {"id": 2}]
    assert asked(pg_url, f"{view} id > :p", ID, p=1.5) == [{"id": 2}]
    with pytest.raises(errors.CastError) as told:
        asked(pg_url, f"{view} id > :p", ID, p="hunter2")
    assert "hunter2" not in told.value.message


def test_a_table_may_change_between_two_questions(pg_url: str) -> None:
    done(pg_url, "CREATE TABLE moving (id bigint PRIMARY KEY)", "INSERT INTO moving VALUES (1)")

    async def work(server: PostgresServer) -> None:
        first = query(await server.describe("moving"), ["id"])
        assert parsed((await server.query(first, "json", LIMITS)).body) == [{"id": 1}]
        done(pg_url, "ALTER TABLE moving ALTER id TYPE text", "CREATE SCHEMA more", "CREATE TABLE more.moving (id int)")
        assert (await server.query(first, "json", LIMITS)).body == b'[{"id":"1"}]'
        there = query(await server.describe("more.moving"), ["id"])
        assert (await server.query(there, "json", LIMITS)).rows == 0

    serve(pg_url, work)


def test_a_restarted_server_is_found_again() -> None:
    server = start_postgres()
    try:
        url = server.database()
        done(url, "CREATE TABLE kept (id bigint PRIMARY KEY)", "INSERT INTO kept VALUES (1)")

        async def work(serving: PostgresServer) -> None:
            asking = query(await serving.describe("kept"), ["id"])
            await asyncio.gather(*(serving.query(asking, "json", LIMITS) for _ in range(5)))
            server.kill9()
            with pytest.raises(errors.ConnectError):
                await serving.query(asking, "json", LIMITS)
            await asyncio.to_thread(server.restart)
            assert (await serving.query(asking, "json", LIMITS)).rows == 1

        serve(url, work)
    finally:
        server.stop()


def test_a_refused_login_is_told(pg_url: str) -> None:
    with pytest.raises(errors.AuthError) as told:
        serve(pg_url.replace("://postgres:", "://postgres:wrong"), lambda server: server.describe("x"))
    assert "wrong" not in str(told.value)


def test_reading_connections_cannot_write(pg_url: str) -> None:
    sneak = "CREATE FUNCTION sneak() RETURNS int LANGUAGE sql AS 'INSERT INTO t VALUES (1) RETURNING 1'"
    done(pg_url, "CREATE TABLE t (id bigint)", sneak)
    with pytest.raises(errors.PrivilegeError):
        asked(pg_url, "SELECT sneak() AS id", ID)


def test_statements_that_are_no_select_are_not_approved(pg_url: str) -> None:
    done(pg_url, "CREATE TABLE t (id bigint)")
    for sql in ("DELETE FROM t RETURNING id", "SELECT 1; SELECT 2", "SELECT id FROM t FOR UPDATE", "no sql",
                "WITH x AS (DELETE FROM t RETURNING id) SELECT * FROM x", "SELECT id, id FROM t",
                "SELECT id FROM t WHERE id = :undeclared"):  # fmt: skip
        with pytest.raises(errors.ExpressionError):
            serve(pg_url, lambda server, sql=sql: server.columns(sql, {}))  # type: ignore[misc]  # one statement a call


def test_constraints_are_named_without_values(pg_url: str) -> None:
    done(
        pg_url,
        "CREATE TABLE parts (id bigint PRIMARY KEY, weight numeric(5,2) NOT NULL CHECK (weight > 0), "
        "of bigint REFERENCES parts, name varchar(3))",
    )

    async def work(server: PostgresServer) -> None:
        dataset = await server.describe("parts")
        fields = tuple(dataset.schema)
        for row, kind in (
            ((1, None, None, "a"), "required"), ((1, -1, None, "a"), "check"), ((1, 1, 9, "a"), "reference"),
            ((1, 1, None, "hunter2"), "length"), ((1, "hunter2", None, "a"), "value"),
            ((1, 12345, None, "a"), "value"),
        ):  # fmt: skip
            with pytest.raises(errors.RefusedRowsError) as told:
                await server.transact([Change("insert", "parts", fields, [row])], LIMITS)
            assert told.value.params["kind"] == kind
            assert "hunter2" not in str(told.value.problem())
        with pytest.raises(errors.DuplicateError):
            await server.transact([Change("insert", "parts", fields, [(1, 1, None, "a"), (1, 1, None, "a")])], LIMITS)

    serve(pg_url, work)


def test_a_trigger_or_a_view_that_refuses_a_row_refuses_that_row(pg_url: str) -> None:
    done(
        pg_url,
        "CREATE TABLE lots (id bigint PRIMARY KEY)",
        "CREATE FUNCTION no() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RAISE EXCEPTION 'hunter2'; END $$",
        "CREATE TRIGGER no BEFORE INSERT ON lots FOR EACH ROW WHEN (NEW.id > 10) EXECUTE FUNCTION no()",
        "CREATE VIEW few AS SELECT id FROM lots WHERE id < 5 WITH CHECK OPTION",
    )

    async def work(server: PostgresServer) -> None:
        fields = tuple((await server.describe("lots")).schema)
        for table, row in (("lots", (11,)), ("few", (6,))):
            with pytest.raises(errors.RefusedRowsError) as told:
                await server.transact([Change("insert", table, fields, [row])], LIMITS)
            assert told.value.params["kind"] == "check" and "hunter2" not in str(told.value.problem())

    serve(pg_url, work)


def test_arrays_and_documents_are_written(pg_url: str) -> None:
    done(pg_url, "CREATE TABLE docs (id bigint PRIMARY KEY, tags text[], doc jsonb, raw bytea, at timestamptz)")

    async def work(server: PostgresServer) -> None:
        dataset = await server.describe("docs")
        rows = [
            (1, ["a", None], '{"a": 1.10}', b"\x00\xff", "2024-01-01T00:00:00+08:00"),
            (2, None, {"b": [1, None]}, "\\xff", None),
        ]
        await server.transact([Change("insert", "docs", tuple(dataset.schema), rows)], LIMITS)
        found = parsed((await server.query(query(dataset, dataset.schema.names), "json", LIMITS)).body)
        assert [list(row.values())[1:4] for row in found] == [
            [["a", None], {"a": parsed(b"[1.10]")[0]}, "\\x00ff"], [None, {"b": [1, None]}, "\\xff"],
        ]  # fmt: skip

    serve(pg_url, work)


def test_a_row_that_is_locked_is_waited_for_only_so_long(pg_url: str) -> None:
    done(pg_url, "CREATE TABLE held (id bigint PRIMARY KEY, v text)", "INSERT INTO held VALUES (1, 'a')")

    async def work(server: PostgresServer) -> None:
        dataset = await server.describe("held")
        change = Change("update", "held", (dataset.schema.field("v"),), [("b",)])
        with psycopg.connect(pg_url) as other:
            other.execute("UPDATE held SET v = 'c'")
            with pytest.raises(errors.BusyError):
                await server.transact([change], Limits(seconds=0.2))
            other.rollback()
        assert (await server.transact([change], LIMITS)).touched == (1,)

    serve(pg_url, work)


def test_a_commit_whose_answer_is_lost_is_told_or_found_out(pg_url: str) -> None:
    done(pg_url, "CREATE TABLE sent (id bigint PRIMARY KEY)")
    parts = urlsplit(pg_url)
    with FaultProxy(str(parts.hostname), parts.port or 0) as proxy:

        async def work(server: PostgresServer) -> None:
            dataset = await server.describe("sent")
            rows = [Change("insert", "sent", tuple(dataset.schema), [(number,)]) for number in (1, 2)]
            await server.transact([], LIMITS, Idempotency("a", "k", "p"), lambda _: b"")
            proxy.drop_replies(after=lambda piece: b"COMMIT" in piece)
            with pytest.raises(errors.UnknownOutcomeError):
                await server.transact(rows[:1], LIMITS)
            await server.transact([], LIMITS)
            proxy.drop_replies(after=lambda piece: b"COMMIT" in piece)
            found = await server.transact(rows[1:], LIMITS, Idempotency("a", "k2", "p"), lambda _: b"made")
            assert found.touched == (1,)

        serve(proxy.url(pg_url), work)
    with psycopg.connect(pg_url) as connection:
        assert connection.execute("SELECT id FROM sent ORDER BY id").fetchall() == [(1,), (2,)]


TEXTS = st.text(
    st.one_of(
        st.characters(codec="utf-8", exclude_characters="\x00"),
        st.sampled_from("张王欧阳司马娜 \t\n\u3000@.*-_𠮷😀é1234567890"),
    ),
    max_size=24,
)
KINDS: tuple[dict[str, Any], ...] = (
    {"with": "name"}, {"with": "email"}, {"with": "phone"}, {"with": "id_card"},
    {"with": "keep", "first": 2, "last": 1},
)  # fmt: skip


@settings(max_examples=8, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(values=st.lists(TEXTS, min_size=40, max_size=60))
def test_masks_are_those_of_python(pg_url: str, values: list[str]) -> None:
    done(pg_url, "DROP TABLE IF EXISTS people", "CREATE TABLE people (id bigint PRIMARY KEY, v text)")
    with psycopg.connect(pg_url, autocommit=True) as connection:
        connection.cursor().executemany("INSERT INTO people VALUES (%s, %s)", list(enumerate(values)))

    async def work(server: PostgresServer) -> None:
        dataset = await server.describe("people")
        for kind in KINDS:
            mask = Mask.parse(kind)
            made = server.mask(mask, dataset.schema.field("v"))
            assert made is not None
            page = await server.query(query(dataset, ["v"], masks={"v": made}), "json", LIMITS)
            assert [row["v"] for row in parsed(page.body)] == [masked_value(mask, value) for value in values], kind

    serve(pg_url, work)


def test_an_index_answers_an_equality(pg_url: str) -> None:
    done(
        pg_url,
        "CREATE TABLE many (id bigint PRIMARY KEY, code text)",
        "INSERT INTO many SELECT n, 'c' || n FROM generate_series(1, 5000) n",
        "CREATE INDEX ON many (code)",
        "ANALYZE many",
    )

    async def work(server: PostgresServer) -> None:
        where = exp.EQ(this=column("code"), expression=hole("p"))
        cost = await server.explain(query(await server.describe("many"), ["id"], where=where, params={"p": "c7"}))
        assert "Index" in cost.plan and cost.rows <= 2 and "c7" not in cost.plan

    serve(pg_url, work)


def test_questions_of_one_shape_go_together_and_never_mix(pg_url: str) -> None:
    done(
        pg_url,
        "CREATE TABLE many (id bigint PRIMARY KEY, code text, at timestamptz)",
        "INSERT INTO many SELECT n, 'c' || (n % 7), '2024-01-01'::timestamptz + n * interval '1 s' "
        "FROM generate_series(0, 499) n",
    )

    async def work(server: PostgresServer) -> None:
        dataset = await server.describe("many")
        where = exp.And(
            this=exp.GTE(this=column("id"), expression=hole("p")),
            expression=exp.EQ(this=column("code"), expression=hole("c")),
        )
        first = query(dataset, ["id", "code"], where=where, limit=5, keys=["id"], params={"p": 0, "c": "c0"})
        await server.query(first, "json", LIMITS)

        def one(number: int) -> Query:
            wrong = {"p": "no number"} if number == 77 else {"p": number}
            return replace(first, params={**first.params, **wrong, "c": f"c{number % 7}"})

        found = await asyncio.gather(
            *(server.query(one(number), "json", LIMITS) for number in range(200)), return_exceptions=True
        )
        for number, page in enumerate(found):
            if number == 77:
                assert isinstance(page, errors.CastError)
                continue
            wanted = [n for n in range(number, 500) if n % 7 == number % 7][:5]
            assert not isinstance(page, BaseException), page
            assert [row["id"] for row in parsed(page.body)] == wanted
            assert (page.rows, page.last) == (5, (wanted[-1],))

    serve(pg_url, work)


def test_a_question_that_was_given_up_does_not_hold_the_others(pg_url: str) -> None:
    done(pg_url, "CREATE TABLE slow (id bigint PRIMARY KEY)", "INSERT INTO slow SELECT generate_series(1, 40)")

    async def work(server: PostgresServer) -> None:
        dataset = await server.describe("slow")
        where = exp.EQ(this=column("id"), expression=hole("p"))
        first = query(dataset, ["id"], where=where, params={"p": 1})
        await server.query(first, "json", LIMITS)
        asking = [
            asyncio.create_task(server.query(replace(first, params={"p": n}), "json", LIMITS)) for n in range(1, 41)
        ]
        await asyncio.sleep(0)
        for task in asking[::2]:
            task.cancel()
        found = await asyncio.gather(*asking, return_exceptions=True)
        for number, page in enumerate(found, 1):
            if number % 2 == 0:
                assert not isinstance(page, BaseException) and parsed(page.body) == [{"id": number}]

    serve(pg_url, work)


def test_a_session_that_forgot_its_statements_is_asked_without_names(pg_url: str) -> None:
    done(pg_url, "CREATE TABLE lost (id bigint PRIMARY KEY)", "INSERT INTO lost VALUES (1)")

    async def work(server: PostgresServer) -> None:
        first = query(await server.describe("lost"), ["id"])
        assert (await server.query(first, "json", LIMITS)).rows == 1
        async with server.reading(5) as connection:  # as a pooler does that gives each transaction another session
            await connection.raw.execute("DEALLOCATE ALL")
        for _ in range(3):
            assert parsed((await server.query(first, "json", LIMITS)).body) == [{"id": 1}]

    serve(pg_url, work)


def test_a_table_may_change_between_two_changes(pg_url: str) -> None:
    done(pg_url, "CREATE TABLE turned (id bigint PRIMARY KEY, code text)")

    async def work(server: PostgresServer) -> None:
        dataset = await server.describe("turned")
        shown = query(dataset, ["id", "code"])
        for number, alter in enumerate(("", "ALTER TABLE turned ALTER code TYPE varchar(40)")):
            if alter:
                done(pg_url, alter)
            change = Change("insert", "turned", tuple(dataset.schema), [(number, "a")], returning=shown)
            outcome = await server.transact([change], LIMITS)
            assert [parsed(page.body) for page in outcome.pages if page] == [[{"id": number, "code": "a"}]]

    serve(pg_url, work)


def test_pages_of_text_that_json_escapes_are_whole(pg_url: str) -> None:
    done(
        pg_url,
        "CREATE TABLE odd (id bigint PRIMARY KEY, word text, doc json)",
        r"INSERT INTO odd VALUES (1, E'a\x1eb,\n\x1f', E'{\"a\":\n\"\\\\u001e\"}'), (2, '''$1', NULL), (3, '', '[]')",
    )

    async def work(server: PostgresServer) -> None:
        where = exp.And(
            this=exp.GT(this=column("id"), expression=hole("p")),
            expression=exp.NEQ(this=column("word"), expression=exp.Literal.string("it's $1")),
        )
        first = query(await server.describe("odd"), ["id", "word", "doc"], where=where, keys=["id"], params={"p": 0})
        alone = await server.query(first, "json", LIMITS)
        found = await asyncio.gather(*(server.query(first, "json", LIMITS) for _ in range(20)))
        none = await server.query(replace(first, params={"p": 3}), "json", LIMITS)
        assert [row["word"] for row in parsed(alone.body)] == ["a\x1eb,\n\x1f", "'$1", ""]
        assert {(page.body, page.rows, page.last) for page in found} == {(alone.body, 3, (3,))}
        assert (none.body, none.rows, none.last) == (b"[]", 0, ())

    serve(pg_url, work)
