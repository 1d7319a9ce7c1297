"""What may stand in a project file, section by section."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, ClassVar, Literal, Self

from pydantic import Field, field_validator, model_validator

from tongqu.app.project.schedules import ScheduleEntry
from tongqu.core.data import Deletes, Lane, Mode, WriteMode
from tongqu.core.settings import Settings
from tongqu.kit.ledger import PREFIX
from tongqu.meaning.dataset_rules import Freshness, Reference, RowRule, Volume

Title = dict[Literal["zh", "en"], str]

SECTIONS = (
    "project", "environments", "naming", "connections", "datasets", "pipelines", "sync", "reconcile", "apis", "alerts",
    "targets", "gateway", "identity", "audit", "purposes", "calendars", "run", "engine", "hooks",
    "webhooks",
)  # fmt: skip
NOT_RUN = ("alerts", "targets")
"""Sections that this version reads and does not run."""


class EnvironmentEntry(Settings):
    """An environment of the project, chosen by `--env`; its values differ by the overlay `tongqu.NAME.yaml`."""

    title: Title = Field(default_factory=dict)
    """Name for people, by language."""
    approval: bool = False
    """A new version counts only after a second person approved it."""
    after: str | None = None
    """The environment that a version must have been applied to before it can be promoted here."""


class NamingEntry(Settings):
    """How things of the project are called; `tongqu check` names what is called otherwise."""

    datasets: str | None = None
    """A regular expression that the names of datasets match whole: `^[a-z][a-z0-9_]*$`."""
    fields: str | None = None
    """The same for fields of the dictionary."""
    pipelines: str | None = None
    """The same for pipelines."""
    connections: str | None = None
    """The same for connections."""
    forbidden: list[str] = Field(default_factory=list)
    """Words that no name may hold: `[tmp, test, new]`."""
    abbreviations: dict[str, str] = Field(default_factory=dict)
    """Words that are shortened, and how: `{quantity: qty}`."""
    severity: Literal["error", "warning"] = "warning"
    """Whether a name that breaks a rule is an error or a warning."""

    @field_validator("datasets", "fields", "pipelines", "connections")
    @classmethod
    def _compiles(cls, value: str | None) -> str | None:
        try:
            re.compile(value or "")
        except re.error as error:
            raise ValueError(f"the pattern is no regular expression: {error}") from None
        return value


class FieldEntry(Settings):
    """One field of the data dictionary: its type, meaning and rules."""

    type: str | None = None
    """Type of the field, such as `string`, `int64`, `decimal(12,3)`, `timestamp`."""
    title: Title = Field(default_factory=dict)
    """Name for people, by language: `{zh: 批号, en: Lot number}`."""
    description: str = ""
    """What the field means, for the documentation."""
    required: bool = False
    """The field may not be empty."""
    pattern: str | None = None
    """A regular expression that the whole text matches."""
    unit: str | None = None
    """Unit of the number: `kg`, `mm`, `degC`."""
    min: float | int | str | None = None
    """Smallest value allowed."""
    max: float | int | str | None = None
    """Largest value allowed."""
    enum: list[Any] | None = None
    """All values allowed."""
    unique: bool = False
    """No two rows have the same value."""
    reference: Reference | None = None
    """Every value stands in a field of another dataset: `{connection: mes, dataset: lines, field: line_id}`."""
    class_: Literal["public", "internal", "personal", "sensitive", "secret"] | None = Field(default=None, alias="class")
    """Who may see it: `public`, `internal`, `personal`, `sensitive` or `secret`."""
    mask: str | None = None
    """How it is shown to those who may not see it."""
    codes: dict[str | int, Any] | None = None
    """The field's code list for `code_map`: each value with what it becomes, `{"1": open, "2": closed}`."""
    owner: str | None = None
    """Who answers for the field."""
    key: bool = False
    """The field is part of the key."""
    renamed_from: str | None = None
    """The name the field had before: targets rename their column instead of getting another one."""


class RetentionEntry(Settings):
    """How long rows are kept; `tongqu privacy purge` ends what is over."""

    since: str
    """The date or timestamp field that the time is counted from."""
    days: int | None = Field(default=None, ge=1)
    """After so many days the row goes."""
    classes: dict[Literal["personal", "sensitive", "secret"], int] = Field(default_factory=dict)
    """After so many days the fields of a class are emptied: `{sensitive: 90, personal: 365}`."""


class PurposeEntry(Settings):
    """What personal data are used for."""

    title: Title = Field(default_factory=dict)
    """Name for people, by language."""
    description: str = ""
    """What is done with the data."""
    basis: Literal["consent", "contract", "law", "vital", "public", "interest", "employment"] = "contract"
    """Why it is lawful: GDPR art. 6, PIPL art. 13 (`employment`: human resources management)."""
    keep: str = ""
    """How long the data are kept, for the record: `3 years after leaving`."""


class DatasetEntry(Settings):
    """One entry of the data dictionary."""

    title: Title = Field(default_factory=dict)
    """Name for people, by language."""
    description: str = ""
    """What the dataset holds."""
    key: list[str] = Field(default_factory=list)
    """Fields that identify a row."""
    owner: str | None = None
    """Who answers for the dataset."""
    schema_changes: Literal["evolve", "freeze", "discard_column", "discard_row"] = "evolve"
    """What happens when other columns, types or another key arrive than the last time: the target follows (`evolve`),
    the run is refused (`freeze`), or the target stays and the column or the row is given up."""
    closed: bool = False
    """Fields that are not listed are refused."""
    rules: list[RowRule] = Field(default_factory=list)
    """Conditions over several fields: `{name: order, expression: "shipped >= ordered", message: {zh: 先发货}}`."""
    freshness: Freshness | None = None
    """How old the newest row may be: `{field: updated_at, within: 36 h}`."""
    volume: Volume | None = None
    """How many rows a run brings: `{min: 1, change: 50%, last: 7}`."""
    subject: dict[str, str] = Field(default_factory=dict)
    """The field that tells whose a row is, by the name of the identity: `{employee: inspector_no}`. Fields of several
    datasets that hold the same identity have the same name here."""
    erase: Literal["delete", "clear", "keep"] | None = None
    """What erasing a person does to its rows: they go (`delete`), their personal fields are emptied (`clear`), or they
    stay because a law demands it (`keep`)."""
    retention: RetentionEntry | None = None
    """How long rows, or the fields of a class, are kept: `{since: made_at, days: 3650, classes: {personal: 365}}`."""
    fields: dict[str, FieldEntry] = Field(default_factory=dict)
    """The fields by name."""

    @field_validator("key", mode="before", json_schema_input_type=str | list[str])
    @classmethod
    def _one_key(cls, value: Any) -> Any:
        return [value] if isinstance(value, str) else value

    @property
    def renamed(self) -> dict[str, str]:
        """New name → old name of the fields that were renamed."""
        return {name: entry.renamed_from for name, entry in self.fields.items() if entry.renamed_from}

    @property
    def keys(self) -> tuple[str, ...]:
        """The key: `key`, or else the fields marked `key: true`."""
        return tuple(self.key) or tuple(name for name, entry in self.fields.items() if entry.key)


class PipelineSource(Settings):
    """Where a pipeline reads."""

    shorthand: ClassVar[Mapping[str, Any]] = {
        "": {"type": "object", "properties": {"hook": {"type": "string"}}, "required": ["hook"]}
    }

    connection: str
    """Name of a connection; `hook: NAME` in its place means the events of a hook."""
    dataset: str | None = None
    """Remote name of the one dataset to read."""
    datasets: list[str] | None = None
    """Globs of datasets to read; `!` excludes: `["*", "!audit_*"]`."""
    as_: str | None = Field(default=None, alias="as")
    """Entry of the data dictionary that describes the dataset (default: the entry of the same name)."""
    mode: Literal["full", "incremental", "cdc", "stream"] = "full"
    """How to read: `full` or `incremental`; `cdc` follows the changes of a database's log, `stream` the messages of
    a topic or queue, until it is stopped."""
    cursor: str | None = None
    """Column that grows with every change; needed for `incremental`, unless the source itself knows what is new."""
    key: list[str] = Field(default_factory=list)
    """Columns that identify a row, if the source does not tell."""

    @field_validator("key", mode="before", json_schema_input_type=str | list[str])
    @classmethod
    def _one_key(cls, value: Any) -> Any:
        return [value] if isinstance(value, str) else value

    @model_validator(mode="after")
    def _names_data(self) -> Self:
        if self.dataset is not None and self.datasets is not None:
            raise ValueError("give `dataset` (one) or `datasets` (globs), not both")
        if self.mode != "incremental" and self.cursor:
            raise ValueError("`cursor` is only used with `mode: incremental`")
        return self

    @property
    def read_mode(self) -> Mode:
        """The mode as the engine's word."""
        return Mode(self.mode)


class PipelineSink(Settings):
    """Where a pipeline writes."""

    connection: str
    """Name of a connection."""
    dataset: str | None = None
    """Remote name of the dataset to write (default: the name the data has)."""
    write: Literal["append", "upsert", "replace", "history"] | None = None
    """How to write (default: `replace` for full reads, else `upsert` with a key, else `append`)."""
    key: list[str] = Field(default_factory=list)
    """Columns that identify a row."""
    deletes: Literal["ignore", "hard", "soft"] | None = None
    """What is done to rows that the source no longer has, where that is known (`mode: full`, `cdc`): they stay
    (`ignore`, the default), are deleted (`hard`, the default for `cdc`) or marked (`soft`). With `soft`, rows that
    leave a filter are marked too."""
    leaving: Literal["delete", "keep"] = "delete"
    """What becomes of a row in a target written by key (`upsert`, `history`) when it changes so that a filter leaves it
    out (`mode: incremental`): it is deleted, its version is ended, or it is kept as it was (`keep`)."""
    from_: str | None = Field(default=None, alias="from")
    """The step or source whose rows are written (default: the last step)."""

    side: Literal["", "late"] = ""
    """A side output: `late` gets the rows that came too late for the windows of the pipeline's last step that has some,
    as they came, beside a sink that gets the windows (`mode: stream`)."""

    @field_validator("key", mode="before", json_schema_input_type=str | list[str])
    @classmethod
    def _one_key(cls, value: Any) -> Any:
        return [value] if isinstance(value, str) else value

    @field_validator("dataset")
    @classmethod
    def _ours_to_write(cls, value: str | None) -> str | None:
        if value is not None and (not value.strip() or not value.isprintable()):
            raise ValueError("the name of the dataset is empty or holds control characters")
        if value is not None and value.rpartition(".")[2].startswith(PREFIX):
            raise ValueError(f"names that begin with {PREFIX} are Tongqu's own tables")
        return value

    @property
    def write_mode(self) -> WriteMode | None:
        """The write mode as the engine's word; None for the default."""
        return WriteMode(self.write) if self.write else None

    @property
    def delete_mode(self) -> Deletes | None:
        """The handling of deletes as the engine's word; None for the default."""
        return Deletes(self.deletes) if self.deletes else None


class PipelineLimit(Settings):
    """Bounds of one run."""

    quarantined: int | str | None = None
    """Most quarantined rows before the run stops: a count, or a share such as `1%`."""
    splits: int | None = Field(default=None, ge=1, le=64)
    """How many parts are read at the same time."""
    chunk_rows: int | None = Field(default=None, ge=1)
    """Rows that are committed at once."""
    memory_mb: int | None = Field(default=None, ge=64)
    """Memory for joins, sorts and aggregates before they spill to disk."""
    state_rows: int | None = Field(default=None, ge=1)
    """Most rows that steps may keep while logs are followed (default 50 million); beyond it the stream stops."""


class PipelineEntry(Settings):
    """Sources, steps and sinks: how data moves and what is done to it."""

    title: Title = Field(default_factory=dict)
    """Name for people, by language."""
    description: str = ""
    """What the pipeline is for."""
    source: PipelineSource | None = None
    """The one source of a linear pipeline."""
    sources: dict[str, PipelineSource] | None = None
    """Several sources by name; steps name them as input."""
    steps: list[dict[str, Any]] = Field(default_factory=list)
    """What is done to the rows, in order; a bare step follows the one above."""
    sink: PipelineSink | None = None
    """The one sink."""
    sinks: dict[str, PipelineSink] | None = None
    """Several sinks by name."""
    schedule: ScheduleEntry | None = None
    """When to run: a cron expression, or what starts it: `{every: 15m, calendar: workdays}`."""
    limit: PipelineLimit = Field(default_factory=PipelineLimit)
    """Bounds of one run."""
    lane: Literal["pass", "columnar", "python"] | None = None
    """Forces how rows travel (default: the fastest lane that is exact)."""

    @model_validator(mode="after")
    def _has_both_ends(self) -> Self:
        if (self.source is None) == (self.sources is None):
            raise ValueError("a pipeline has `source` (one) or `sources` (several by name)")
        if (self.sink is None) == (self.sinks is None):
            raise ValueError("a pipeline has `sink` (one) or `sinks` (several by name)")
        return self

    @property
    def all_sources(self) -> dict[str, PipelineSource]:
        """The sources by name; the one of a linear pipeline is called `source`."""
        return {"source": self.source} if self.source else dict(self.sources or {})

    @property
    def all_sinks(self) -> dict[str, PipelineSink]:
        """The sinks by name; the only one is called `sink`."""
        return {"sink": self.sink} if self.sink else dict(self.sinks or {})

    @property
    def endless(self) -> bool:
        """Whether it has no end: it follows a log or messages until it is stopped. What its steps look up does not
        count."""
        looked_up = {step["lookup"].get("in") for step in self.steps if isinstance(step.get("lookup"), Mapping)}
        followed = {name for name, source in self.all_sources.items() if source.mode in ("cdc", "stream")}
        return bool(followed - looked_up)

    @property
    def forced_lane(self) -> Lane | None:
        """The lane as the engine's word."""
        return Lane(self.lane) if self.lane else None
