"""Which character set a collation of SQL Server narrows char and varchar columns to."""

from __future__ import annotations

_PAGES = (
    ("CHINESE_PRC", "cp936"), ("CHINESE_SIMPLIFIED", "cp936"),
    ("CHINESE_TAIWAN", "cp950"), ("CHINESE_TRADITIONAL", "cp950"), ("CHINESE_HONG_KONG", "cp950"),
    ("JAPANESE", "cp932"), ("KOREAN", "cp949"), ("CYRILLIC", "cp1251"), ("GREEK", "cp1253"), ("TURKISH", "cp1254"),
    ("HEBREW", "cp1255"), ("ARABIC", "cp1256"), ("VIETNAMESE", "cp1258"), ("THAI", "cp874"), ("POLISH", "cp1250"),
    ("CZECH", "cp1250"), ("HUNGARIAN", "cp1250"), ("LATIN1", "cp1252"), ("GERMAN", "cp1252"), ("FRENCH", "cp1252"),
)  # fmt: skip


def code_page(native: str) -> str:
    """Python's name of the code page of a column's type as our catalogue writes it (`varchar(20) COLLATE …`); ASCII,
    which all of them have, if the collation is not known."""
    collation = native.upper().partition(" COLLATE ")[2]
    if collation.endswith("_UTF8"):
        return ""
    return next((page for part, page in _PAGES if part in collation), "ascii")
