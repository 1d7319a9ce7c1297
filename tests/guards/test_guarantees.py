"""The page of guarantees is made of tests that ran; no promise and no fault is without one, or a reason."""

from __future__ import annotations

import ast
import json
from pathlib import Path

import pytest

from tongqu.app.guarantees_page import FAULTS, NOT_HERE, PROMISES, page
from tongqu.testing.proofs import PROOFS
from tongqu.testing.proving import proven, written
from tongqu.testing.proving import tests as proofs

ROOT = Path(__file__).parents[2]
FACTS = ROOT / "docs/reference/proven.json"


@pytest.mark.parametrize("file", sorted({test.partition("::")[0] for test in proofs()}))
def test_every_proof_is_a_test(file: str) -> None:
    tree = ast.parse((ROOT / file).read_text(encoding="utf-8"))
    there = {f"{file}::{node.name}" for node in ast.walk(tree) if isinstance(node, ast.FunctionDef)}
    assert {test for test in proofs() if test.startswith(f"{file}::")} <= there


def test_every_promise_and_every_fault_has_proofs_or_a_reason() -> None:
    assert set(PROOFS) == {*PROMISES, *FAULTS}
    assert {name for name, found in PROOFS.items() if not found} <= set(NOT_HERE)
    assert list(FAULTS) == [f"F{number}" for number in range(1, 27)]


def test_the_page_is_made_of_the_facts() -> None:
    facts = json.loads(FACTS.read_text(encoding="utf-8"))
    assert (FACTS.parent / "guarantees.md").read_text(encoding="utf-8").endswith(page(facts)), "run `make guarantees`"
    assert written(facts) == FACTS.read_text(encoding="utf-8")
    assert set(facts) == set(PROOFS)


def test_every_promise_was_proven() -> None:
    facts = json.loads(FACTS.read_text(encoding="utf-8"))
    assert {name for name, found in facts.items() if not found} <= set(NOT_HERE)
    assert "none ran" not in page(facts)


def test_what_did_not_run_or_failed_proves_nothing() -> None:
    one, *_ = PROOFS["F22"]
    assert proven([one])["F22"] == [one]
    assert proven([])["F22"] == []
    assert "**none ran**" in page(proven([]))
