"""`tongqu connectors`: the systems Tongqu speaks to, each honestly labelled; other people's are installed."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from tongqu.app.cli.call import COMMON_FLAGS, COMMON_WITH_VALUE, Call, command, say, table, tell
from tongqu.app.messages import hint, t

_SHOW = "show"
_LABELS = {
    "real": lambda: t("label.real"),
    "compatible": lambda: t("label.compatible"),
    "mock": lambda: t("label.mock"),
    "compile-only": lambda: t("label.compile-only"),
    "not run here": lambda: t("label.not_run_here"),
    "egress: not enforced": lambda: t("label.egress_not_enforced"),
    "real against a mock API": lambda: t("label.real_against_a_mock_api"),
    "tested against mock": lambda: t("label.tested_against_mock"),
    "starter": lambda: t("label.starter"),
}
"""Honest labels in the language in use."""
Wanted = Annotated[str, typer.Argument(metavar="NAME==VERSION", help=t("connectors.wanted"), show_default=False)]
Name = Annotated[str, typer.Argument(metavar="NAME", help=t("connectors.name"), show_default=False)]


class _Showing(TyperGroup):
    """Without one of its commands it is `show`, so that `tongqu connectors` lists and `connectors FROM TO` compares."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Put the command first, before the common options that were given early."""
        early: list[str] = []
        rest = list(args)
        while rest and rest[0].split("=")[0] in (*COMMON_FLAGS, *COMMON_WITH_VALUE):
            take = 2 if rest[0] in COMMON_WITH_VALUE else 1
            early, rest = early + rest[:take], rest[take:]
        first = rest.pop(0) if rest and rest[0] in self.commands else _SHOW
        return super().parse_args(ctx, [first, *early, *rest])


app = typer.Typer(rich_markup_mode=None, add_completion=False, cls=_Showing)


@command(app, "show", "connectors.show")
def connectors(
    call: Call,
    *,
    types: Annotated[bool, typer.Option("--types", help=t("connectors.types"))] = False,
    source: Annotated[str, typer.Argument(metavar="FROM", help=t("connectors.from"), show_default=False)] = "",
    sink: Annotated[str, typer.Argument(metavar="TO", help=t("connectors.to"), show_default=False)] = "",
) -> int:
    """List the connectors, show the settings of one, or with --types what the types of one system become in another."""
    if source and not types and not sink and _is_profile(source):
        from tongqu.app.docs import profile_shown

        call.answer(profile_shown(source), _show_profile)
        return 0
    if source and not types and not sink and _is_connector(source):
        from tongqu.app.connector_page import shown

        call.answer(shown(source), lambda document: say(document["page"].rstrip()))
        return 0
    if types or source:
        from tongqu.app.type_table import type_table

        call.answer(type_table(source, sink), _show_types)
        return 0
    from tongqu.app.docs import connectors as listed

    call.answer(listed(), _show)
    return 0


@command(app, "install", "connectors.install", audited=True)
def install(
    call: Call,
    wanted: Wanted,
    *,
    confirmed: Annotated[str, typer.Option("--hash", metavar="sha256:…", help=t("connectors.hash"))] = "",
    lock: Annotated[str, typer.Option("--lock", metavar="FILE", help=t("connectors.lock"))] = "",
    wheels: Annotated[str, typer.Option("--from", metavar="DIR", help=t("connectors.wheels"))] = "",
    more: Annotated[list[str] | None, typer.Option("--with", metavar="PACKAGE", help=t("connectors.with"))] = None,
    build: Annotated[bool, typer.Option("--build", help=t("connectors.build"))] = False,
    python: Annotated[str, typer.Option("--python", metavar="PROGRAM", help=t("connectors.python"))] = "",
) -> int:
    """Install one of other people's packages, or replace it by another version."""
    from tongqu.app.services.foreign import InstallRequest, installed, resolved

    request = InstallRequest(wanted, confirmed, lock, wheels, python, tuple(more or ()), build)
    found = resolved(request)
    if not confirmed:
        tell(found.lock.rstrip())
    call.answer(installed(call.wire().home, request, found), _show_installed_one)
    return 0


@command(app, "installed", "connectors.installed")
def list_installed(call: Call) -> int:
    """List the packages that are installed."""
    from tongqu.app.services.foreign import listed

    call.answer(listed(call.wire().home), _show_installed)
    return 0


@command(app, "remove", "connectors.remove", audited=True)
def remove(call: Call, name: Name) -> int:
    """Remove an installed package."""
    from tongqu.app.services.foreign import removed

    call.answer(
        removed(call.wire().home, name), lambda done: say(t("connectors.removed", name=done["removed"]["name"]))
    )
    return 0


def _is_connector(name: str) -> bool:
    from tongqu.core import registry

    return name in registry.names()


def _is_profile(name: str) -> bool:
    from tongqu.kit.profiles.profile import ENDINGS, names

    return name.endswith(ENDINGS) or name in names()


def _show_profile(document: Mapping[str, Any]) -> None:
    say(t("connectors.profile", **{key: document[key] for key in ("title", "name", "label")}))
    say(t("connectors.profile_address", address=document["address"]))
    names = ("setting", "title", "default", "help")
    rows: list[tuple[str, ...]] = [tuple(t(f"column.{name}") for name in names)]
    for one in document["settings"]:
        default = "–" if one["needed"] else json.dumps(one["default"], ensure_ascii=False)
        rows.append((one["name"], one["title"], default, one["help"]))
    table(rows)
    _show_fields(document)
    for one in document["follows"]:
        say(t("connectors.profile_follows", **one))
    for text in document["missing"]:
        say(t("connectors.profile_missing", text=text))


def _show_fields(document: Mapping[str, Any]) -> None:
    names = ("dataset", "field", "type", "title", "class", "unit")
    fields: list[tuple[str, ...]] = [tuple(t(f"column.{name}") for name in names)]
    for dataset, told in document["fields"].items():
        fields += [(dataset, *(one[key] for key in ("name", "type", "title", "class", "unit"))) for one in told]
    table(fields)


def _show_types(document: Mapping[str, Any]) -> None:
    names = ("from", "type", "arrow", "to", "becomes", "verdict")
    head = tuple(t(f"column.{name}") for name in names)
    table([head, *(tuple(row[name] for name in names) for row in document["types"])])


def _show(document: Mapping[str, Any]) -> None:
    names = ("name", "label", "reads", "writes", "schemes", "systems")
    rows: list[tuple[str, ...]] = [tuple(t(f"column.{name}") for name in names)]
    for found in document["connectors"]:
        schemes = " ".join(f"{scheme}:" for scheme in found["schemes"])
        reads, writes = (t("word.yes") if found[name] else "-" for name in ("reads", "writes"))
        systems = ", ".join(system_shown(system) for system in found["systems"])
        rows.append((found["name"], label_shown(found["label"]), reads, writes, schemes, systems))
    table(rows)
    say("")
    _show_profiles(document)


def _show_profiles(document: Mapping[str, Any]) -> None:
    names = ("profile", "label", "connector", "title", "datasets")
    profiles: list[tuple[str, ...]] = [tuple(t(f"column.{name}") for name in names)]
    for one in document["profiles"]:
        label = label_shown(one["label"])
        profiles.append((one["name"], label, one["connector"], one["title"], ", ".join(one["datasets"])))
    table(profiles)


def label_shown(text: str) -> str:
    """An honest label, or several with commas between them, in the language in use."""
    return ", ".join(_LABELS[one]() if one in _LABELS else one for one in text.split(", "))


def system_shown(text: str) -> str:
    """A system with its label in brackets, or several of them, in the language in use."""
    for part in re.findall(r"[^()]+ \([^()]+\)", text):
        name, _, labels = part[:-1].rpartition(" (")
        older = name.removesuffix(" and newer")
        system = hint(name) if older == name else t("label.newer", system=older)
        text = text.replace(part, t("label.of", system=system, labels=label_shown(labels)))
    return text


def _show_installed_one(document: Mapping[str, Any]) -> None:
    _show_installed({"installed": [document["installed"]]})


def _show_installed(document: Mapping[str, Any]) -> None:
    names = ("name", "version", "packages", "programs", "egress")
    rows: list[tuple[str, ...]] = [tuple(t(f"column.{name}") for name in names)]
    for found in document["installed"]:
        programs = ", ".join(found["programs"])
        rows.append((found["name"], found["version"], str(found["packages"]), programs, found["egress"]))
    table(rows)
