"""Where the duties of administrators are kept apart they hold at the command line too: every command is walked."""

from __future__ import annotations

import os
import pwd
from pathlib import Path
from typing import Any

import pytest

from tongqu.app.cli import call
from tongqu.app.cli.group import application
from tongqu.app.http.duties import RIGHTS, Duties, right_of
from tongqu.app.http.rights import EVERY, ROLES, rights_of
from tongqu.app.services.identity import Callers
from tongqu.app.services.people import NewUser, People
from tongqu.core.errors import AccessError
from tongqu.gateway.auth.settings import IdentitySettings
from tongqu.store.home import Home
from tongqu.store.scrub import Scrubber
from tongqu.testing.command_line import inside

PASSWORD = "correct horse battery staple"
ME = pwd.getpwuid(os.geteuid()).pw_name


def person(folder: Path, name: str, duty: str) -> None:
    """One more person with a duty."""
    callers = Callers(Home(folder / "home"), Scrubber(), IdentitySettings)
    People(callers).add(NewUser(name, duties=(duty,), keep_password=True), lambda: PASSWORD)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A project that keeps duties apart, with one administrator of each."""
    (tmp_path / "tongqu.yaml").write_text(
        f"project: plant\nidentity: {{separate_duties: true, accounts: {{{ME}: zhang}}}}\n", encoding="utf-8"
    )
    return tmp_path


def commands(group: Any = None, words: tuple[str, ...] = ()) -> list[tuple[tuple[str, ...], Any]]:
    """All commands with their words."""
    group = group or application()
    found: list[tuple[tuple[str, ...], Any]] = []
    for name in group.list_commands(None):
        one = group.get_command(None, name)
        several = hasattr(one, "list_commands")
        found += commands(one, (*words, name)) if several else [((*words, name), one)]
    return found


def arguments(command: Any) -> list[str]:
    """Something for every argument and option that must be given: a text that is a number too."""
    needed = [one for one in command.params if one.required]
    return [word for one in needed for word in (["1"] if one.param_type_name == "argument" else [one.opts[0], "1"])]


def test_every_command_that_is_written_down_needs_a_right_that_some_role_gives(
    monkeypatch: pytest.MonkeyPatch, folder: Path
) -> None:
    """Each is called as people do; whoever has no duty gets to none of them."""
    person(folder, "chen", "security")
    seen: list[tuple[str, bool]] = []
    guarded = call._guarded

    def noted(one: Any, *, acts: bool) -> None:
        seen.append((one.name, acts))
        guarded(one, acts=acts)
        raise AccessError("let through")

    monkeypatch.setattr(call, "_guarded", noted)
    more = {"diff": ["--repair"], "reconcile run": ["--repair"], "drill": ["security"]}
    acting = set()
    for words, command in commands():
        before = len(seen)
        done = inside(folder, *words, *arguments(command), *more.get(" ".join(words), []), "--json")
        for name, acts in seen[before:]:
            if acts or name.replace(" ", ".") in RIGHTS:
                acting.add(name.replace(" ", "."))
                assert right_of(name) in EVERY - {"known"} or name == "api approve", name
                assert "let through" not in done.out, name
                assert done.document["problems"][0]["code"] == "access", (name, done.out)
    assert set(RIGHTS) <= acting
    assert len(acting) > 70  # a walk that finds nothing proves nothing


@pytest.mark.parametrize("duty", ["system", "security", "audit"])
def test_a_duty_gives_its_own_commands_and_no_others(folder: Path, duty: str) -> None:
    person(folder, "chen", "security")
    person(folder, "zhang", duty)
    callers = Callers(Home(folder / "home"), Scrubber(), IdentitySettings)
    settings = IdentitySettings(separate_duties=True, accounts={ME: "zhang"})
    with callers.opened() as identities:
        duties = Duties(identities, settings)
        assert duties.rights(ME) == rights_of([f"{duty}_admin"])
        assert duties.rights("nobody") == frozenset()
        assert Duties(identities, IdentitySettings()).rights("nobody") == EVERY
    outcomes = {
        "security": inside(folder, "client", "add", "mes", "--role", "quality", "--json"),
        "audit": inside(folder, "audit", "export", str(folder / "trail.jsonl"), "--json"),
        "system": inside(folder, "connectors", "remove", "tap-nothing", "--json"),
    }
    for needed, done in outcomes.items():
        refused = done.code != 0 and done.document["problems"][0]["code"] == "access"
        assert refused == (needed != duty), (needed, done.out, done.err)


def test_the_first_people_are_made_before_anybody_has_a_duty_and_a_refusal_is_told(folder: Path) -> None:
    add = ("user", "add", "wang", "--duty", "security", "--json")
    person(folder, "zhang", "audit")
    assert inside(folder, "client", "add", "mes", "--json").code == 0
    person(folder, "chen", "security")
    refused = inside(folder, *add)
    assert (refused.code, refused.document["problems"][0]["code"]) == (1, "access")
    assert "'security'" in refused.document["problems"][0]["message"]
    told = inside(folder, "audit", "show", "--kind", "duty", "--json").document["records"]
    assert [(one["on"], one["who"].partition("/")[0]) for one in told] == [("user.add", f"operator:{ME}")]
    assert inside(folder, "client", "list", "--json").code == 0  # looking at the own home is not guarded
    assert set(ROLES) >= {"system_admin", "security_admin", "audit_admin"}
