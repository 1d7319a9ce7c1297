"""Puts the test class of a connector together: checks that fit its abilities, and waivers that must stay true."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Mapping
from typing import Any, TypeVar

import pytest

from tongqu.core import registry
from tongqu.core.connector import Can, Connector
from tongqu.testing.conformance.amending import AmendChecks
from tongqu.testing.conformance.changing import ChangeChecks
from tongqu.testing.conformance.discovering import DiscoveryChecks
from tongqu.testing.conformance.marks import ALL, needed
from tongqu.testing.conformance.merging import MergeChecks
from tongqu.testing.conformance.place import Place
from tongqu.testing.conformance.reaching import ReachChecks
from tongqu.testing.conformance.reading import ReadChecks
from tongqu.testing.conformance.removing import RemoveChecks
from tongqu.testing.conformance.resuming import ResumeChecks
from tongqu.testing.conformance.serving import ServeChecks
from tongqu.testing.conformance.serving_bounds import BoundChecks
from tongqu.testing.conformance.serving_changes import TransactChecks
from tongqu.testing.conformance.serving_masks import MaskChecks
from tongqu.testing.conformance.settings import SettingsChecks
from tongqu.testing.conformance.values import ValueChecks
from tongqu.testing.conformance.writing import WriteChecks

__all__ = ["conformance", "needs"]

F = TypeVar("F", bound=Callable[..., Any])
SUITES = (
    SettingsChecks, ReachChecks, DiscoveryChecks, ReadChecks, ValueChecks, WriteChecks, MergeChecks, ChangeChecks,
    ResumeChecks, RemoveChecks, AmendChecks, ServeChecks, MaskChecks, BoundChecks, TransactChecks,
)  # fmt: skip
SECONDS = 60
"""A check that takes longer fails."""


def needs(*abilities: Can) -> Callable[[F], F]:
    """Marks a check that only connectors with all these abilities are held to."""
    return needed(*abilities)


def conformance(
    connector: str | Connector,
    place: Callable[[pytest.FixtureRequest], str],
    waivers: Mapping[str, str] | None = None,
    fitted: Callable[[Connector], Connector] | None = None,
) -> type:
    """The test class of a connector, named in the registry or given.

    `place` returns the URL of an empty place, new for each check; it may ask the request for fixtures. A waiver maps
    a check (`test_append`, or a case `test_a_type_comes_back[nanoseconds]`) to the reason why it cannot hold; a check
    that passes in spite of its waiver fails, and so does a waiver of a check that does not exist. `fitted` sets a
    connector up whose URL alone does not tell what its place holds.
    """
    found = registry.connector(connector) if isinstance(connector, str) else connector
    found = fitted(found) if fitted is not None else found
    waived = dict(waivers or {})
    body: dict[str, Any] = {"connector": found, "__doc__": f"The promises that {found.name} keeps."}
    for suite in SUITES:
        for name, check in inspect.getmembers(suite, inspect.isfunction):
            if name.startswith("test_") and getattr(check, ALL, Can(0)) & ~found.can == Can(0):
                own = {case: reason for case, reason in waived.items() if case.partition("[")[0] == name}
                body[name] = _timed(_held(check, own) if own else check)
    unknown = [case for case in waived if case.partition("[")[0] not in body]
    assert not unknown, f"{found.name}: waivers of checks that do not exist or do not apply: {', '.join(unknown)}"

    @pytest.fixture(name="place")
    def made(self: Any, request: pytest.FixtureRequest) -> Place:
        own = request.getfixturevalue("tmp_path")
        return Place(self.connector, place(request), own.with_name(f"{own.name}-lodging"))

    body["place"] = made
    return type(f"Test{found.name.title()}", (), body)


def _timed(check: Any) -> Any:
    @functools.wraps(check)
    def timed(*given: Any, **named: Any) -> Any:
        return check(*given, **named)

    return pytest.mark.timeout(SECONDS)(timed)


def _held(check: Any, waivers: Mapping[str, str]) -> Any:
    """The check, which must fail where it is waived."""

    @functools.wraps(check)
    def held(self: Any, **given: Any) -> None:
        case = given.get("case")
        named = case.name if case is not None else f"{given['old']!r} {given['new']!r}" if "old" in given else ""
        label = f"{check.__name__}[{named}]" if named else check.__name__
        reason = waivers.get(label)
        if reason is None:
            check(self, **given)
            return
        try:
            check(self, **given)
        except (Exception, pytest.fail.Exception):  # noqa: BLE001  # whatever it is: the gap is still there
            return
        pytest.fail(f"the waiver of {label} no longer applies ({reason}): remove it")

    return held
