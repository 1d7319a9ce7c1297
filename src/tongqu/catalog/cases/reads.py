"""Cases of a dataset, whatever system it is in: made from the schema that the source itself tells."""

from __future__ import annotations

from typing import Any

from tongqu.catalog.cases.calls import NETWORK
from tongqu.catalog.cases.entries import CaseEntry, CaseFile, digest, sealed
from tongqu.core.data import Dataset


def cases_of_dataset(dataset: Dataset, connection: str, *, remote: bool, guarded: bool, seed: int = 1) -> CaseFile:
    """The cases of reading a dataset. `remote`: it is reached over the network in a way that can be disturbed;
    `guarded`: its connection has credentials that can be replaced by wrong ones.

    The values of rows are the system's own, so cases speak of fields, keys and counts.
    """
    fields = {field.name: str(field.type) for field in dataset.schema if field.name not in dataset.unsupported}
    shape: dict[str, Any] = {"fields": fields}
    if dataset.key:
        shape["key"] = list(dataset.key)
    name = dataset.name
    cases = [
        _case("normal", "normal", ("读取前 1000 行", "the first 1,000 rows"), {"dataset": name, "rows": 1000}, shape),
        _case("one_row", "boundary", ("只读一行", "a single row"), {"dataset": name, "rows": 1},
              {"fields": fields, "most_rows": 1}),
        _case("again", "boundary", ("读取两次结果相同", "read twice, the same rows"),
              {"dataset": name, "rows": 20, "times": 2},
              {"fields": fields, "same": True}),
        _case("unknown", "abnormal", ("不存在的数据集", "a dataset that does not exist"),
              {"dataset": f"{name}_no_such_dataset"}, {"error": ["connector.not_found"]}),
    ]  # fmt: skip
    if guarded:
        cases.append(_case(
            "credentials.wrong", "abnormal", ("凭据无效", "with credentials that are not valid"),
            {"dataset": name, "rows": 1, "credentials": "wrong"}, {"error": ["connector.auth", "connector.privilege"]},
        ))  # fmt: skip
    if remote:
        for network, zh, en, expect in NETWORK:
            right = {"error": expect["error"], "seconds": 60.0}
            if "status" in expect:
                right["fields"] = fields
            cases.append(_case(
                f"network.{network}", "abnormal", (zh, en), {"dataset": name, "rows": 20, "network": network}, right
            ))  # fmt: skip
    described = {"fields": fields, "key": dataset.key}
    return CaseFile(
        connection=connection,
        operation=f"dataset {name}",
        document=digest(described),
        seed=seed,
        cases=tuple(sealed(case) for case in cases),
    )


def _case(id: str, kind: str, title: tuple[str, str], request: dict[str, Any], expect: dict[str, Any]) -> CaseEntry:
    titles = {"zh": title[0], "en": title[1]}
    return CaseEntry.parse({"id": id, "title": titles, "kind": kind, "request": request, "expect": expect}, id)
