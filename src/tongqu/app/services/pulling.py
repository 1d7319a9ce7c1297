"""Brings a stored version back into the project's files."""

from __future__ import annotations

from typing import Any

from tongqu.app.project.load import MAIN, checked, laid, merge
from tongqu.app.project.places import Places
from tongqu.app.project.writing import rewritten, where, write
from tongqu.app.services.versioning import FILES, Versioning
from tongqu.catalog.changes import changes
from tongqu.core.errors import NotFoundError, StaleVersionError
from tongqu.store.versions import digest, shown


def pull(mine: Versioning, number: int | None = None, *, force: bool = False, dry: bool = False) -> dict[str, Any]:
    """Write the version that counts (or `number`) into the files; comments and order stay. Other files that pipelines
    name are kept as digests only: `not_pulled` are those that are others now.

    Files that hold changes which were never applied are not overwritten unless `force`. Raises NotFoundError,
    StaleVersionError.
    """
    head = mine.store.head(mine.env)
    if head is None:
        raise NotFoundError(f"nothing was applied to {shown(mine.env)} yet", hint="tongqu apply makes a version")
    version = mine.store.get(mine.env, number) if number is not None else head
    project = mine.project()
    shared, overlay = mine.contents()
    told = digest(shared, overlay)
    if told == version.hash:
        return {"version": version.version, "files": [], "changes": []}
    known = {other.hash for other in mine.store.list(mine.env, limit=-1)}
    if told not in known and not force:
        raise StaleVersionError(
            "the files hold changes that were never applied, and pulling would overwrite them",
            hint="tongqu apply keeps them as a version; tongqu pull --force drops them",
        )
    checked(project.folder, project.files, version.shared, version.overlay, Places(folder=project.folder.absolute()))
    _, places = merge(project.files, [])
    mine_, theirs = ({name: part for name, part in tree.items() if name != FILES} for tree in (shared, version.shared))
    texts = rewritten(where(places, project.folder / MAIN), mine_, theirs)
    over = project.folder / f"tongqu.{mine.env}.yaml"
    if overlay != version.overlay and over.exists():
        texts |= rewritten(lambda _: over, overlay, version.overlay)
    if not dry:
        write(texts)
    found = [change.to_json() for change in changes(laid(shared, overlay), laid(version.shared, version.overlay))]
    there = shared.get(FILES) or {}
    others = [name for name, told in (version.shared.get(FILES) or {}).items() if there.get(name) != told]
    return {"version": version.version, "files": [f.name for f in texts], "not_pulled": others, "changes": found}
