"""The Java machine inside this process: started once, drivers loaded from their own jars."""

from __future__ import annotations

import threading
from functools import cache
from pathlib import Path
from typing import Any

from tongqu.core.errors import MissingDriverError, NotFoundError
from tongqu.kit.drivers import driver

_starting = threading.Lock()
_OPTIONS = ("-Xrs", "-Xmx512m", "-Djava.awt.headless=true", "-Duser.timezone=UTC")
"""-Xrs leaves signals to us."""


def java() -> Any:
    """The module jpype with a running machine; raises MissingDriverError if there is no Java."""
    jpype = driver("jpype", "jdbc")
    with _starting:
        if not jpype.isJVMStarted():
            try:
                jpype.startJVM(*_OPTIONS, convertStrings=False, interrupt=False)
            except (OSError, ValueError, jpype.JVMNotFoundException) as error:
                raise MissingDriverError(
                    f"no Java machine can be started: {error}",
                    hint="install a Java runtime (apt-get install default-jre-headless) or set JAVA_HOME",
                    params={"extra": "jdbc", "module": "jpype"},
                ) from None
    return jpype


@cache
def loaded(jars: tuple[str, ...], name: str | None) -> Any:
    """An instance of the driver in these jars; raises NotFoundError for a jar or a class that is not there."""
    jpype = java()
    missing = [jar for jar in jars if not Path(jar).is_file()]
    if missing:
        raise NotFoundError(f"there is no jar {missing[0]!r}", hint="give the path of the driver's jar")
    urls = [jpype.JClass("java.io.File")(jar).toURI().toURL() for jar in jars]
    loader = jpype.JClass("java.net.URLClassLoader")(jpype.JArray(jpype.JClass("java.net.URL"))(urls))
    kind = jpype.JClass("java.sql.Driver")
    if name:
        try:
            return jpype.JClass("java.lang.Class").forName(name, True, loader).getDeclaredConstructor().newInstance()
        except jpype.JException as error:
            raise NotFoundError(f"no driver class {name!r} in these jars: {error}", hint="check its name") from None
    found = list(jpype.JClass("java.util.ServiceLoader").load(kind.class_, loader))
    own = [one for one in found if one.getClass().getClassLoader() == loader]
    if not own:
        raise NotFoundError("the jar names no driver", hint="name its class: driver_class")
    return own[0]
