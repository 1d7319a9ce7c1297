"""Settings say what each field is for, in their schema and in messages."""

from __future__ import annotations

import pytest
from pydantic import Field

from tongqu.core.errors import InvalidSettingsError
from tongqu.core.settings import Settings, description, titled


class Retry(Settings):
    """How often."""

    times: int = 3
    """How many times, at most."""


class Place(Settings):
    """Where."""

    host: str
    """Name or address.

    Both families.
    """
    schema_name: str = Field("", alias="schema")
    """A schema."""
    told: str = Field("", description="Said in the field.")
    """Not shown."""
    retry: Retry = titled("重试", "Retries", default_factory=Retry)
    """When to try again."""
    silent: int = 0


class Server(Place):
    """A place with a port."""

    port: int = 1
    """Where it listens."""
    host: str = "localhost"


def test_the_docstring_under_a_field_is_its_description_in_the_schema() -> None:
    schema = Place.model_json_schema(by_alias=True)
    said = {name: entry.get("description") for name, entry in schema["properties"].items()}
    assert said == {
        "host": "Name or address.\n\nBoth families.",
        "schema": "A schema.",
        "told": "Said in the field.",
        "retry": "When to try again.",
        "silent": None,
    }
    assert schema["$defs"]["Retry"]["properties"]["times"]["description"] == "How many times, at most."
    assert schema["description"] == "Where."


def test_without_aliases_the_schema_says_the_same() -> None:
    assert Place.model_json_schema(by_alias=False)["properties"]["schema_name"]["description"] == "A schema."


@pytest.mark.parametrize(
    ("name", "said"),
    [("port", "Where it listens."), ("schema_name", "A schema."), ("host", ""), ("silent", ""), ("unknown", "")],
)
def test_a_field_is_described_where_it_was_declared_last(name: str, said: str) -> None:
    assert description(Server, name) == said


def test_a_class_without_source_has_no_descriptions() -> None:
    made = type("Made", (Settings,), {"__module__": __name__, "__annotations__": {"a": int}, "a": 1})
    assert description(made, "a") == ""


def test_a_wrong_value_is_answered_with_the_first_line_of_what_the_field_is_for() -> None:
    with pytest.raises(InvalidSettingsError) as refused:
        Place.parse({"host": 5})
    assert refused.value.hint == "Name or address."
