"""Mutations: rows added, merged, changed and deleted, each mutation whole by itself and once for each key."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from tests.gateway.graphql.asking import Graphql
from tests.gateway.rest.plant import ACCESS, QUALITY, Plant, run

from tongqu.core.policy import Actor

INSERT = """mutation($rows: [items_insert!]!, $key: String) {
  insert_items(rows: $rows, idempotencyKey: $key) {touched inserted replayed rows {id weight line {title}}}}"""


def test_rows_are_added_and_given_back_with_related_rows(tmp_path: Path) -> None:
    async def work(there: Plant) -> None:
        gql = Graphql(there)
        rows = [
            {"id": 8, "lot": "N", "plant": "A", "weight": "1.25", "line_id": 2},
            {"id": 9, "lot": "M", "plant": "A"},
        ]
        assert await gql.data(INSERT, rows=rows) == {
            "insert_items": {
                "touched": 2, "inserted": 2, "replayed": False,
                "rows": [{"id": 8, "weight": 1.25, "line": {"title": "涂装"}}, {"id": 9, "weight": None, "line": None}],
            }
        }  # fmt: skip
        assert await gql.data("{items_by_key(id:9){passed}}") == {"items_by_key": {"passed": True}}  # the default
        assert await gql.code(INSERT, rows=rows) == "row.conflict"
        assert await gql.code(INSERT, rows=[{"id": 10, "plant": "A"}]) == "value.invalid"  # `lot` must be given

    run(tmp_path, work)


def test_rows_are_merged_changed_and_deleted(tmp_path: Path) -> None:
    async def work(there: Plant) -> None:
        gql = Graphql(there)
        told = await gql.data(
            """mutation {
              upsert_items(rows: [{id: 1, lot: "U", plant: "A"}, {id: 30, lot: "V", plant: "A"}]) {touched inserted}
              update_items(where: {id: {in: [1, 30]}}, set: {weight: 7.125}) {touched rows {id weight @text}}
              one: update_items_by_key(id: 2, set: {lot: "W"}) {rows {lot inspector}}
              delete_items(where: {weight: {eq: 7.125}, id: {gt: 29}}) {touched rows {id}}
              gone: delete_items_by_key(id: 3) {touched}
            }"""
        )
        assert list(told) == ["upsert_items", "update_items", "one", "delete_items", "gone"]
        assert told["upsert_items"] == {"touched": 2, "inserted": 1}
        assert sorted(row["weight"] for row in told["update_items"]["rows"]) == ["7.125", "7.125"]
        assert told["one"] == {"rows": [{"lot": "W", "inspector": "李*"}]}
        assert told["delete_items"] == {"touched": 1, "rows": [{"id": 30}]} and told["gone"] == {"touched": 1}

    run(tmp_path, work)


def test_a_key_makes_a_mutation_happen_once(tmp_path: Path) -> None:
    async def work(there: Plant) -> None:
        gql = Graphql(there)
        rows = [{"id": 8, "lot": "N", "plant": "A"}]
        first = await gql.data(INSERT, rows=rows, key="k1")
        again = await gql.data(INSERT, rows=rows, key="k1")
        assert again["insert_items"].pop("replayed") and not first["insert_items"].pop("replayed")
        assert again == first
        assert await gql.code(INSERT, rows=[{**rows[0], "lot": "O"}], key="k1") == "key.reused"
        other = Actor("client:other", roles=QUALITY.roles, attributes=QUALITY.attributes)
        assert await gql.code(INSERT, other, rows=rows, key="k1") == "row.conflict"  # a key is its caller's
        assert await gql.code(INSERT, rows=rows, key="") == "value.invalid"

    run(tmp_path, work)


def test_where_a_key_is_needed_the_schema_says_so(tmp_path: Path) -> None:
    async def work(there: Plant) -> None:
        gql = Graphql(there)
        assert await gql.code("mutation{delete_items_by_key(id:1){touched}}") == "query.invalid"
        assert await gql.data('mutation{delete_items_by_key(id:1,idempotencyKey:"a"){touched}}')

    run(tmp_path, work, entries={"items": {"write": {"delete": True, "idempotency": "required"}}})


def test_a_mutation_that_fails_leaves_those_before_it_done(tmp_path: Path) -> None:
    async def work(there: Plant) -> None:
        gql = Graphql(there)
        told = await gql.call(
            'mutation{a:update_items_by_key(id:1,set:{lot:"X"}){touched}'
            ' b:update_items_by_key(id:4,set:{lot:"X"}){touched}'
            ' c:update_items_by_key(id:2,set:{lot:"Y"}){touched}}'
        )
        assert told["data"] == {"a": {"touched": 1}, "b": None, "c": {"touched": 1}}
        assert [(one["path"], one["extensions"]["code"]) for one in told["errors"]] == [(["b"], "row.unknown")]

    run(tmp_path, work)


def test_rows_that_would_be_nobody_elses_business_are_refused(tmp_path: Path) -> None:
    async def work(there: Plant) -> None:
        gql = Graphql(there)
        assert await gql.code('mutation{insert_items(rows:[{id:8,lot:"x",plant:"B"}]){touched}}') == "access.denied"
        assert await gql.code('mutation{update_items_by_key(id:1,set:{plant:"B"}){touched}}') == "access.denied"
        assert await gql.code('mutation{update_items(where:{},set:{lot:"x"}){touched}}') == "write.unfiltered"
        assert await gql.code("mutation{insert_lines(rows:[{id:8}]){touched}}") == "field.unknown"
        told = await gql.call('mutation{insert_items(rows:[{id:8,lot:"x",plant:"A",weight:-1}]){touched}}')
        (error,) = told["errors"]
        assert error["extensions"]["errors"][0]["pointer"] == "/0/weight"

    run(tmp_path, work, rules={"weight": {"min": 0}})


def test_who_may_write_and_not_read_gets_no_rows(tmp_path: Path) -> None:
    async def work(there: Plant) -> None:
        gql = Graphql(there)
        robot = Actor("client:robot", roles=frozenset(("robot",)))
        insert = 'mutation{insert_defects(rows:[{item_id:2,no:9,word:"x"}]){touched%s}}'
        assert await gql.code(insert % " rows{no}", robot) == "field.unknown"
        assert await gql.data(insert % "", robot) == {"insert_defects": {"touched": 1}}
        assert await gql.code("{defects{totalCount}}", robot) == "field.unknown"

    access: dict[str, Any] = {"write_roles": ["robot"], "roles": ["quality"]}
    run(tmp_path, work, access={"defects": access, "items": ACCESS["items"]})


def test_changes_that_need_an_etag_are_not_offered(tmp_path: Path) -> None:
    async def work(there: Plant) -> None:
        gql = Graphql(there)
        assert await gql.code('mutation{update_items_by_key(id:1,set:{lot:"x"}){touched}}') == "field.unknown"
        assert await gql.data('mutation{insert_items(rows:[{id:8,lot:"x",plant:"A"}]){touched}}')

    run(tmp_path, work, entries={"items": {"write": {"insert": True, "update": True, "conditional": True}}})
