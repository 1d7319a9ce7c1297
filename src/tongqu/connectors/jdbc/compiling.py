"""Makes the class that moves columns of its source, once per home and Java version, with the machine's own compiler."""

from __future__ import annotations

import hashlib
import threading
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from tongqu.connectors.jdbc.machine import java
from tongqu.kit import lasting

SOURCE = Path(__file__).with_name("java") / "Columns.java"
_CLASS = "Columns.class"
_making = threading.Lock()
_made: dict[Path | None, Columns] = {}


@dataclass(frozen=True)
class Columns:
    """The Java class; None where it cannot be made, and why."""

    kind: Any
    why_not: str = ""


def columns(kept: Path | None) -> Columns:
    """The class of `java/Columns.java`, from the folder where it is kept, or compiled into it (a second, the first
    time). Without a folder it is compiled for this process. Raises nothing: rows can also pass one by one."""
    with _making:
        if kept not in _made:
            _made[kept] = _got(kept)
        return _made[kept]


def _got(kept: Path | None) -> Columns:
    try:
        if kept is not None:
            found = _kept(kept)
            try:
                return Columns(_loaded(found))
            except java().JException:  # torn, or not ours
                (found / _CLASS).unlink(missing_ok=True)
                return Columns(_loaded(_kept(kept)))
        with TemporaryDirectory(prefix="tongqu-java-") as folder:
            _compile(Path(folder))
            return Columns(_loaded(Path(folder)))
    except _CannotError as refused:
        return Columns(None, str(refused))
    except OSError as error:
        return Columns(None, f"the compiled class cannot be kept: {error.strerror}")
    except java().JException as error:
        return Columns(None, f"Java does not take the compiled class: {error.getClass().getSimpleName()}")


class _CannotError(Exception):
    """There is no compiler, or it refuses."""


def _kept(kept: Path) -> Path:
    """The folder of the compiled class: named after its source and the Java that made it, there whole or not at all."""
    version = str(java().JClass("java.lang.System").getProperty("java.version"))
    digest = hashlib.sha256(SOURCE.read_bytes() + b"\0" + version.encode()).hexdigest()[:16]
    folder = kept / f"columns-{digest}"
    if (folder / _CLASS).is_file():
        return folder
    lasting.make_folder(kept, 0o700)
    with TemporaryDirectory(prefix=".columns-", dir=kept) as made:
        _compile(Path(made))
        lasting.make_folder(folder)
        lasting.replace(Path(made) / _CLASS, folder / _CLASS)
    return folder


def _compile(folder: Path) -> None:
    jpype = java()
    try:
        compiler = jpype.JClass("javax.tools.ToolProvider").getSystemJavaCompiler()
    except TypeError:  # a machine without the module java.compiler
        compiler = None
    if compiler is None:
        raise _CannotError("this Java has no compiler")
    told = jpype.JClass("java.io.ByteArrayOutputStream")()
    if compiler.run(None, told, told, ["-g:none", "-proc:none", "-d", str(folder), str(SOURCE)]):
        raise _CannotError(f"Java's compiler refuses its source: {str(told.toString()).strip()[:200]}")


def _loaded(folder: Path) -> Any:
    jpype = java()
    url = jpype.JClass("java.io.File")(str(folder)).toURI().toURL()
    loader = jpype.JClass("java.net.URLClassLoader")(jpype.JArray(jpype.JClass("java.net.URL"))([url]))
    return jpype.JClass("Columns", loader=loader)
