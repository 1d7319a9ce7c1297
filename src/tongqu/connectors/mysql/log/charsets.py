"""Text of the log in the server's character sets, as the server itself would turn it into UTF-8."""

from __future__ import annotations

import codecs

from tongqu.core.errors import ReadError

CODECS = {
    "latin1": "cp1252", "gbk": "gbk", "gb2312": "gb2312", "gb18030": "gb18030", "big5": "big5", "ujis": "euc_jp",
    "sjis": "shift_jis", "cp932": "cp932", "euckr": "cp949", "ucs2": "utf-16-be", "utf16": "utf-16-be",
    "utf16le": "utf-16-le", "utf32": "utf-32-be", "latin2": "iso8859_2", "latin5": "iso8859_9", "latin7": "iso8859_13",
    "greek": "iso8859_7", "hebrew": "iso8859_8", "cp1250": "cp1250", "cp1251": "cp1251", "cp1256": "cp1256",
    "cp1257": "cp1257", "cp850": "cp850", "cp852": "cp852", "cp866": "cp866", "koi8r": "koi8_r", "koi8u": "koi8_u",
    "tis620": "tis_620", "macroman": "mac_roman", "macce": "mac_latin2", "eucjpms": "euc_jp",
}  # fmt: skip
PLAIN = (None, "", "utf8", "utf8mb3", "utf8mb4", "ascii", "binary")
_UNKNOWN, _CONTROL = "tongqu-mysql-unknown", "tongqu-mysql-control"


def text(value: bytes, charset: str | None) -> str:
    """The text of these bytes. Characters that Unicode does not have (those that people made themselves, in the areas
    that GBK and Big5 leave to them) are `?`, as the server gives them. Raises ReadError for a charset that is not known
    here."""
    if charset in PLAIN:
        return value.decode(errors="replace")
    name = charset or ""
    try:
        return value.decode(CODECS.get(name, name), _CONTROL if name == "latin1" else _UNKNOWN)
    except LookupError:
        raise ReadError(f"the log holds text in {name}, which is not known here", hint="convert to utf8mb4") from None


def _unknown(error: UnicodeError) -> tuple[str, int]:
    """One `?` for a whole character, however many of its bytes the codec looked at."""
    assert isinstance(error, UnicodeDecodeError)  # noqa: S101  # registered for decoding alone
    data, at = error.object, error.start
    single = error.encoding in ("charmap", "ascii") or data[at] < 0x81
    width = 1 if single else 3 if error.encoding.startswith("euc_jp") and data[at] == 0x8F else 2
    return "?", min(at + width, len(data))


def _control(error: UnicodeError) -> tuple[str, int]:
    """latin1 of the server is cp1252 with control characters in its five gaps."""
    assert isinstance(error, UnicodeDecodeError)  # noqa: S101  # registered for decoding alone
    return chr(error.object[error.start]), error.start + 1


codecs.register_error(_UNKNOWN, _unknown)
codecs.register_error(_CONTROL, _control)
