"""The entry point: reads the command line, runs one command, and turns whatever happens into an exit code."""

from __future__ import annotations

import atexit
import gc
import os
import sys
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from typing import Any, NoReturn

from tongqu.app import messages, outlets
from tongqu.app.cli.call import COMMON_FLAGS, COMMON_WITH_VALUE, print_document, tell, tell_problem, trace
from tongqu.app.cli.group import COMMANDS, GROUPS, application
from tongqu.app.messages import t, translated


def main(argv: Sequence[str] | None = None, before: Callable[[], None] = lambda: None) -> NoReturn:
    """Run one command and exit: 0 done, 1 failed, 2 refused before any connection, 3 done and needs attention. `before`
    is called before it, where an interrupt is a document."""
    _hurry()
    outlets.ready()
    given = list(sys.argv[1:] if argv is None else argv)
    options = given[: given.index("--")] if "--" in given else given
    messages.use(_value(options, "--lang") or messages.detect())
    as_json = "--json" in options
    try:
        before()
        code = _run(reordered(given), as_json=as_json, debug="--debug" in options)
        with suppress(BrokenPipeError):  # whoever read has enough
            outlets.flush()
    except KeyboardInterrupt:
        code = _failed({"path": "", "code": "run.cancelled", "message": "stopped", "hint": ""}, {}, as_json, 1)
    except BrokenPipeError:
        code = 1
    except outlets.UnwritableError as full:
        problem = {"path": "stdout", "code": "output", "message": str(full), "hint": t("output.hint")}
        code = _failed(problem, {}, False, 1)
    outlets.leave()
    sys.exit(code)


def _leave() -> None:
    """What is left goes with the process: looking for cycles in it takes longer than a small sync."""
    if "duckdb" in sys.modules:  # its binding complains on stderr of what is left
        gc.unfreeze()
    else:
        gc.disable()
        gc.freeze()


def _hurry() -> None:
    """Starting makes many objects that stay: the collector need not walk them every 700. And pydantic need not look
    through every installed package for plugins."""
    gc.set_threshold(200_000, 20, 20)
    os.environ.setdefault(
        "OPENBLAS_NUM_THREADS", "1"
    )  # numpy's algebra, which is not used here, starts spinning threads
    os.environ.setdefault("ARROW_DEFAULT_MEMORY_POOL", "system")  # its own keeps what many threads have let go
    atexit.register(_leave)
    os.environ.setdefault("PYDANTIC_DISABLE_PLUGINS", "__all__")


def reordered(argv: Sequence[str]) -> list[str]:
    """Common options that stand before the command are moved behind it, so they may stand anywhere."""
    early: list[str] = []
    words: list[str] = []
    rest = list(argv)
    while rest:
        head = rest[0]
        if head.split("=")[0] in COMMON_WITH_VALUE:
            take = 1 if "=" in head else 2
        elif head in COMMON_FLAGS:
            take = 1
        elif head.startswith("-") or len(words) == (2 if words and words[0] in GROUPS else 1):
            break
        else:
            words.append(rest.pop(0))
            continue
        early += rest[:take]
        del rest[:take]
    bare = words[-1:] == words and (not words or words[0] in GROUPS)
    if bare and rest[:1] in ([], ["--help"], ["--version"]):  # no command that takes the common options
        return [*words, *rest[:1]]
    return [*words, *(early if words and words[0] in COMMANDS else ()), *rest]


def _value(options: Sequence[str], option: str) -> str:
    found = ""
    for at, word in enumerate(options):
        if word.startswith(f"{option}="):
            found = word.partition("=")[2]
        elif word == option and at + 1 < len(options):
            found = options[at + 1]
    return found


def _run(arguments: list[str], *, as_json: bool, debug: bool) -> int:
    from typer.exceptions import Abort, Exit, TyperException

    from tongqu.core.errors import TongquError

    try:
        result = application().main(args=arguments, prog_name="tongqu", standalone_mode=False)
        return int(result or 0)
    except Exit as leaving:
        if isinstance(leaving.__cause__, KeyboardInterrupt):
            raise leaving.__cause__ from None
        return leaving.exit_code
    except TyperException as refused:
        return _usage(refused, as_json)
    except Abort:
        raise KeyboardInterrupt from None
    except (BrokenPipeError, outlets.UnwritableError):
        raise
    except TongquError as error:
        if debug:
            trace(error)
        problems = getattr(error, "problems", None) or [error]
        return _refused(problems, as_json, error.exit_code)
    except Exception as error:  # noqa: BLE001  # the last line of defence: no traceback reaches a person unasked
        if isinstance(error, OSError) and _of_typer(error):
            raise outlets.UnwritableError(error.strerror) from None
        return _internal(error, as_json, debug)


def _of_typer(error: BaseException) -> bool:
    """Whether it was raised by typer's own writing: of a help page, to standard output."""
    last = error.__traceback__
    while last is not None and last.tb_next is not None:
        last = last.tb_next
    return last is not None and str(last.tb_frame.f_globals.get("__name__", "")).startswith("typer.")


def _internal(error: Exception, as_json: bool, debug: bool) -> int:
    if debug:
        trace(error)
    what = f"{type(error).__name__}: {error}"
    hint = "" if debug else t("internal.hint")
    return _failed({"path": "", "code": "internal", "message": what, "hint": hint}, {}, as_json, 1)


def _usage(refused: Any, as_json: bool) -> int:
    """A usage error in the shape of every other problem."""
    context = getattr(refused, "ctx", None)
    if type(refused).__name__ == "NoArgsIsHelpError":
        tell(refused.format_message())
        if as_json:
            problem = {"path": "", "code": "usage", "message": t("usage.missing"), "hint": ""}
            print_document({"ok": False, "problems": [translated(problem)]})
        return 2
    hint = t("usage.help", command=context.command_path) if context else ""
    path = str(getattr(refused, "option_name", "") or "")
    problem = {"path": path, "code": "usage", "message": refused.format_message(), "hint": hint}
    return _failed(problem, {}, as_json, 2)


def _refused(errors: Sequence[Any], as_json: bool, code: int) -> int:
    from tongqu.store.scrub import known

    shown = [(_scrubbed(error.problem()), known.deep(error.params)) for error in errors]
    if as_json:
        print_document({"ok": False, "problems": [translated(problem, params) for problem, params in shown]})
    for problem, params in shown:
        tell_problem(problem, params)
    return code


def _failed(problem: dict[str, str], params: Mapping[str, Any], as_json: bool, code: int) -> int:
    clean = _scrubbed(problem)
    if as_json:
        print_document({"ok": False, "problems": [translated(clean, params)]})
    tell_problem(clean, params)
    return code


def _scrubbed(problem: dict[str, str]) -> dict[str, str]:
    from tongqu.store.scrub import known

    return known.problem(problem)
