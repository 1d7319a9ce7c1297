"""Writes rows as mails: gathered at home until all have come, then one call a mail, each noted in the ledger."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime

from tongqu.connectors.smtp.compose import compose, message_id
from tongqu.connectors.smtp.delivery import Delivery
from tongqu.connectors.smtp.settings import SmtpSettings
from tongqu.connectors.smtp.template import names_in
from tongqu.core.data import Write, WriteMode
from tongqu.core.errors import InvalidPlanError
from tongqu.kit.remote.effect import Effects, Op, Outcome, Result, all_ok
from tongqu.kit.remote.sink import RemoteSink
from tongqu.kit.remote.writer import Writer

_MOST_ROWS = 1_000_000
"""Most rows of one mail."""
_ALWAYS = ("rows", "dataset", "table")
ROW = "row"


class SmtpSink(RemoteSink):
    """See RemoteSink. Whatever the target is called, rows go to the recipients; the name stands in the subject."""

    def __init__(self, settings: SmtpSettings):
        super().__init__(settings.calls)
        self.name = settings.display()
        self._settings = settings

    def check(self) -> Iterator[str]:
        """dns, tcp, tls, login, sender: the server takes mail from it. Sends nothing."""
        delivery = Delivery(self._settings)
        try:
            yield from delivery.stages()
        finally:
            delivery.close()

    def modes(self) -> tuple[WriteMode, ...]:
        """Append: a mail cannot be changed."""
        return (WriteMode.APPEND,)

    def writer(self, write: Write) -> Writer:
        """See RemoteSink.writer; raises InvalidPlanError for a place that no column fills."""
        settings, columns = self._settings, write.dataset.columns
        if not settings.to and not settings.cc:
            raise InvalidPlanError(
                "nobody gets the mail", path=write.stream, hint="name recipients in to: (`to=a@example.com` in a URL)"
            )
        wanted = [name for text in settings.texts for name in names_in(text) if name not in _ALWAYS]
        wanted += [name for name in settings.per if name != ROW]
        missing = [name for name in wanted if name not in columns]
        if missing:
            raise InvalidPlanError(
                f"the mail needs a column {missing[0]!r}, which does not arrive",
                path=write.stream,
                hint=f"columns: {', '.join(columns)}",
            )
        return SmtpWriter(settings, write)


class SmtpWriter(Writer):
    """One call is one mail; each thread has a connection of its own."""

    ops = frozenset({Op.CREATE})
    gathers = True
    divides = False

    def __init__(self, settings: SmtpSettings, write: Write):
        self._settings = settings
        self._dataset = write.dataset.name
        single = settings.per == (ROW,)
        self.batch = 1 if single else _MOST_ROWS
        self.together = () if single else settings.per
        self._own = threading.local()
        self._opened: list[Delivery] = []
        self._lock = threading.Lock()

    def send(self, effects: Effects) -> Sequence[Outcome]:
        """See Writer.send. The peer's id is the Message-ID."""
        mail = compose(self._settings, self._dataset, effects, datetime.now(UTC))
        said = self._delivery().send(mail)
        peer = message_id(effects.id, self._settings.origin)
        return all_ok(len(effects), Outcome(Result.OK, Op.CREATE, 250, peer, said))

    def _delivery(self) -> Delivery:
        found: Delivery | None = getattr(self._own, "delivery", None)
        if found is None:
            found = self._own.delivery = Delivery(self._settings)
            with self._lock:
                self._opened.append(found)
        return found

    def close(self) -> None:
        """See Writer.close."""
        with self._lock:
            opened, self._opened = self._opened, []
        for delivery in opened:
            delivery.close()
        self._own = threading.local()
