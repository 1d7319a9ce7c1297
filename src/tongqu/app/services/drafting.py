"""Drafts of APIs: reviewed and commented, approved or rejected, and published in one step."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import closing
from copy import deepcopy
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from tongqu.app.project.apis import address
from tongqu.app.project.load import checked, laid
from tongqu.app.project.places import Places, nearest
from tongqu.app.services.versioning import Versioning
from tongqu.core.errors import AccessError, InvalidPlanError, NotFoundError, UnknownNameError
from tongqu.gateway.policy.compiling import reviews
from tongqu.store.drafts import Comment, Drafts, Verdict
from tongqu.store.runs import instant, now
from tongqu.store.versions import Version, shown

if TYPE_CHECKING:
    from tongqu.app.project.load import Project
    from tongqu.gateway.entry import ApiEntry
    from tongqu.store.home import Home

Document = dict[str, Any]
_LONGEST = 4000
"""Characters of a comment."""
_LOOKED_BACK = 500
"""Versions that are looked through for a draft's author."""


@dataclass(frozen=True)
class Signer:
    """Who judges: their name in the audit trail, their roles, whether they gave name and password anew, and whether
    they may change the project."""

    who: str
    roles: Collection[str] = ()
    signed: bool = False
    may_change: bool = False


@dataclass(frozen=True)
class _Draft:
    """A draft of the version that counts. `replaces` is the entry that has its address now, if one."""

    name: str
    entry: ApiEntry
    digest: str
    head: Version
    project: Project
    replaces: str
    author: str
    since: int

    @property
    def path(self) -> str:
        version, api = address(self.name, self.entry)
        return f"/api/{version}/{api}"

    @property
    def reviewers(self) -> tuple[str, ...]:
        return self.entry.draft.reviewers if self.entry.draft is not None else ()

    @property
    def judged(self) -> str:
        """What approvals are of: the draft as it is, before these reviewers. A rejection is of the draft alone."""
        return f"{self.digest}-{_sum(sorted(self.reviewers))}" if self.reviewers else self.digest

    @property
    def needed(self) -> int:
        return self.entry.draft.approvals if self.entry.draft is not None else 1

    @property
    def apart(self) -> bool:
        """Whether its author's own approval is not counted."""
        environment = self.project.environments.get(self.head.env)
        approval = environment is not None and environment.approval
        return approval or self.entry.write.gmp or self.project.identity.apart


@dataclass(frozen=True)
class Drafting:
    """The drafts of the version that counts in one environment. Every method gives the document that the command
    prints. `versioning` makes the versions as the person who asks sees them; close it."""

    home: Home
    versioning: Versioning

    def list(self) -> Document:
        """All drafts with where they stand."""
        head = self.versioning.store.head(self.versioning.env)
        if head is None:
            return {"drafts": []}
        project = self._project(head)
        found = [self._draft(name, head, project) for name, entry in project.apis.items() if entry.draft is not None]
        return {"drafts": [self._told(one) for one in found]}

    def show(self, name: str) -> Document:
        """One draft: what is otherwise than in what it replaces, comments, verdicts. Raises UnknownNameError."""
        draft = self._known(name)
        before = draft.project.apis[draft.replaces].model_dump(mode="json", by_alias=True) if draft.replaces else {}
        after = draft.entry.model_dump(mode="json", by_alias=True)
        told = [
            {"at": place, "before": old, "after": new}
            for place, old, new in _otherwise(before, after)
            if place.partition(".")[0] not in ("draft", "name")
        ]
        comments, verdicts, _ = self._said(draft)
        return {
            **self._told(draft), "changes": told,
            "comments": [{**one.to_json(), "current": one.digest == draft.digest} for one in comments],
            "verdicts": [one.to_json() for one in verdicts],
        }  # fmt: skip

    def comment(self, name: str, text: str, place: str, who: str) -> Document:
        """Say something about a draft, or about one place in it. Raises UnknownNameError, InvalidPlanError."""
        draft = self._known(name)
        if not text.strip() or len(text) > _LONGEST:
            raise InvalidPlanError(f"a comment has 1 to {_LONGEST} characters", path="TEXT")
        self._is_place(draft, place)
        with closing(Drafts.open(self.home)) as store:
            store.say(self.versioning.env, name, Comment(0, draft.digest, _now(), who, place, text.strip()))
        return self.show(name)

    def resolve(self, name: str, id: int, who: str) -> Document:
        """A comment is dealt with. Raises UnknownNameError."""
        self._known(name)
        with closing(Drafts.open(self.home)) as store:
            store.settle(self.versioning.env, name, id, who, _now())
        return self.show(name)

    def judge(self, name: str, signer: Signer, verdict: str, reason: str = "") -> Document:
        """Approve or reject the draft as it is now, for the reviewers that it has now. Raises AccessError for who is no
        reviewer (may not change the project, where none are named), for its author where that does not count, and for
        who did not sign where signatures are wanted."""
        draft = self._known(name)
        self._may_judge(draft, signer, verdict)
        with closing(Drafts.open(self.home)) as store:
            told = Verdict(signer.who, _now(), verdict, signer.signed, reason)
            for digest in dict.fromkeys((draft.digest, draft.judged)):
                store.judge(self.versioning.env, name, digest, told)
        return self.show(name)

    def publish(self, name: str, reason: str = "", *, accept: bool = False) -> Document:
        """Make a version in which the draft is what it is a draft of: of one moment for all callers. Raises
        InvalidPlanError while approvals are missing, and what `Versioning.adopt` raises."""
        draft = self._known(name)
        _, verdicts, approvals = self._said(draft)
        state, counted = self._state(draft, verdicts, approvals)
        if state != "approved":
            missing = draft.needed - len(counted)
            told = "was rejected" if state == "rejected" else f"needs {missing} more approval(s)"
            raise InvalidPlanError(
                f"the draft {name} {told}", path=f"apis.{name}.draft", hint="tongqu draft show tells who said what"
            )
        shared, overlay = (deepcopy(dict(tree)) for tree in (draft.head.shared, draft.head.overlay))
        tree = _holding(shared, overlay, name, draft.replaces)
        values = {key: value for key, value in tree[name].items() if key != "draft"}
        if draft.replaces:
            del tree[name]
            tree[draft.replaces] = values
        else:
            tree[name] = values
        version, api = draft.entry.version, draft.entry.name or name
        made = self.versioning.adopt(
            draft.head, shared, overlay, origin=f"draft:{name}", reason=reason, accept=accept
        )  # fmt: skip
        return {**made, "draft": name, "path": f"/api/{version}/{api}"}

    # parts

    def _project(self, head: Version) -> Project:
        mine = self.versioning
        files = mine.project().files
        return checked(mine.folder, files, head.shared, head.overlay, Places(folder=mine.folder.absolute()))

    def _known(self, name: str) -> _Draft:
        mine = self.versioning
        head = mine.store.head(mine.env)
        if head is None:
            raise NotFoundError(f"nothing was applied to {shown(mine.env)} yet", hint="tongqu apply makes a version")
        project = self._project(head)
        entry = project.apis.get(name)
        if entry is None or entry.draft is None:
            drafts = [one for one, told in project.apis.items() if told.draft is not None]
            raise UnknownNameError(
                f"there is no draft {name!r}", hint=nearest(name, drafts) if drafts else "tongqu draft list",
                params={"name": name},
            )  # fmt: skip
        return self._draft(name, head, project)

    def _draft(self, name: str, head: Version, project: Project) -> _Draft:
        entry = project.apis[name]
        place = (entry.version, entry.name or name)
        others = (one for one, told in project.apis.items() if told.draft is None and address(one, told) == place)
        digest = _digest(laid(head.shared, head.overlay), name, entry)
        first = head
        for version in self.versioning.store.list(head.env, _LOOKED_BACK):
            if version.state != "applied" or version.version > head.version:
                continue
            if _digest(laid(version.shared, version.overlay), name, entry) != digest:
                break
            first = version
        return _Draft(name, entry, digest, head, project, next(others, ""), first.actor, first.version)

    def _said(self, draft: _Draft) -> tuple[Sequence[Comment], Sequence[Verdict], Sequence[str]]:
        """Comments and verdicts, and who approved before the reviewers of now."""
        if not self.home.drafts.exists():
            return [], [], []
        with closing(Drafts.open(self.home)) as store:
            env = self.versioning.env
            approvals = [one.who for one in store.verdicts(env, draft.name, draft.judged) if one.verdict == "approved"]
            return store.comments(env, draft.name), store.verdicts(env, draft.name, draft.digest), approvals

    @staticmethod
    def _state(draft: _Draft, verdicts: Sequence[Verdict], approvals: Sequence[str]) -> tuple[str, Sequence[str]]:
        """Where the draft stands, and the approvals that count."""
        counted = approvals
        if draft.apart:
            counted = [who for who in approvals if _person(who) != _person(draft.author)]
        if any(one.verdict == "rejected" for one in verdicts):
            return "rejected", counted
        return ("approved" if len(counted) >= draft.needed else "open"), counted

    def _told(self, draft: _Draft) -> Document:
        comments, verdicts, approvals = self._said(draft)
        state, counted = self._state(draft, verdicts, approvals)
        version, api = draft.entry.version, draft.entry.name or draft.name
        return {
            "draft": draft.name, "path": draft.path, "becomes": f"/api/{version}/{api}", "replaces": draft.replaces,
            "author": draft.author, "since": draft.since, "reviewers": [*draft.reviewers], "state": state,
            "approvals": counted, "needed": draft.needed, "second_person": draft.apart,
            "open_comments": sum(not one.resolved_at for one in comments),
        }  # fmt: skip

    @staticmethod
    def _may_judge(draft: _Draft, signer: Signer, verdict: str) -> None:
        if draft.reviewers and not reviews(signer.who, signer.roles, draft.reviewers):
            raise AccessError(
                f"{signer.who} is no reviewer of {draft.name}", path=f"apis.{draft.name}.draft.reviewers",
                hint="a reviewer signs by `--as NAME`",
            )  # fmt: skip
        if not draft.reviewers and not signer.may_change:
            raise AccessError(
                f"{signer.who} may not change the project, and no reviewers of {draft.name} are named",
                path=f"apis.{draft.name}.draft.reviewers", hint="a reviewer signs by `--as NAME`",
            )  # fmt: skip
        if verdict == "approved" and draft.apart and _person(signer.who) == _person(draft.author):
            raise AccessError(
                f"{draft.author} made the draft {draft.name}, and somebody else must approve it",
                hint="let a second person run `tongqu draft approve`",
            )
        if draft.entry.write.gmp and not signer.signed:
            raise AccessError(
                f"the changes of {draft.name} are signed, and so is what is said of its draft",
                hint="give name and password anew: `--as NAME`",
            )

    @staticmethod
    def _is_place(draft: _Draft, place: str) -> None:
        """Raises UnknownNameError for a place that neither the entry nor the dictionary has."""
        if not place:
            return
        first, _, rest = place.partition(".")
        known = list(type(draft.entry).model_fields)
        if first not in known:
            raise UnknownNameError(
                f"a draft has no {first!r}", path="--on", hint=nearest(first, known), params={"name": first}
            )
        fields = draft.entry.fields
        if first == "fields" and rest and fields is not None and rest not in fields:
            raise UnknownNameError(
                f"the draft has no field {rest!r}", path="--on", hint=nearest(rest, fields), params={"name": rest}
            )


def _holding(shared: Document, overlay: Document, name: str, replaces: str) -> Document:
    """The `apis` of the tree in which the draft stands, whole, with what it replaces; raises InvalidPlanError where it
    is spread over both."""
    trees = [tree.get("apis") or {} for tree in (shared, overlay)]
    holding = [apis for apis in trees if name in apis]
    if len(holding) != 1 or any(replaces in apis and apis is not holding[0] for apis in trees):
        raise InvalidPlanError(
            f"the draft {name} and what it replaces stand in several layers", path=f"apis.{name}",
            hint="write both in tongqu.yaml, or both in the overlay of the environment",
        )  # fmt: skip
    found: Document = holding[0]
    return found


def _digest(tree: Mapping[str, Any], name: str, entry: ApiEntry) -> str:
    """Changes when what would be published does: the entry without its state as a draft, and its dictionary entry."""
    values = {key: value for key, value in ((tree.get("apis") or {}).get(name) or {}).items() if key != "draft"}
    meaning = (tree.get("datasets") or {}).get(entry.source.as_ or entry.source.dataset or "")
    return _sum([values, meaning])


def _sum(told: Any) -> str:
    text = json.dumps(told, sort_keys=True, default=str, ensure_ascii=False)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def _otherwise(before: Any, after: Any, place: str = "") -> Iterator[tuple[str, Any, Any]]:
    """Every place where two trees differ, with both values."""
    if isinstance(before, Mapping) and isinstance(after, Mapping):
        for key in dict.fromkeys((*before, *after)):
            yield from _otherwise(before.get(key), after.get(key), f"{place}.{key}" if place else str(key))
    elif isinstance(after, Mapping) and before in (None, {}) and after:
        for key, value in after.items():
            yield from _otherwise(None, value, f"{place}.{key}" if place else str(key))
    elif before != after and not (before in (None, [], {}, "") and after in (None, [], {}, "")):
        yield place, before, after


def _person(who: str) -> str:
    """The name under which a person is the same, however they came."""
    kind, colon, name = who.partition(":")
    return name.rpartition("/")[2] if colon and kind in ("user", "operator") else who


def _now() -> str:
    return instant(now())
