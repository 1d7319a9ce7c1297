"""The webhooks of a project: how they stand, what was given up, replay, rotation and trial."""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from tongqu.core.errors import InvalidPlanError, SecretError, UnknownNameError

if TYPE_CHECKING:
    from tongqu.app.project.load import Project
    from tongqu.app.services.secrets import Keeping
    from tongqu.gateway.webhooks.settings import WebhookEntry
    from tongqu.store.home import Home
    from tongqu.store.outbox import Outbox

STATES = ("dead", "done", "skipped")
_STORED = re.compile(r"\$\{secret:([^}]+)\}")
_OVERLAP_DAYS = 30


@dataclass(frozen=True)
class Hooks:
    """Every method gives the document that a command prints; `rotate` alone holds a secret, once."""

    home: Home
    project: Callable[[], Project]
    keeping: Keeping
    resolve: Callable[[str], Any]
    now: Callable[[], float] = time.time

    def list(self) -> dict[str, Any]:
        """All webhooks of the project, and what waits for each."""
        with self._outbox() as outbox:
            return {"webhooks": [self._state(outbox, name, entry) for name, entry in self._entries().items()]}

    def show(self, name: str, limit: int, state: str) -> dict[str, Any]:
        """The newest messages of one webhook; no values of rows."""
        full, entry = self._known(name)
        with self._outbox() as outbox:
            found = outbox.messages(full, limit, state) if outbox else []
            told = [
                {**one.to_json(), **{at: _moment(getattr(one, at)) for at in ("at", "due", "ended")}} for one in found
            ]
            return {**self._state(outbox, full, entry), "messages": told}

    def replay(self, name: str, id: str, since: str, state: str) -> dict[str, Any]:
        """Deliver messages again under their ids: one, or all of a state since a moment."""
        full, _ = self._known(name)
        with self._outbox() as outbox:
            count = outbox.replay(full, self.now(), id=id, since=_instant(since), state=state) if outbox else 0
        if id and not count:
            raise UnknownNameError(f"there is no message {id!r} that is over", hint=f"tongqu webhook show {full}",
                                   params={"name": id})  # fmt: skip
        return {"name": full, "replayed": count}

    def enable(self, name: str, *, enabled: bool) -> dict[str, Any]:
        """Switch a webhook off, or on again after it was."""
        full, entry = self._known(name)
        with self._begun(full) as outbox:
            outbox.disable(full, "" if enabled else "hook.disabled")
            return self._state(outbox, full, entry)

    def rotate(self, name: str, overlap: float) -> dict[str, Any]:
        """A new secret in place of the present one, which signs too for `overlap` seconds."""
        from tongqu.gateway.webhooks.dispatching import secret_before
        from tongqu.gateway.webhooks.signing import new_secret

        if not 0 <= overlap <= _OVERLAP_DAYS * 86_400:
            raise InvalidPlanError("two secrets sign side by side for at most 30 days", hint="--overlap 24h")
        full, entry = self._known(name)
        stored = _STORED.fullmatch(entry.secret)
        earlier = _STORED.fullmatch(secret_before(entry.secret))
        if stored is None or earlier is None:
            raise InvalidPlanError(
                f"the secret of {full} is not kept by tongqu", path=f"{full}.secret",
                hint="write it as ${secret:NAME}, or change it where it is kept",
            )  # fmt: skip
        try:
            old = str(self.resolve(entry.secret))
        except SecretError:
            old = ""
        secret = new_secret()
        if old:
            self.keeping.set(earlier[1], lambda: old)
        with self._begun(full) as outbox:
            until = self.now() + overlap if old else 0.0
            outbox.overlap(full, until)  # from now on the one before signs too, so that no moment has only the new one
            self.keeping.set(stored[1], lambda: secret)
            until += 1
            outbox.overlap(full, until)  # whoever delivers looks the secrets up again when this changes
        return {"name": full, "secret": secret, "overlap_until": _moment(until) if old else None}

    def test(self, name: str) -> dict[str, Any]:
        """Send a signed trial message now; what came of it."""
        import secrets

        from tongqu.gateway.webhooks.sending import Delivery, HttpSender
        from tongqu.gateway.webhooks.signing import checked
        from tongqu.kit.serving.texts import dumps

        full, entry = self._known(name)
        now = self.now()
        body = dumps({"type": "webhook.test", "timestamp": _moment(now), "data": {"webhook": full}})
        keys = [checked(str(self.resolve(entry.secret)))]
        sender = HttpSender(entry)
        try:
            answered = sender.send(Delivery(f"msg_{secrets.token_hex(13)}", body, keys, now))
        finally:
            sender.close()
        taken = answered.verdict == "taken"
        return {"name": full, "taken": taken, "status": answered.status, "problem": answered.problem}

    def _entries(self) -> Mapping[str, WebhookEntry]:
        from tongqu.app.project.apis import address

        found: dict[str, WebhookEntry] = {}
        for name, entry in self.project().apis.items():
            version, shown = address(name, entry)
            found |= {f"{version}/{shown}/{hook}": one for hook, one in entry.webhooks.items()}
        return found

    def _known(self, name: str) -> tuple[str, WebhookEntry]:
        """The webhook of that name, or of that last part of it if it is the only one."""
        entries = self._entries()
        found = [full for full in entries if full == name or full.rpartition("/")[2] == name]
        if len(found) != 1:
            raise UnknownNameError(
                f"there is no webhook {name!r}" if not found else f"there are several webhooks {name!r}",
                hint=f"webhooks: {', '.join(entries)}", params={"name": name},
            )  # fmt: skip
        return found[0], entries[found[0]]

    def _state(self, outbox: Outbox | None, name: str, entry: WebhookEntry) -> dict[str, Any]:
        hook = outbox.hook(name) if outbox else None
        counts = outbox.counts(name) if outbox else {}
        place = urlsplit(entry.url)
        held = hook.held_until if hook and hook.held_until > self.now() else None
        return {
            "name": name, "url": f"{place.scheme}://{place.netloc}{place.path}", "client": entry.as_,
            "state": "new" if hook is None else "disabled" if hook.disabled else "held" if held else "on",
            "reason": hook.disabled if hook else "", "held_until": _moment(held),
            "waiting": counts.get("waiting", 0), "dead": counts.get("dead", 0), "done": counts.get("done", 0),
        }  # fmt: skip

    @contextmanager
    def _outbox(self) -> Iterator[Outbox | None]:
        """The outbox; none before anything was ever served: looking creates nothing."""
        from tongqu.store.outbox import Outbox

        outbox = Outbox.open(self.home) if self.home.outbox.exists() else None
        try:
            yield outbox
        finally:
            if outbox is not None:
                outbox.close()

    @contextmanager
    def _begun(self, name: str) -> Iterator[Outbox]:
        from tongqu.store.feed import Feed
        from tongqu.store.outbox import Outbox

        feed = Feed.open(self.home)
        try:
            position = feed.last()
        finally:
            feed.close()
        outbox = Outbox.open(self.home)
        try:
            outbox.begin(name, position)
            yield outbox
        finally:
            outbox.close()


def _moment(at: float | None) -> str | None:
    return None if at is None else datetime.fromtimestamp(at, UTC).isoformat(timespec="seconds").replace("+00:00", "Z")


def _instant(text: str) -> float:
    """A moment in the past as Unix seconds; nothing is the beginning."""
    if not text:
        return 0.0
    try:
        told = datetime.fromisoformat(text)
    except ValueError:
        raise InvalidPlanError(f"{text!r} is no date or time", hint='--since "2026-01-31T08:00:00Z"') from None
    return (told if told.tzinfo else told.replace(tzinfo=UTC)).timestamp()
