"""Versions of a project: what the files would change, making it count, taking it back, and carrying it further."""

from __future__ import annotations

import hashlib
import os
import pwd
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tongqu.app.project.load import Project, checked, laid, load
from tongqu.app.project.places import Places
from tongqu.catalog.changes import Change, changes
from tongqu.core.errors import InvalidPlanError, NotFoundError, StaleVersionError
from tongqu.store.scrub import Scrubber
from tongqu.store.versions import Person, Proposal, Tree, Version, Versions, digest, shown

if TYPE_CHECKING:
    from tongqu.app.services.contracting import Promises

FILES = "files"
"""The section of a stored version that holds digests of other files; it stands in no project file."""
_LONGEST_NAME = 200


def person(environ: Mapping[str, str] = os.environ) -> Person:
    """Who acts: the account of the operating system, or the name in `TONGQU_ACTOR` where people share an account.

    On the command line a name is as trustworthy as the account it is given under; both are kept.
    """
    try:
        account = pwd.getpwuid(os.geteuid()).pw_name
    except KeyError:
        account = str(os.geteuid())
    return Person(environ.get("TONGQU_ACTOR", "").strip() or account, account)


@dataclass
class Versioning:
    """The versions of one project in one environment. Nothing is connected to."""

    folder: Path
    env: str
    project: Callable[[], Project]
    store: Versions
    scrubber: Scrubber
    person: Person
    promises: Promises | None = None
    """Holds APIs to their contracts; without it any change may count."""

    def contents(self) -> tuple[Tree, Tree]:
        """Shared sections and overlay of the files, with secrets hidden."""
        return contents(self.project(), self.scrubber)

    def pending(self) -> tuple[Version | None, list[Change]]:
        """The version that counts and what the files would change in it."""
        head = self.store.head(self.env)
        shared, overlay = self.contents()
        return head, changes(_tree(head), laid(shared, overlay))

    def apply(self, reason: str = "", parent: int | None = None, *, accept: bool = False) -> dict[str, Any]:
        """Make the files the next version; without a change nothing is made.

        Raises StaleVersionError if `parent` is not the version that counts, InvalidPlanError where versions of this
        environment come by promotion, BreakingChangeError where callers of live APIs would break and that is not
        accepted.
        """
        head, found = self.pending()
        number = head.version if head else 0
        if parent is not None and parent != number:
            raise StaleVersionError(
                f"the version that counts in {shown(self.env)} is {number}, not {parent}",
                hint="look at `tongqu plan` again; `tongqu pull` brings the newer version into the files",
                params={"parent": parent, "head": number},
            )
        entry = self.project().environments.get(self.env)
        if entry is not None and entry.after:
            raise InvalidPlanError(
                f"versions of {self.env} are promoted from {entry.after}, not applied from files",
                path=f"environments.{self.env}.after",
                hint=f"tongqu promote {entry.after} {self.env}",
            )
        if not found:
            return {"version": number, "state": "applied", "env": self.env, "changes": []}
        shared, overlay = self.contents()
        promised = self._promised(self.project(), number, accept)
        made = self._add(Proposal(self.env, number, shared, overlay, "apply", reason), found)
        self._keep(made, promised)
        return made

    def undo(self, to: int | None = None, reason: str = "") -> dict[str, Any]:
        """Make a new version with the contents of an earlier one (the one before, unless said); the files stay."""
        head = self.store.head(self.env)
        if head is None:
            raise NotFoundError(f"nothing was applied to {shown(self.env)} yet", hint="tongqu apply makes a version")
        number = to if to is not None else head.parent
        if number == 0:
            raise NotFoundError(
                f"version {head.version} of {shown(self.env)} is the first, there is nothing before it",
                hint="tongqu versions list shows them",
            )
        old = self.store.get(self.env, number)
        if old.state != "applied":
            raise InvalidPlanError(f"version {number} is {old.state} and never counted", hint="choose an applied one")
        found = changes(_tree(head), _tree(old))
        if not found:
            return {"version": head.version, "state": "applied", "env": self.env, "changes": []}
        made = Proposal(self.env, head.version, old.shared, old.overlay, "undo", reason, origin=str(number))
        document = self._add(made, found)
        if self.promises is not None:
            self.promises.keep_again(document["version"], number)
        return document

    def promotion(self, source: str) -> tuple[Proposal, list[Change]]:
        """What carrying the version that counts in `source` over to this environment would change here.

        The shared sections are that version's, the overlay is this environment's own. Raises NotFoundError if nothing
        was applied there, ProblemsError if the two do not make a valid project.
        """
        entry = self.project().environments.get(self.env)
        if entry is not None and entry.after not in (None, source):
            raise InvalidPlanError(
                f"versions of {self.env} come from {entry.after}, not from {source}",
                path=f"environments.{self.env}.after",
                hint=f"tongqu promote {entry.after} {self.env}",
            )
        there = self.store.head(source)
        if there is None:
            raise NotFoundError(
                f"nothing was applied to {shown(source)} yet", hint=f"tongqu apply --env {source}", path=source
            )
        _, overlay = self.contents()
        checked(self.folder, self.project().files, there.shared, overlay, Places(folder=self.folder.absolute()))
        head = self.store.head(self.env)
        made = Proposal(
            self.env, head.version if head else 0, there.shared, overlay, "promote",
            origin=f"{shown(source)}:{there.version}",
        )  # fmt: skip
        return made, changes(_tree(head), laid(there.shared, overlay))

    def promote(self, source: str, reason: str = "", *, accept: bool = False) -> dict[str, Any]:
        """Carry a version over; without a difference nothing is made. Raises BreakingChangeError as `apply` does."""
        made, found = self.promotion(source)
        if not found:
            return {"version": made.parent, "state": "applied", "env": self.env, "changes": []}
        files = self.project()
        project = checked(self.folder, files.files, made.shared, made.overlay, Places(folder=self.folder.absolute()))
        known = {name: files.connections.get(name, told) for name, told in project.connections.items()}
        promised = self._promised(replace(project, connections=known), made.parent, accept)
        document = self._add(Proposal(**{**vars(made), "reason": reason}), found)
        self._keep(document, promised)
        return document

    def adopt(
        self, head: Version, shared: Tree, overlay: Tree, *, origin: str, reason: str = "", accept: bool = False
    ) -> dict[str, Any]:  # fmt: skip
        """Make contents that were derived from those of `head` the next version: a draft becomes what it is a draft of.
        Raises ProblemsError where they make no valid project, and what `apply` raises."""
        files = self.project()
        entry = files.environments.get(self.env)
        if entry is not None and entry.after:
            raise InvalidPlanError(
                f"versions of {self.env} are promoted from {entry.after}, not made here",
                path=f"environments.{self.env}.after",
                hint=f"tongqu promote {entry.after} {self.env}",
            )
        project = checked(self.folder, files.files, shared, overlay, Places(folder=self.folder.absolute()))
        known = {name: files.connections.get(name, told) for name, told in project.connections.items()}
        promised = self._promised(replace(project, connections=known), head.version, accept)
        found = changes(_tree(head), laid(shared, overlay))
        document = self._add(Proposal(self.env, head.version, shared, overlay, "draft", reason, origin=origin), found)
        self._keep(document, promised)
        return document

    def approve(self, version: int) -> dict[str, Any]:
        """Let a version count that waits for a second person."""
        return self.store.approve(self.env, version, self.person).summary()

    def reject(self, version: int) -> dict[str, Any]:
        """Refuse a version that waits."""
        return self.store.reject(self.env, version, self.person).summary()

    def difference(self, before: int, after: int) -> list[Change]:
        """What changed from one version to another (0: from nothing)."""
        first = self.store.get(self.env, before) if before else None
        return changes(_tree(first), _tree(self.store.get(self.env, after)))

    def applied(self) -> tuple[int, str]:
        """The version that the files are (0: they are none that was applied), and the digest of their contents."""
        told = digest(*self.contents())
        head = self.store.head(self.env)
        return (head.version if head is not None and head.hash == told else 0), told

    def _promised(self, project: Project, head: int, accept: bool) -> dict[Any, Any]:
        return {} if self.promises is None else self.promises.check(project, head, accept=accept)

    def _keep(self, made: Mapping[str, Any], promised: Mapping[Any, Any]) -> None:
        if self.promises is not None:
            self.promises.keep(int(made["version"]), promised)

    def _add(self, made: Proposal, found: Sequence[Change]) -> dict[str, Any]:
        waits = any(
            bool((tree.get("environments") or {}).get(self.env, {}).get("approval"))
            for tree in (_tree(self.store.head(self.env)), laid(made.shared, made.overlay))
        )
        told = [change.to_json() for change in found]
        version = self.store.add(Proposal(**{**vars(made), "waits": waits, "changes": told}), self.person)
        return version.summary()


def contents(project: Project, scrubber: Scrubber) -> tuple[Tree, Tree]:
    """Shared sections and overlay of a project's files, with secrets hidden.

    Other files that pipelines name (mapping sheets, code lists, Python) stand in the section `files` with their
    digest, so that a change of one is a change of the project.
    """
    shared, overlay = _hidden(project.shared, scrubber), _hidden(project.overlay, scrubber)
    named = _named_files(laid(shared, overlay).get("pipelines"), project.folder)
    return ({**shared, FILES: named} if named else shared), overlay


def _named_files(value: Any, folder: Path) -> dict[str, str]:
    """The digest of every file in the project's folder that a text anywhere in the value names."""
    if isinstance(value, Mapping | list):
        inner = value.values() if isinstance(value, Mapping) else value
        return {name: told for item in inner for name, told in _named_files(item, folder).items()}
    name = value.partition(":")[0] if isinstance(value, str) else ""  # `clean.py:function`
    if "." not in name or "\n" in name or len(name) > _LONGEST_NAME:
        return {}
    file = folder / name
    try:
        inside = file.resolve().is_relative_to(folder.resolve()) and file.is_file()
        return {name: hashlib.sha256(file.read_bytes()).hexdigest()[:16]} if inside else {}
    except OSError:
        return {}


def opened(
    folder: Path, env: str, project: Callable[[], Project], *, store: Versions, scrubber: Scrubber,
    promises: Promises | None = None,
) -> Versioning:  # fmt: skip
    """The versions as the person at this command line sees them."""
    return Versioning(folder, env, project, store, scrubber, person(), promises)


def other(mine: Versioning, env: str) -> Versioning:
    """The same project in another environment."""
    promises = replace(mine.promises, env=env) if mine.promises is not None else None
    return Versioning(
        mine.folder, env, lambda: load(mine.folder, env), mine.store, mine.scrubber, mine.person, promises
    )


def _tree(version: Version | None) -> dict[str, Any]:
    return laid(version.shared, version.overlay) if version else {}


def _hidden(tree: Tree, scrubber: Scrubber) -> Tree:
    if not tree.get("connections"):
        return tree
    return {**tree, "connections": _scrubbed(tree["connections"], scrubber)}


def _scrubbed(value: Any, scrubber: Scrubber) -> Any:
    if isinstance(value, str):
        return scrubber.text(value)
    if isinstance(value, Mapping):
        return {key: _scrubbed(inner, scrubber) for key, inner in value.items()}
    return [_scrubbed(inner, scrubber) for inner in value] if isinstance(value, list) else value
