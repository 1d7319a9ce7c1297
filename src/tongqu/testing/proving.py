"""A pytest plugin that notes which promises and faults have tests that passed, so that a table can be made of it.

`pytest --write-proven FILE` writes one JSON document: for each promise and each fault of `PROOFS` the tests that ran
and passed, sorted; one with a failed case is left out. `python -m tongqu.testing.proving` prints the tests to run.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable, Mapping
from pathlib import Path

import pytest

from tongqu.testing.proofs import PROOFS

OPTION = "--write-proven"


def tests() -> list[str]:
    """All tests that prove something, by their node ids without parameters."""
    return sorted({test for found in PROOFS.values() for test in found})


def proven(passed: Iterable[str]) -> dict[str, list[str]]:
    """What these tests prove together, in the order of `PROOFS`."""
    there = set(passed)
    return {what: sorted(there & set(found)) for what, found in PROOFS.items()}


def written(found: Mapping[str, list[str]]) -> str:
    """The document: one test a line."""
    return json.dumps(found, indent=2) + "\n"


class Recorder:
    """Collects which tests passed with all their cases; pytest-xdist brings the reports of its workers."""

    def __init__(self, path: Path):
        self.path = path
        self.passed: set[str] = set()
        self.failed: set[str] = set()

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Note how a case ended."""
        test = report.nodeid.partition("[")[0].partition("@")[0]
        if report.failed or report.skipped:
            self.failed.add(test)
        elif report.when == "call":
            self.passed.add(test)

    def pytest_sessionfinish(self, session: pytest.Session) -> None:
        """Write the document, unless this is a worker of pytest-xdist."""
        if not hasattr(session.config, "workerinput"):
            self.path.write_text(written(proven(self.passed - self.failed)), encoding="utf-8")


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add `--write-proven FILE`."""
    parser.addoption(OPTION, metavar="FILE", help="write which promises and faults have tests that ran and passed")


def pytest_configure(config: pytest.Config) -> None:
    """Begin to note."""
    if path := config.getoption(OPTION):
        config.pluginmanager.register(Recorder(Path(path)), "tongqu-proven")


if __name__ == "__main__":
    sys.stdout.write("\n".join(tests()) + "\n")
