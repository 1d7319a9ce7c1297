"""A budget of characters: what was used least lately goes first, and one long thing drives nothing out."""

from __future__ import annotations

from pathlib import Path

from tests.gateway.graphql.asking import Graphql
from tests.gateway.rest.plant import Plant, run

from tongqu.gateway.graphql.documents import Documents
from tongqu.gateway.graphql.keeping import Kept


def test_the_budget_holds() -> None:
    kept: Kept[int] = Kept(10, 6)
    kept.put("a", 1, 5)
    kept.put("b", 2, 5)
    assert kept.get("a") == 1
    kept.put("c", 3, 5)
    assert [kept.get(name) for name in "abc"] == [1, None, 3]
    kept.put("d", 4, 7)
    assert [kept.get(name) for name in "acd"] == [1, 3, None]
    kept.put("a", 5, 1)
    kept.put("e", 6, 4)
    assert len(kept) == 3
    kept.clear()
    assert len(kept) == 0


def test_nothing_is_kept_of_documents_that_are_refused(tmp_path: Path) -> None:
    async def work(there: Plant) -> None:
        gql = Graphql(there)
        documents: Documents = gql.handler.documents
        for number in range(20):
            await gql.call(f"{{items{{nodes{{unknown{number}}}}}}}")
            await gql.call("{" + f"a{number}:items{{totalCount}}" * 30 + "}")
        assert documents.kept == 0
        await gql.data("{items{totalCount}}")
        assert documents.kept == 1

    run(tmp_path, work)
