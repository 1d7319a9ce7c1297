"""`test`: makes the cases of a connection, keeps them as files, runs them and says which system is not as expected."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatch
from pathlib import Path
from threading import Event
from typing import TYPE_CHECKING, Any

from tongqu.app.messages import language, t
from tongqu.app.services import case_files, reports
from tongqu.app.services.testing.targets import Target, Targets
from tongqu.catalog.cases.entries import KINDS, CaseEntry, CaseFile
from tongqu.catalog.cases.judging import judged
from tongqu.core.errors import InvalidPlanError, InvalidSettingsError, TongquError, learnt
from tongqu.kit.egress.settings import Networked
from tongqu.kit.http.settings import HttpSettings
from tongqu.store.scrub import Scrubber

if TYPE_CHECKING:
    from tongqu.app.services.testing.calls import Calls

_SHOWN = 2000


@dataclass(frozen=True)
class CaseRun:
    """The arguments of `test`."""

    cases: tuple[str, ...] = ()
    """Files or folders; none: all of the project."""
    connections: tuple[str, ...] = ()
    operations: tuple[str, ...] = ()
    """Globs of operations: `GET /orders*`, `dataset *`."""
    kinds: tuple[str, ...] = ()
    against: str = ""
    """Empty: the connection's own system; `mock`; or the address of a sandbox."""
    allow_writes: bool = False
    junit: Path | None = None
    html: Path | None = None


@dataclass(frozen=True)
class Pages:
    """How results are drawn."""

    html: Callable[[Mapping[str, Any]], str]
    junit: Callable[[Mapping[str, Any]], str]


@dataclass(frozen=True)
class Testing:
    """Makes and runs cases. `at` tells the time, `new_id` names a run, `clock` measures in seconds."""

    targets: Targets
    folder: Path
    scrubber: Scrubber
    pages: Pages
    at: Callable[[], str]
    new_id: Callable[[], str]
    clock: Callable[[], float]
    stop: Event

    def generate(self, connection: str, operations: Sequence[str] = (), seed: int = 1) -> dict[str, Any]:
        """Make or renew the files of a connection: those of the operations of its document, else of its datasets.
        Edited cases stay as they are. The document has `connection`, `files` with the ids of `new changed edited own
        obsolete` cases and what `needs` a value, and `orphans`, files whose operation is gone.

        Raises ConfigError, NotFoundError and what reading the document or the datasets raises.
        """
        files = []
        known = []
        for made in self._made(connection, seed):
            known.append(made.operation)
            if not _wanted(made.operation, operations):
                continue
            if not made.cases:
                continue
            path, result = case_files.renew(self.folder, made)
            values = result.values.get("values") or {}
            files.append({
                "file": self._near(path),
                "operation": made.operation,
                "cases": len(result.values["cases"]),
                "new": list(result.new),
                "changed": list(result.changed),
                "edited": list(result.edited),
                "own": list(result.own),
                "obsolete": list(result.obsolete),
                "needs": [name for name in made.needs if name not in values],
            })  # fmt: skip
        if not files:
            raise InvalidPlanError(
                "no operation is meant", path=connection, hint=f"operations: {', '.join(known[:20]) or 'none'}"
            )
        orphans = [self._near(one.path) for one in case_files.orphans(self.folder, connection, known)]
        return {"connection": connection, "files": files, "orphans": orphans}

    def _made(self, connection: str, seed: int) -> Iterator[CaseFile]:
        from tongqu.catalog.cases.calls import cases_of
        from tongqu.catalog.cases.reads import cases_of_dataset

        document = self.targets.document_of(connection)
        if document is not None:
            for operation in document.operations():
                yield cases_of(document, operation, connection, seed=seed)
            return
        with self.targets.target(connection) as target:
            if target.connector.source is None:
                raise InvalidPlanError(f"{target.connector.name} cannot be read", path=connection)
            source = target.connector.source(target.settings)
            try:
                with learnt():
                    datasets = source.datasets()
                guarded = isinstance(target.settings, HttpSettings) and target.settings.auth is not None
                remote = isinstance(target.settings, Networked)
                for dataset in datasets:
                    yield cases_of_dataset(dataset, connection, remote=remote, guarded=guarded, seed=seed)
            finally:
                source.close()

    def run(self, request: CaseRun, told: Callable[[Mapping[str, Any]], None] = lambda one: None) -> dict[str, Any]:
        """Run cases and write the reports that are asked for; `told` hears each result. The document has `ok`,
        `counts`, `against`, `id`, `at`, `seconds` and `cases` (`connection operation case title kind outcome reason
        seconds evidence file`); `outcome` is passed, failed, skipped, or needs (a value must be given first). No secret
        is in it, and personal data is masked.

        Calls that may change something are made only where the connection says `sandbox: true`, against the mock, or
        with `allow_writes`. Raises ConfigError, NotFoundError, CancelledError.
        """
        for kind in request.kinds:
            if kind not in KINDS:
                raise InvalidSettingsError(f"there is no kind {kind!r}", path="--kind", hint=", ".join(KINDS))
        files = case_files.found(self.folder, request.cases, request.connections)
        if not files:
            raise InvalidPlanError(
                "there are no cases", path=str(self.folder / case_files.FOLDER),
                hint="tongqu test generate CONNECTION makes some",
            )  # fmt: skip
        begun, id = self.clock(), self.new_id()
        results: list[dict[str, Any]] = []
        for connection in dict.fromkeys(one.cases.connection for one in files):
            own = [one for one in files if one.cases.connection == connection]
            with self.targets.target(connection, request.against, allow_writes=request.allow_writes) as target:
                for result in self._of(target, own, request, id):
                    results.append(result)
                    told(result)
        counts = {
            name: sum(one["outcome"] == name for one in results) for name in ("passed", "failed", "skipped", "needs")
        }
        document = {
            "ok": not counts["failed"],
            "id": id,
            "at": self.at(),
            "against": self.scrubber.text(request.against),
            "counts": counts,
            "seconds": round(self.clock() - begun, 3),
            "cases": results,
        }
        return {**document, "reports": self._write(document, request)}

    def _of(
        self, target: Target, files: Sequence[case_files.Held], request: CaseRun, id: str
    ) -> Iterator[dict[str, Any]]:
        from tongqu.app.services.testing.calls import Calls

        calls = None
        if isinstance(target.settings, HttpSettings) and target.settings.base_url:
            calls = Calls(target, target.settings, stop=self.stop, id=id, clock=self.clock)
        try:
            for one in files:
                if not _wanted(one.cases.operation, request.operations):
                    continue
                for case in one.cases.cases:
                    if not request.kinds or case.kind in request.kinds:
                        yield self._result(target, calls, one, case)
        finally:
            if calls is not None:
                calls.close()

    def _result(self, target: Target, calls: Calls | None, file: case_files.Held, case: CaseEntry) -> dict[str, Any]:
        from tongqu.app.services.testing import reads

        result: dict[str, Any] = {
            "connection": file.cases.connection,
            "operation": file.cases.operation,
            "case": case.id,
            "title": case.title.get("zh" if language() == "zh" else "en") or case.id,
            "kind": case.kind,
            "outcome": "skipped",
            "reason": "",
            "seconds": 0.0,
            "evidence": {},
            "file": self._near(file.path),
        }
        outcome, reason = _left_out(target, calls, file.cases, case)
        if outcome:
            return {**result, "outcome": outcome, "reason": reason}
        try:
            if case.request.dataset:
                found, evidence = reads.outcomes(target, case, self.stop, self.clock)
            else:
                assert calls is not None  # noqa: S101  # `_left_out` saw to it
                found, evidence = calls.outcomes(case, file.cases)
        except TongquError as error:
            if error.code == "run.cancelled":
                raise
            return {**result, "outcome": "failed", "reason": self.scrubber.text(f"{error.code}: {error.message}")}
        failures = judged(case.expect, found)
        texts = [t(one.id, **one.params) for one in failures]
        return {
            **result,
            "outcome": "failed" if failures else "passed",
            "reason": self.scrubber.text("; ".join(texts)),
            "seconds": round(sum(one.seconds for one in found), 3),
            "evidence": self._evidence(target, evidence),
        }

    def _evidence(self, target: Target, raw: Mapping[str, Any]) -> dict[str, Any]:
        """What was asked and answered, fit to be shown: without secrets, personal data masked, the beginning only."""
        from tongqu.app.services.recording import personal_masks
        from tongqu.core.errors import AnswerError
        from tongqu.kit.http.scrubbing import Scrubbing
        from tongqu.kit.http.settings import Recording

        base = (
            target.settings
            if isinstance(target.settings, HttpSettings)
            else HttpSettings(base_url="http://none.invalid")
        )
        own = base.record.masks if base.record else {}
        record = Recording(mode="record", masks={**personal_masks(), **own})
        scrubbing = Scrubbing(base.model_copy(update={"record": record}))
        shown: dict[str, Any] = {}
        for name, value in raw.items():
            if isinstance(value, bytes):
                try:
                    text = scrubbing.body(value, "").decode()
                except AnswerError:
                    plain = value.decode("utf-8", "replace")
                    text = plain if name == "answer" and raw.get("error") else t("test.unshown", bytes=len(value))
                shown[name] = text[:_SHOWN]
            elif name == "query":
                shown[name] = dict(scrubbing.pairs([(pair[0], pair[1]) for pair in value]))
            elif isinstance(value, str):
                shown[name] = scrubbing.text(value)
            else:
                shown[name] = value
        clean: dict[str, Any] = self.scrubber.deep(shown)
        return clean

    def _write(self, document: Mapping[str, Any], request: CaseRun) -> dict[str, str]:
        written: dict[str, str] = {}
        for name, path, draw in (("junit", request.junit, self.pages.junit), ("html", request.html, self.pages.html)):
            if path is not None:
                reports.write(path, draw(document))
                written[name] = str(path)
        return written

    def _near(self, path: Path) -> str:
        return str(path.relative_to(self.folder)) if path.is_relative_to(self.folder) else str(path)


def _left_out(target: Target, calls: Calls | None, file: CaseFile, case: CaseEntry) -> tuple[str, str]:
    """Why a case is not run, and whether that needs somebody: its outcome and the reason; empty if it is run."""
    from tongqu.app.services.testing.calls import holes

    request = case.request
    if not case.enabled:
        return "skipped", t("test.skipped.disabled")
    if request.changes and not target.writes:
        return "skipped", t("test.skipped.writes")
    if case.sandbox and not target.sandbox:
        return "skipped", t("test.skipped.sandbox")
    if request.network is not None and not isinstance(target.settings, Networked):
        return "skipped", t("test.skipped.network")
    if request.credentials != "own" and not isinstance(target.settings, HttpSettings):
        return "skipped", t("test.skipped.credentials")
    if request.dataset:
        return "", ""
    if calls is None:
        return "skipped", t("test.skipped.no_http")
    _, missing = holes(case, file, target)
    lacking = [name for name in file.needs if name.startswith("body") and not case.request.has_body]
    if missing or lacking:
        return "needs", t("test.needs", names=", ".join([*missing, *lacking]))
    return "", ""


def _wanted(operation: str, globs: Sequence[str]) -> bool:
    return not globs or any(fnmatch(operation, one) or fnmatch(operation.partition(" ")[2], one) for one in globs)
