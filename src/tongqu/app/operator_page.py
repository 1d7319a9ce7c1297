"""The pages about what was tried of each operator: made of what its tests noted while they ran."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from tongqu.core.operator import operator

Facts = Mapping[str, Sequence[Mapping[str, Any]]]
"""Tables of facts, as `pytest --write-tested` wrote them."""

LANES = {"columnar": "columnar", "pushed: postgres": "PostgreSQL", "pushed: mysql": "MariaDB", "python": "python"}
_TEXTS: Mapping[str, Mapping[str, str]] = {
    "en": {
        "head": "# Operators and their tests\n\n"
        "Made of tests that ran: a ✓ stands for property tests that compared the operator with plain Python over "
        "generated rows, in that lane, and passed. `columnar` is DuckDB and Arrow. PostgreSQL and MariaDB are steps "
        "that ran inside the source as its own SQL, as far as that is exact: other settings of the same verb run in "
        "the columnar lane. SQLite, DuckDB and files give all their rows, so their steps run in the columnar lane. "
        "*Over changes* is what `plan` says when the input is read with `mode: incremental`. Counts are those that "
        "the tests saw used.\n\n",
        "columns": "verb | title | works | {lanes} | over changes | counts",
        "row-wise": "row by row",
        "whole": "whole input",
        "": "allowed",
        "all": "refused: needs all rows",
        "leaves": "refused unless the sink appends: a changed row may leave old ones",
        "when": "with `{when}` {verdict}",
        "tests": "\n## Which tests\n\n",
        "foot": "\nServers: {systems}. `make tables` runs these tests again and rewrites the page.\n",
        "sep": "; ",
    },
    "zh": {
        "head": "# 算子与测试\n\n"
        "本页由实际运行的测试生成。✓ 表示：在该通道上，性质测试用随机生成的行把算子与纯 Python 的结果逐行比较，"
        "并已通过。`columnar` 为 DuckDB 与 Arrow；PostgreSQL、MariaDB 表示步骤以源库自己的 SQL 在源库内执行，"
        "仅限结果完全一致的写法，同一算子的其他设置在 columnar 通道执行。SQLite、DuckDB 与文件读出全部行，"
        "其步骤在 columnar 通道执行。“增量输入”是输入以 `mode: incremental` 读取时 `plan` 的结论。"
        "计数是测试中实际用到的计数。\n\n",
        "columns": "算子 | 名称 | 处理方式 | {lanes} | 增量输入 | 计数",
        "row-wise": "逐行",
        "whole": "整个输入",
        "": "允许",
        "all": "拒绝：需要全部行",
        "leaves": "拒绝（追加写入除外）：变化的行可能留下旧行",
        "when": "`{when}` 时{verdict}",
        "tests": "\n## 对应测试\n\n",
        "foot": "\n服务器：{systems}。`make tables` 重新运行这些测试并重写本页。\n",
        "sep": "；",
    },
}


def page(facts: Facts, language: str) -> str:
    """The table in one language (`en`, `zh`): one row for each verb that was tried."""
    texts = _TEXTS[language]
    tried: dict[str, dict[str, Mapping[str, Any]]] = {}
    for fact in facts["operators"]:
        tried.setdefault(fact["verb"], {})[fact["lane"]] = fact
    columns = texts["columns"].format(lanes=" | ".join(LANES.values()))
    lines = [texts["head"], f"| {columns} |\n", f"|{'---|' * (columns.count('|') + 1)}\n"]
    for verb, lanes in sorted(tried.items()):
        changes = [fact for fact in facts["changes"] if fact["verb"] == verb]
        marks = " | ".join("✓" if lane in lanes else "–" for lane in LANES)
        counts = sorted({name for fact in lanes.values() for name in fact["counts"]})
        shown = ", ".join(f"`{name}`" for name in counts) or "–"
        title = operator(verb).title.get(language, "")
        kind = texts[changes[0]["kind"]]
        lines.append(f"| `{verb}` | {title} | {kind} | {marks} | {_over_changes(changes, texts)} | {shown} |\n")
    lines.append(texts["tests"])
    for verb, lanes in sorted(tried.items()):
        names = sorted({test for fact in lanes.values() for test in fact["tests"]})
        lines.append(f"* `{verb}`: {', '.join(f'`{_short(name)}`' for name in names)}\n")
    systems = ", ".join(sorted(fact["label"] for fact in facts["systems"]))
    return "".join([*lines, texts["foot"].format(systems=systems)])


def _over_changes(changes: Sequence[Mapping[str, Any]], texts: Mapping[str, str]) -> str:
    """The verb's own verdict, then those of settings that make a difference."""
    said = [texts[fact["refused"]] for fact in changes if not fact["when"]]
    said += [
        texts["when"].format(when=fact["when"], verdict=texts[fact["refused"]]) for fact in changes if fact["when"]
    ]
    return texts["sep"].join(said)


def _short(test: str) -> str:
    """The test's file and name without the folder."""
    return test.removeprefix("tests/operators/")
