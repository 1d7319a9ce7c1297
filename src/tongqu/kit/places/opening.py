"""Opens the place that an address means."""

from __future__ import annotations

import importlib

from tongqu.kit.egress.dial import Egress
from tongqu.kit.places.place import Place
from tongqu.kit.places.settings import Address, PlaceSettings

_KINDS = {
    "sftp": ("sftp", "SftpPlace"), "ftp": ("ftp", "FtpPlace"), "ftps": ("ftp", "FtpPlace"), "s3": ("s3", "S3Place"),
    "webdav": ("webdav", "WebdavPlace"), "davs": ("webdav", "WebdavPlace"), "smb": ("smb", "SmbPlace"),
    "http": ("http", "HttpPlace"), "https": ("http", "HttpPlace"), "imap": ("imap", "ImapPlace"),
    "imaps": ("imap", "ImapPlace"),
}  # fmt: skip


def open_place(address: Address, settings: PlaceSettings, egress: Egress) -> Place:
    """The place of that scheme; connects nowhere yet. Raises MissingDriverError naming the extra."""
    module, name = _KINDS[address.scheme]
    made: Place = getattr(importlib.import_module(f"tongqu.kit.places.{module}"), name)(address, settings, egress)
    return made
