"""What the commands about versions share: the versions of the project at hand, and how changes are shown."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from tongqu.app.cli.call import say
from tongqu.app.messages import hint, t
from tongqu.store.versions import shown

if TYPE_CHECKING:
    from tongqu.app.services.versioning import Versioning
    from tongqu.app.wire import Wire

_SIGNS = {"create": "+", "update": "~", "delete": "-"}
_LONGEST = 100


@contextmanager
def versioning(wire: Wire) -> Iterator[Versioning]:
    """The versions of the project and environment, closed at the end of the block."""
    from tongqu.app.services.versioning import opened

    _ = wire.project  # what is wrong with the files is told before anything is made
    store = wire.versions()
    try:
        yield opened(
            wire.folder, wire.env, lambda: wire.project, store=store, scrubber=wire.scrubber, promises=wire.promises
        )  # fmt: skip
    finally:
        store.close()


def show_plan(document: Mapping[str, Any]) -> None:
    """Changes with their details and everything downstream, then the tables."""
    if not document["changes"]:
        say(t("plan.nothing", version=document["version"], env=shown(document["env"])))
    for change in document["changes"]:
        _show_change(change)
    for target in document.get("targets", []):
        rows = "" if target.get("rows") is None else t("plan.rows", rows=f"{target['rows']:,}")
        where = f"{target['connection']}.{target['dataset']}"
        say(f"  {target['pipeline']} → {where}: {t('plan.' + target['action'])}{rows}")
        for statement in target.get("statements", []):
            say(f"      {statement}")
        for note in target.get("notes", []):
            say(f"      ! {hint(note)}")
    for one in document.get("schedules", []):
        say(f"  {one['name']}: {one['starts']}" + (f" → {', '.join(one['next'])}" if one["next"] else ""))
    for line in document.get("impacts", []):
        mark = "✗" if line["verdict"] == "breaks" else "✓"
        say(f"{mark} {line['path']}: {hint(line['reason'])}")
    for contract in document.get("contracts", []):
        show_contract_changes(contract)
    for note in document.get("notes", []):
        say(f"! {hint(note['message'])}")


def show_contract_changes(document: Mapping[str, Any]) -> None:
    """What changes for the callers of one version, and who used lately what would break."""
    for change in document["changes"]:
        mark = f"  [{t('plan.breaking')}]" if change["breaking"] else ""
        told = f"{_short(change['before'])} → {_short(change['after'])}"
        say(f"{document['api']} {document['version']} {change['at']}: {told}{mark}")
        if change["consumers"]:
            say(f"    {t('contract.consumers')}: {', '.join(change['consumers'])}")


def show_version(document: Mapping[str, Any]) -> None:
    """What a version is and what it changed."""
    if not document["changes"] and "kind" not in document:
        say(t("plan.nothing", version=document["version"], env=shown(document["env"])))
        return
    for change in document["changes"]:
        _show_change(change)
    state = t(f"version.{document['state']}")
    say(
        t("version.line", version=document["version"], env=shown(document["env"]), state=state, actor=document["actor"])
    )
    if document["state"] == "proposed":
        env = f" --env {document['env']}" if document["env"] else ""
        say(t("version.waits", version=document["version"], env=env))


def _show_change(change: Mapping[str, Any]) -> None:
    breaking = f"  [{t('plan.breaking')}]" if change["breaking"] else ""
    say(f"{_SIGNS[change['action']]} {change['resource']}{breaking}")
    for detail in change["details"]:
        if not detail["path"]:
            continue
        why = f"  ← {hint(detail['breaking'])}" if detail["breaking"] else ""
        say(f"    {detail['path']}: {_short(detail['before'])} → {_short(detail['after'])}{why}")
    if change["affects"]:
        say(f"    {t('plan.affects')}: {', '.join(change['affects'])}")


def _short(value: Any) -> str:
    if value is None:
        return "∅"
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, default=str)
    return text if len(text) <= _LONGEST else text[: _LONGEST - 1] + "…"
