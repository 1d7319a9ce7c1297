"""`tongqu demo --live`: an ERP whose changes are in another system and with a subscriber at once, and its changes."""

from __future__ import annotations

import getpass
import os
import random
import shlex
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from tongqu.app.cli.call import Call, say, tell, tell_problem
from tongqu.app.messages import t
from tongqu.core.errors import InvalidSettingsError

if TYPE_CHECKING:
    from tongqu.app.demo.live.watching import Seen


def folder_of(dir: Path | None) -> Path:
    """The folder of the live demo: the given one, or one for each account, so that the second terminal finds it.

    Raises InvalidSettingsError if that one belongs to somebody else.
    """
    if dir is not None:
        return dir
    folder = Path(tempfile.gettempdir()) / f"tongqu-live-{getpass.getuser()}"
    if folder.is_symlink() or (folder.exists() and folder.stat().st_uid != os.getuid()):
        raise InvalidSettingsError(
            f"{folder} is somebody else's", path="--dir", hint="name a folder that can be written"
        )
    return folder


def play_live(call: Call, dir: Path | None, url: str, *, port: int, auto: int) -> int:
    """Build the ERP, keep its rows flowing and show every change that went all the way, until a signal or, with `auto`,
    for so many changes."""
    from tongqu.app.cli.moving import command_line
    from tongqu.app.demo.live.erp import erp_of
    from tongqu.app.demo.live.stage import Live, build, named
    from tongqu.app.services.serving import require

    require()
    folder = folder_of(dir)
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    wire = replace(call, project=folder, env="").wire()
    url = str(wire.references.resolve(url)) if url else ""
    if url:
        wire.scrubber.add(url)
    erp = erp_of(folder, url)
    tell(t("demo.live.building", folder=str(folder)))
    try:
        build(folder, erp)
    except OSError as error:
        what = f"the demo cannot be built in {folder}: {error.strerror or error}"
        raise InvalidSettingsError(what, path="--dir", hint="name a folder that can be written") from error
    named(erp, url)

    def told(word: str, what: Mapping[str, Any]) -> None:
        if word == "listening":
            _listening(call, dir, url, str(what["url"]))
        elif word == "failed":
            tell_problem({"path": "", **what})

    seed = random.SystemRandom().randrange(1 << 32)
    live = Live(wire, erp, command_line(), port=port, auto=auto, seed=seed, tell=told, shown=_shown)
    document = live.play()
    call.answer(document, _summary)
    return 0 if document["ok"] else 1


def change_order(call: Call, dir: Path | None, url: str, words: Sequence[str]) -> int:
    """Change an order of the ERP that a live demo follows: `change [ORDER] [FIELD=VALUE]…`; what is not said is chosen
    by chance."""
    from tongqu.app.demo.live.erp import erp_of
    from tongqu.app.demo.live.stage import changed

    word, *rest = words
    if word != "change":
        raise typer.BadParameter(t("usage.choice", value=word, valid="change"), param_hint="change")
    folder = folder_of(dir)
    named = str(replace(call, project=folder, env="").wire().references.resolve(url)) if url else ""
    erp = erp_of(folder, named)
    order = rest.pop(0) if rest and "=" not in rest[0] else ""
    values = _values(rest)
    row = changed(erp, random.Random(), order, values)  # noqa: S311  # made-up changes
    call.answer({"ok": True, **asdict(row)}, lambda document: say(t("demo.live.changed", **document)))
    return 0


def _values(words: Sequence[str]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for word in words:
        name, sign, value = word.partition("=")
        if not sign:
            raise InvalidSettingsError(f"{word!r} is not FIELD=VALUE", path="FIELD=VALUE", hint="quantity=70")
        if name == "quantity" and not value.lstrip("-").isdigit():
            raise InvalidSettingsError(
                f"the quantity {value!r} is not a number", path="FIELD=VALUE", hint="quantity=70"
            )
        found[name] = int(value) if name == "quantity" else value
    return found


def _listening(call: Call, dir: Path | None, erp: str, url: str) -> None:
    show = tell if call.json else say
    where = f" --dir {shlex.quote(str(dir))}" if dir else ""
    where += " --erp URL" if erp else ""
    show(t("serve.listening", url=url))
    show(t("demo.live.second"))
    show(f"  tongqu demo --live{where} change")
    show(f"  tongqu demo --live{where} change W1003 quantity=70 state=running")
    show(t("demo.live.third"))
    show(f"  curl -N {url}/live/v1/orders")
    show(t("demo.ctrl_c"))


def _shown(seen: Seen) -> None:
    """On stderr, as progress is."""
    row = {"order_no": seen.row.order_no, "product": seen.row.product, "quantity": seen.row.quantity}
    tell(t("demo.live.seen", **row, state=seen.row.state, arrived=f"{seen.arrived_ms:.0f}",
           pushed=f"{seen.pushed_ms:.0f}"))  # fmt: skip


def _summary(document: Mapping[str, Any]) -> None:
    if not document["changes"]:
        return
    told = {f"{kind}_{name}": f"{document[f'{kind}_ms'][name]:.0f}" for kind in ("arrived", "pushed")
            for name in ("p50", "p95", "max")}  # fmt: skip
    say(t("demo.live.summary", changes=len(document["changes"]), **told))
