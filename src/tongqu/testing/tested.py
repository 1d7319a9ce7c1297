"""A pytest plugin that keeps what passed tests have shown, so that tables in the documentation can be made of it.

`pytest --write-tested FILE` writes one JSON document: for each table its facts, sorted, so the same tests give the same
text. A fact of a test that failed is not kept, nor is one of a test that did not run.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import pytest

from tongqu.core.balance import StepCounts

Fact = dict[str, Any]
Tables = dict[str, list[Fact]]
OPTION = "--write-tested"
COUNTS = ("filtered", "deduplicated", "generated", "quarantined", "repaired", "cleaned", "marks")
_PROPERTY = "tongqu_tested"
_MARK = "oracle"
_TABLED = "tabled"
_running: list[tuple[str, Fact]] = []
"""What the test that is running has shown so far."""


def note(table: str, **fact: Any) -> None:
    """Note a fact for a table (`schema_changes`); it is kept if the running test passes. Values are JSON."""
    if (table, fact) not in _running:
        _running.append((table, fact))


def saw(steps: Iterable[StepCounts], lane: str = "") -> None:
    """Note that steps ran in a lane (`pushed: postgres`; empty for the one the engine takes without a push), and which
    counts they used. It is kept for the verbs that the test's mark `oracle(verb, …)` names."""
    for step in steps:
        used = [name for name in COUNTS if getattr(step, name)]
        own = "python" if step.verb == "python" else "columnar"
        note("operators", verb=step.verb, lane=lane or own, counts=used)


def merged(facts: Iterable[tuple[str, Fact]]) -> Tables:
    """Facts as sorted tables; those that differ only in their lists are one, with all that the lists hold."""
    tables: dict[str, dict[str, Fact]] = {}
    for table, fact in facts:
        key = json.dumps([value for value in fact.values() if not isinstance(value, list)])
        found = tables.setdefault(table, {}).setdefault(key, dict(fact))
        for name, value in fact.items():
            if isinstance(value, list):
                found[name] = sorted({*found[name], *value})
    return {table: [rows[key] for key in sorted(rows)] for table, rows in sorted(tables.items())}


def written(tables: Mapping[str, Any]) -> str:
    """The document: one fact a line."""
    lines = []
    for table, facts in tables.items():
        rows = ",\n".join("    " + json.dumps(fact, ensure_ascii=False) for fact in facts)
        lines.append(f"  {json.dumps(table)}: [\n{rows}\n  ]")
    return "{\n" + ",\n".join(lines) + "\n}\n"


class Recorder:
    """Collects the facts of passed tests; pytest-xdist brings those of its workers along with their reports."""

    def __init__(self, path: Path):
        self.path = path
        self.facts: list[tuple[str, Fact]] = []
        self.failed = False

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Take the facts of a test that passed."""
        self.failed = self.failed or report.failed
        if report.when == "call" and report.passed:
            self.facts += [(name, fact) for key, facts in report.user_properties if key == _PROPERTY
                           for name, fact in json.loads(str(facts))]  # fmt: skip

    def pytest_sessionfinish(self, session: pytest.Session) -> None:
        """Write the document, unless this is a worker of pytest-xdist or a test failed."""
        if not hasattr(session.config, "workerinput") and not self.failed:
            self.path.write_text(written(merged(self.facts)), encoding="utf-8")


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add `--write-tested FILE`."""
    parser.addoption(OPTION, metavar="FILE", help="write what the tests that passed have shown; nothing if one failed")


def pytest_configure(config: pytest.Config) -> None:
    """Register the marks; when facts are written, generated rows are the same in every run."""
    config.addinivalue_line("markers", f"{_MARK}(*verbs): compares operators with plain Python over generated rows")
    config.addinivalue_line("markers", f"{_TABLED}: notes facts for tables of the documentation")
    if path := config.getoption(OPTION):
        from hypothesis import settings

        settings.register_profile("tested", derandomize=True, database=None)
        settings.load_profile("tested")
        config.pluginmanager.register(Recorder(Path(path)), "tongqu-tested")


def pytest_runtest_setup(item: pytest.Item) -> None:
    """Forget what the test before has shown."""
    del item
    _running.clear()


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item, call: pytest.CallInfo[None]) -> Any:
    """Put what the test has shown into its report; of operators only those that its mark names."""
    report = yield
    if call.when == "call" and item.config.getoption(OPTION):
        verbs = {verb for mark in item.iter_markers(_MARK) for verb in mark.args}
        test = item.nodeid.partition("[")[0]
        kept = [
            (table, {**fact, "tests": [test]} if table == "operators" else fact)
            for table, fact in _running
            if table != "operators" or fact["verb"] in verbs
        ]
        report.user_properties.append((_PROPERTY, json.dumps(kept)))
    return report
