"""What every command is called with: the common options, and the ways to answer."""

from __future__ import annotations

import inspect
import re
import sys
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from threading import Event
from typing import TYPE_CHECKING, Annotated, Any

import typer

from tongqu.app import outlets
from tongqu.app.messages import t, translated

if TYPE_CHECKING:
    from tongqu.app.http.through import Server
    from tongqu.app.wire import Wire

COMMON_WITH_VALUE = ("--project", "--env", "--lang", "--progress", "--server")
COMMON_FLAGS = ("--json", "--debug")
Around = Callable[[Event], AbstractContextManager[None]]
_SECRET = re.compile("password|secret|token|key|totp|code")
"""Options whose values are never in the audit trail."""


@dataclass(frozen=True)
class Call:
    """One call of the command line. `wire` builds the parts on first use."""

    project: Path
    env: str
    json: bool
    progress: str
    debug: bool
    name: str = ""
    """The command's words, without its arguments: `sync`, `versions list`."""
    server: str = ""
    """The gateway that is to do it; empty: the one that owns the project if it runs, else this process."""
    audited: Callable[[Callable[[], Any]], Any] | None = None
    """Writes down around what it is given that this command manages something."""

    def wire(self) -> Wire:
        """The parts of the system for this project and environment; raises InvalidSettingsError where a server was
        named that cannot do it."""
        from tongqu.app.wire import Wire

        if not self.project.is_dir():
            from tongqu.core.errors import ConfigError

            raise ConfigError(
                f"there is no folder {self.project}", path="--project", hint="create it, or correct the path"
            )
        if self.server:
            from tongqu.core.errors import InvalidSettingsError

            raise InvalidSettingsError(
                f"`tongqu {self.name}` works on this machine only", path="--server", hint="leave --server out"
            )
        return Wire(self.project, self.env, _warn, self.name)

    def ask(
        self, operation: str, *, local: bool = False, around: Around | None = None, **values: Any
    ) -> Mapping[str, Any]:
        """The document of an operation of the management API: from the named server, from the one that runs for this
        project, else made here (`local`: always here, unless a server is named), within `around` the event that stops
        it. Audited where it is done."""
        from tongqu.app.http.table import OPERATIONS, here

        if found := self._server(local):
            from tongqu.app.http.through import NotReachedError

            try:
                return found.do(OPERATIONS[operation], values)
            except NotReachedError:
                if not found.own:
                    raise
        wire = self.wire()
        do = partial(here, wire, operation, {name: value for name, value in values.items() if value is not None})
        with around(wire.stop) if around else nullcontext():
            document: Mapping[str, Any] = self.audited(do) if self.audited else do()
        return document

    def _server(self, local: bool) -> Server | None:
        if self.server:
            from tongqu.app.http.through import named

            return named(self.server, self.env)
        place = self.wire().home.serve
        if local or not place.exists():
            return None
        from tongqu.app.http.through import owner

        return owner(place, self.project, self.env)

    def answer(self, document: Mapping[str, Any], human: Callable[[Mapping[str, Any]], None]) -> None:
        """Print the document on stdout: as JSON with `--json`, else as `human` shows it."""
        if self.json:
            print_document(document)
        else:
            human(document)


def _warn(id: str, **params: str) -> None:
    from tongqu.store.scrub import known

    tell(known.text(t(id, **params)))


def print_document(document: Mapping[str, Any]) -> None:
    """One JSON document on stdout."""
    outlets.say_document(document)


def say(text: str) -> None:
    """A line for people on stdout."""
    outlets.say(text + "\n")


def tell(text: str) -> None:
    """A line for people on stderr."""
    outlets.tell(text)


def tell_problem(problem: Mapping[str, str], params: Mapping[str, Any] | None = None) -> None:
    """A problem on stderr: what, where, next step."""
    shown = translated(problem, params)
    tell(t(f"problem.{shown.get('level', 'error')}", message=shown["message"], code=shown["code"]))
    if shown.get("path"):
        tell("  " + t("problem.where", path=shown["path"]))
    if shown.get("hint"):
        tell("  " + t("problem.hint", hint=shown["hint"]))


def trace(error: BaseException) -> None:
    """The error's traceback on stderr, without secrets."""
    import traceback

    from tongqu.store.scrub import known

    tell(known.text("".join(traceback.format_exception(error))).rstrip())


def table(rows: list[tuple[str, ...]]) -> None:
    """Rows in columns on stdout; the first row is the heading. Wide (CJK) characters count as two."""
    if not rows:
        return
    widths = [max(_width(row[i]) for row in rows) for i in range(len(rows[0]))]
    for row in rows:
        cells = [cell + " " * (width - _width(cell)) for cell, width in zip(row, widths, strict=True)]
        say("  ".join(cells).rstrip())


def short(value: object, most: int = 40) -> str:
    """A value as one cell of a table: on one line, cut with `…` at `most` characters; nothing for None."""
    text = "" if value is None else str(value).replace("\n", " ")
    return text if len(text) <= most else f"{text[: most - 1]}…"


def _width(text: str) -> int:
    from unicodedata import east_asian_width

    return sum(2 if east_asian_width(character) in "WF" else 1 for character in text)


def command(
    app: typer.Typer, name: str, id: str, *, audited: bool | str = False, managed: bool = False
) -> Callable[[Callable[..., int]], Callable[..., int]]:
    """Register `function(call, …) -> exit code` under `name` with the help `id` and the common options.

    `audited`: it manages something; that it begins is in the audit trail before it does, with its arguments and the
    options that were given, without secrets, and how it ended afterwards. Where that cannot be written it is not done.
    A name: it manages something only where that option is given.
    `managed`: it does all it does by `call.ask`, so that a server may do it, which then writes that down.
    """

    def register(function: Callable[..., int]) -> Callable[..., int]:
        own = inspect.signature(function, eval_str=True)
        common = inspect.signature(_common, eval_str=True)

        def called(**values: Any) -> int:
            shared = {key: values.pop(key) for key in common.parameters}
            words = id.removeprefix("command.").replace(".", " ")
            call = replace(_common(**shared), name=words)
            if call.server and not managed:
                call.wire()  # refuses
            acts = values.get(audited) if isinstance(audited, str) else audited
            if not call.server and (acts or not audited):
                _guarded(call, acts=bool(acts))
            if not acts:
                return function(call, **values)
            given = {key: kind for key, kind in own.parameters.items() if values.get(key) not in (None, kind.default)}
            about = [values[key] for key, kind in given.items() if _is_argument(kind)]
            options = {key: values[key] for key, kind in given.items() if not _is_argument(kind)}
            if managed:
                return function(replace(call, audited=partial(_noted, call, about, options)), **values)
            return _audited(call, about, options, lambda: function(call, **values))

        kept = [p.replace(kind=p.KEYWORD_ONLY) for p in own.parameters.values() if p.name != "call"]
        called.__signature__ = inspect.Signature([*kept, *common.parameters.values()])  # type: ignore[attr-defined]  # typer reads it
        called.__name__ = function.__name__
        app.command(name, help=t(id))(called)
        return function

    return register


def _guarded(call: Call, *, acts: bool) -> None:
    """Raises AccessError where the duties of administrators are kept apart and who calls has not the one for this."""
    if not acts and call.name.partition(" ")[0] not in ("audit", "privacy"):
        return  # it changes nothing; commands of these two write down by themselves what they do
    if not call.wire().home.identity.exists():
        return  # nobody has a duty yet
    from tongqu.app.http.duties import RIGHTS, guard

    if acts or call.name.replace(" ", ".") in RIGHTS:
        guard(call.wire(), call.name)


def _is_argument(parameter: inspect.Parameter) -> bool:
    from typer.models import ArgumentInfo

    return any(isinstance(told, ArgumentInfo) for told in getattr(parameter.annotation, "__metadata__", ()))


def _audited(call: Call, about: Sequence[Any], options: Mapping[str, Any], do: Callable[[], int]) -> int:
    code: int = _noted(call, about, options, do)
    return code


def _noted(call: Call, about: Sequence[Any], options: Mapping[str, Any], do: Callable[[], Any]) -> Any:
    from tongqu.app.services.auditing import operator
    from tongqu.store.scrub import known

    for word in sys.argv[1:]:
        known.add_url(word)
    on = known.text(" ".join(str(one) for value in about if value for one in _each(value)))
    shown = {name: known.deep(value) for name, value in options.items() if not _SECRET.search(name)}
    more = {"options": shown} if shown else {}
    trail = call.wire().trail()
    try:
        with trail.action(operator(), call.name.replace(" ", "."), on, **more) as told:
            done = do()
            told["exit"] = done if isinstance(done, int) else 0
            return done
    finally:
        trail.close()


def _each(value: Any) -> Sequence[Any]:
    return value if isinstance(value, list | tuple) else (value,)


def _common(
    *,
    project: Annotated[Path, typer.Option("--project", metavar="DIR", help=t("option.project"))] = Path(),
    env: Annotated[str, typer.Option("--env", metavar="NAME", help=t("option.env"))] = "",
    json: Annotated[bool, typer.Option("--json", help=t("option.json"))] = False,
    lang: Annotated[str, typer.Option("--lang", metavar="zh|en", help=t("option.lang"))] = "",
    progress: Annotated[str, typer.Option("--progress", metavar="jsonl", help=t("option.progress"))] = "",
    debug: Annotated[bool, typer.Option("--debug", help=t("option.debug"))] = False,
    server: Annotated[str, typer.Option("--server", metavar="URL", help=t("option.server"))] = "",
) -> Call:
    if lang not in ("", "zh", "en"):
        raise typer.BadParameter(t("usage.choice", value=lang, valid="zh, en"), param_hint="--lang")
    if progress not in ("", "jsonl"):
        raise typer.BadParameter(t("usage.choice", value=progress, valid="jsonl"), param_hint="--progress")
    return Call(project=project, env=env, json=json, progress=progress, debug=debug, server=server)


def group() -> typer.Typer:
    """An empty Typer for one command module."""
    return typer.Typer(rich_markup_mode=None, add_completion=False, no_args_is_help=True)
