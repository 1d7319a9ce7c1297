"""Case files of a project: `cases/CONNECTION/OPERATION.yaml`, read, renewed and written so that comments stay."""

from __future__ import annotations

import io
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tongqu.app.project.yaml import read_yaml
from tongqu.catalog.cases.entries import CaseFile
from tongqu.catalog.cases.renewing import Renewed, renewed
from tongqu.core.errors import NotFoundError, WriteError
from tongqu.kit import lasting

FOLDER = "cases"
_HEAD = (
    "Cases of {operation}. Edit them freely: what somebody edited, and a case without `made`, is never overwritten.\n"
    "`enabled: false` switches a case off. Run them: tongqu test\n"
)


@dataclass(frozen=True)
class Held:
    """A file of cases."""

    path: Path
    cases: CaseFile


def file_of(folder: Path, connection: str, operation: str) -> Path:
    """Where the cases of an operation are: `GET /orders/{id}` in `cases/mes/get_orders_id.yaml`."""
    name = re.sub(r"[^\w.-]+", "_", operation.lower()).strip("_.")[:120] or "operation"
    return folder / FOLDER / connection / f"{name}.yaml"


def held(path: Path) -> Held:
    """A file; raises InvalidSettingsError naming what is wrong in it."""
    values, _ = read_yaml(path)
    return Held(path, CaseFile.parse(values, path.name))


def found(folder: Path, wanted: Iterable[str], connections: Iterable[str]) -> list[Held]:
    """The files that are meant: paths of files or folders (of the project or as they stand), else all of the project;
    of these connections only, if any is named. Raises NotFoundError, and what `held` raises."""
    names = set(connections)
    paths: list[Path] = []
    for one in wanted:
        near = next((p for p in (Path(one), folder / one, folder / FOLDER / one) if p.exists()), None)
        if near is None:
            raise NotFoundError(
                f"there are no cases {one}", path=one, hint="tongqu test generate CONNECTION makes some"
            )
        paths += sorted(near.rglob("*.yaml")) if near.is_dir() else [near]
    if not paths and not list(wanted):
        paths = sorted((folder / FOLDER).rglob("*.yaml"))
    files = [held(path) for path in dict.fromkeys(paths)]
    return [one for one in files if not names or one.cases.connection in names]


def renew(folder: Path, made: CaseFile) -> tuple[Path, Renewed]:
    """Bring the file of an operation up to date. Raises WriteError, and InvalidSettingsError for a file that cannot be
    read; then nothing of it is changed."""
    from ruamel.yaml import YAML

    yaml = YAML()
    yaml.width = 110
    yaml.indent(mapping=2, sequence=4, offset=2)
    path = file_of(folder, made.connection, made.operation)
    before: Any = None
    if path.exists():
        held(path)
        before = yaml.load(path.read_text(encoding="utf-8"))
    result = renewed(before, made)
    head = {name: value for name, value in result.values.items() if name != "cases"}
    if before is not None and not result.differs and all(before.get(name) == value for name, value in head.items()):
        return path, result
    target = before if before is not None else _commented(made.operation)
    for name, value in result.values.items():
        if name == "cases" and before is not None and before.get("cases"):
            _renew(before["cases"], value)
        elif target.get(name) != value:
            target[name] = value
    buffer = io.StringIO()
    yaml.dump(target, buffer)
    try:
        lasting.make_folder(path.parent)
        lasting.put(path, buffer.getvalue().encode())
    except OSError as error:
        raise WriteError(f"the cases cannot be written: {error.strerror}", path=str(path)) from error
    return path, result


def _renew(held: list[Any], cases: list[Any]) -> None:
    """Bring the cases of a loaded file up to date in place, since comments hang on its keys."""
    for number, case in enumerate(cases):
        if number == len(held):
            held.append(case)
        elif held[number] is not case:
            for name in [one for one in held[number] if one not in case]:
                del held[number][name]
            held[number].update(case)


def orphans(folder: Path, connection: str, known: Iterable[str]) -> Iterator[Held]:
    """Files of a connection whose operation the document no longer has."""
    operations = set(known)
    for path in sorted((folder / FOLDER / connection).glob("*.yaml")):
        one = held(path)
        if one.cases.operation not in operations:
            yield one


def _commented(operation: str) -> Any:
    from ruamel.yaml.comments import CommentedMap

    target: Mapping[str, Any] = CommentedMap()
    target.yaml_set_start_comment(_HEAD.format(operation=operation))  # type: ignore[attr-defined]  # ruamel is untyped
    return target
