"""`check` says stage by stage what works, and fails soon, by the right name, without a secret."""

from __future__ import annotations

import time
from typing import Any

import pytest

from tongqu.core.connector import Can
from tongqu.core.errors import AuthError, ConnectError, NotFoundError, TongquError
from tongqu.testing.conformance.marks import needed
from tongqu.testing.conformance.place import Place
from tongqu.testing.conformance.settings import SENTINEL, with_secrets
from tongqu.testing.services.process import free_port

LIMIT_SECONDS = 15.0
"""A check of a place that refuses us ends within this time."""


class ReachChecks:
    """Reaching a place, and not reaching it."""

    @needed(Can.READ, Can.WRITE)
    def test_check_passes(self, place: Place) -> None:
        place.fill(_one_row())
        with place.source() as source:
            assert [stage for stage in source.check() if stage]
        with place.sink() as sink:
            assert [stage for stage in sink.check() if stage]

    @needed(Can.READ)
    def test_wrong_credentials_are_refused(self, place: Place) -> None:
        wrong = with_secrets(place.settings)
        if wrong != place.settings:
            fails_soon(place, wrong, AuthError)

    @needed(Can.READ)
    def test_a_place_that_does_not_answer_is_told(self, place: Place) -> None:
        settings = place.settings
        if "port" in type(settings).model_fields:
            nobody = with_secrets(settings).model_copy(update={"host": "127.0.0.1", "port": free_port()})
            fails_soon(place, nobody, ConnectError)
        if "path" in type(settings).model_fields:
            nothing = settings.model_copy(update={"path": f"{getattr(settings, 'path').rstrip('/')}/no/such.place"})  # noqa: B009  # only these have one
            fails_soon(place, nothing, NotFoundError)

    @needed(Can.READ)
    def test_a_missing_dataset_is_not_found(self, place: Place) -> None:
        with place.source() as source:
            try:
                assert source.datasets(["no_such_dataset"]) == []
            except NotFoundError as error:
                assert SENTINEL not in str(error)


def fails_soon(place: Place, settings: Any, kind: type[TongquError]) -> None:
    """Checking fails as this kind of error within the limit, and no secret is in its words."""
    begun = time.monotonic()
    with place.source(settings) as source, pytest.raises(kind) as caught:
        list(source.check())
    assert time.monotonic() - begun < LIMIT_SECONDS
    error = caught.value
    assert type(error) is kind
    words = " ".join([str(error), error.hint, error.path, repr(error.params)])
    assert SENTINEL not in words, "a secret is in the error"
    assert error.hint, "the error names no next step"


def _one_row() -> Any:
    from tongqu.testing.conformance.place import items

    return items([1])
