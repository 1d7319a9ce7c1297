"""Attachments in an IMAP mailbox as files: a mailbox is a folder, each attachment a file in it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from tongqu.core.errors import InvalidPlanError, NotFoundError, ReadError
from tongqu.kit.egress.dial import Egress
from tongqu.kit.mail.answers import Attached
from tongqu.kit.mail.mailbox import Mailbox, Message
from tongqu.kit.mail.settings import MailServer, Security
from tongqu.kit.places.place import BLOCK, Entry, Place, parent
from tongqu.kit.places.settings import Address, PlaceSettings

SECURITIES: dict[str, Security] = {"imap": "starttls", "imaps": "tls"}


MOST = 512 << 20
"""Bytes of the largest message of which an attachment is fetched."""


@dataclass(frozen=True)
class Attachment(Entry):
    """An attachment. Its path is `MAILBOX/UID.SECTION/NAME`, so that equal names stay apart."""


class ImapPlace(Place):
    """The attachments of one account's mailboxes, of the messages that `mail` lets through.

    Moving or deleting one does so with its whole message. Nothing is put into a mailbox.
    """

    writes = False

    def __init__(self, address: Address, settings: PlaceSettings, egress: Egress):
        super().__init__(address.shown)
        self._filter = settings.mail
        server = MailServer(
            host=address.host, port=address.port, security=SECURITIES[address.scheme], user=settings.user,
            password=settings.password, tls=settings.tls, connect_seconds=settings.timeouts.connect_seconds,
            read_seconds=settings.timeouts.read_seconds,
        )  # fmt: skip
        self._box = Mailbox(server, egress)

    def stages(self) -> Iterator[str]:
        """See Place.stages."""
        return self._box.stages()

    def entries(self, folder: str) -> list[Entry]:
        """See Place.entries: a mailbox's attachments, the oldest message first; of the root the mailboxes."""
        if not folder:
            tops = dict.fromkeys(name.partition("/")[0] for name in self._box.names())
            return [Entry(name, folder=True) for name in tops]
        state = self._box.select(folder)
        found = self._box.fitting(folder, 1, state.next - 1, self._filter)
        return [_entry(folder, state.validity, message, part) for message in found for part in message.attached]

    def look(self, path: str) -> Entry:
        """See Place.look."""
        if path in self._box.names():
            return Entry(path, folder=True)
        mailbox, uid, part, message, validity = self._found(path)
        del uid
        return _entry(mailbox, validity, message, part)

    def _found(self, path: str) -> tuple[str, int, Attached, Message, int]:
        """Mailbox, number, part and message that a path means; raises NotFoundError."""
        mailbox, _, place = parent(path).rpartition("/")
        uid, _, section = place.partition(".")
        if mailbox and uid.isdigit() and section:
            state = self._box.select(mailbox)
            for message in self._box.messages(mailbox, [int(uid)]):
                for part in message.attached:
                    if part.section == section:
                        return mailbox, message.uid, part, message, state.validity
        raise NotFoundError(f"no such attachment: {self.shown(path)}", path=self.shown(path))

    def read(self, path: str, offset: int = 0) -> Iterator[bytes]:
        """See Place.read: the attachment is fetched whole."""
        mailbox, uid, part, message, _ = self._found(path)
        if message.size > MOST:
            raise ReadError(
                f"{self.shown(path)}: the message has {message.size >> 20} MB; attachments are fetched whole, up to "
                f"{MOST >> 20} MB",
                path=self.shown(path),
                hint="leave the message out with mail: {subject: …}",
            )
        content = self._box.content(mailbox, uid, part)
        for start in range(offset, len(content), BLOCK):
            yield content[start : start + BLOCK]

    def rename(self, path: str, new: str) -> None:
        """Move the attachment's message into the mailbox that the new path is in."""
        try:
            mailbox, uid, *_ = self._found(path)
        except NotFoundError:  # another attachment of it has been moved before
            return
        self._box.move(mailbox, [uid], parent(new))

    def delete(self, path: str) -> None:
        """Delete the attachment's message."""
        try:
            mailbox, uid, *_ = self._found(path)
        except NotFoundError:
            return
        self._box.delete(mailbox, [uid])

    def bundle(self, path: str) -> str:
        """See Place.bundle: the attachment's message."""
        mailbox, _, place = parent(path).rpartition("/")
        return f"{mailbox}/{place.partition('.')[0]}"

    def make_folder(self, path: str) -> None:
        """Create a mailbox."""
        if path not in self._box.names():
            self._box.make(path)

    def delete_folder(self, path: str) -> None:
        """See Place.delete_folder: refused."""
        raise InvalidPlanError(f"the mailbox {path!r} is not deleted", hint="delete it in a mail program")

    def put(self, path: str, source: Path) -> Entry:
        """See Place.put: refused."""
        del source
        raise InvalidPlanError(f"{self.shown(path)}: files are not put into a mailbox", hint="send them: smtp://")

    def close(self) -> None:
        """See Place.close."""
        self._box.close()


def _entry(mailbox: str, validity: int, message: Message, part: Attached) -> Attachment:
    name = part.name.replace("/", "_").replace("\\", "_").strip() or "attachment"
    place = f"{message.uid}.{part.section}"
    return Attachment(
        f"{mailbox}/{place}/{name}", mtime=int(message.received.timestamp()) * 10**9, etag=f"{validity}.{place}"
    )
