"""What is published at one moment: immutable, swapped as a whole, so that no request sees two configurations."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    import pyarrow as pa

    from tongqu.core.data import Dataset
    from tongqu.core.server import Server
    from tongqu.gateway.entry import ApiEntry
    from tongqu.gateway.policy.rules import Policy
    from tongqu.meaning.rules import Rule


DRAFT = "-draft"
"""What stands behind the version in the address of a draft."""


@dataclass(frozen=True)
class Relation:
    """Another API reached from this one: `on` maps fields here to fields there; `many` rows or one."""

    name: str
    api: str
    on: Mapping[str, str]
    many: bool


@dataclass(frozen=True)
class Api:
    """One published API in one version, compiled and checked against its source.

    `dataset` is what its rows are: the schema with the dictionary's meaning in its metadata, restricted to the fields
    that are published, and the key. `table` is the remote name it reads and writes; for an SQL source `sql` is the
    approved SELECT with `:name` parameters, whose types are in `parameters`. `tables` are what a change of would change
    the answers (`connection/dataset`).
    """

    name: str
    version: str
    entry: ApiEntry
    dataset: Dataset
    server: Server
    connection: str
    policy: Policy
    table: str = ""
    sql: str = ""
    parameters: Mapping[str, Any] = field(default_factory=dict)
    rules: Mapping[str, Rule] = field(default_factory=dict)
    """What the dictionary demands of each field's values."""
    relations: Mapping[str, Relation] = field(default_factory=dict)
    tables: frozenset[str] = frozenset()
    subjects: Mapping[str, pa.Field[Any]] = field(default_factory=dict)
    """The source's field that tells whose a row is, by the name of the identity; it may be none that is published."""
    changed_by: frozenset[str] = frozenset()
    """All names under which something that changes the answers may be told, for a cache: `tables` through every
    connection to the same system, `connection/*` where rows may come from tables that nobody names (views, queries)."""

    writes: Literal["", "exactly-once", "at-least-once"] = ""
    """What a change that is sent again with its Idempotency-Key does; empty where rows cannot be changed. At least once
    where keys cannot be kept in the source: then calls with a key are refused."""

    @property
    def path(self) -> str:
        """`/api/VERSION/NAME`."""
        return f"/api/{self.version}/{self.name}"


@dataclass(frozen=True)
class Publication:
    """All APIs of a configuration. `version` is the applied version's number and the digest of what was compiled, and
    stands in every answer as `Tongqu-Config`. `gone` are versions that were withdrawn, with their sunset."""

    version: str
    apis: Mapping[tuple[str, str], Api] = field(default_factory=dict)
    gone: Mapping[tuple[str, str], str] = field(default_factory=dict)
    degraded: Mapping[tuple[str, str], ApiEntry] = field(default_factory=dict)
    """APIs that are defined and cannot be answered at the moment."""
    project: str = ""

    def api(self, version: str, name: str) -> Api | None:
        """The API of that version and name; a version of drafts is the version itself with the drafts laid over it."""
        found = self.apis.get((version, name))
        if found is None and version.endswith(DRAFT):
            return self.apis.get((version.removesuffix(DRAFT), name))
        return found

    @property
    def versions(self) -> tuple[str, ...]:
        """All versions, newest last (`v2` before `v10`), those of drafts before all others."""
        return tuple(sorted({version for version, _ in self.apis}, key=age))


def age(version: str) -> tuple[bool, int, str]:
    """What versions are put in order by: drafts, then the oldest first."""
    return not version.endswith(DRAFT), len(version), version
