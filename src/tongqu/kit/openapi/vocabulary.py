"""What parameters of APIs are called, in English and Chinese: pages, sizes, cursors, times of change."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any

PAGE, SIZE, OFFSET, CURSOR, SINCE, UNTIL = "page", "size", "offset", "cursor", "since", "until"
AFTER_RECORD = frozenset(["startingafter", "sinceid", "lastid", "afterid", "minid", "fromid", "startafter", "after"])
"""Cursors that are the last record's own key, where an answer has no other."""

_NAMES: dict[str, frozenset[str]] = {
    PAGE: frozenset(
        [
            "page",
            "pageno",
            "pagenum",
            "pagenumber",
            "pageindex",
            "currentpage",
            "current",
            "pageid",
            "curpage",
            "pn",
            "pagenr",
            "nowpage",
        ]
    ),
    SIZE: frozenset(
        [
            "size",
            "pagesize",
            "perpage",
            "limit",
            "rows",
            "count",
            "top",
            "maxresults",
            "pagelimit",
            "pagecount",
            "ps",
            "itemsperpage",
            "maxitems",
            "pagelength",
            "recordsperpage",
            "maxpagesize",
            "resultsperpage",
            "pagerows",
        ]
    ),
    OFFSET: frozenset(["offset", "start", "skip", "startindex", "startat", "from", "firstresult", "pageoffset"]),
    CURSOR: frozenset(
        [
            "cursor",
            "pagetoken",
            "nexttoken",
            "after",
            "startingafter",
            "sinceid",
            "lastid",
            "afterid",
            "startafter",
            "continuation",
            "continuationtoken",
            "marker",
            "scrollid",
            "nextcursor",
            "pagecursor",
            "startcursor",
            "nextpagetoken",
            "continue",
            "token",
        ]
    ),
}
_SINCE = re.compile(
    r"(updated|modified|changed|lastmodified|lastupdated|update|modify|gmtmodified|change|lastupdate)"
    r"(time|at|date|on)?(since|after|from|start|begin|min|gte?|ge)$"
    r"|^(since|after|from|start|begin|min)(updated|modified|changed|update|modify|lastmodified|lastupdated|gmtmodified)"
    r"|^(if)?modifiedsince$|^since$|^changedsince$"
)
_UNTIL = re.compile(
    r"(updated|modified|changed|lastmodified|lastupdated|update|modify|gmtmodified|change|lastupdate)"
    r"(time|at|date|on)?(until|before|to|end|max|lte?|le)$"
    r"|^(until|before|to|end|max)(updated|modified|changed|update|modify|lastmodified|lastupdated|gmtmodified)"
)
_SAID: tuple[tuple[str, re.Pattern[str]], ...] = (
    (SIZE, re.compile(r"每页|页大小|分页大小|条数|page size|per page|items? to return|results? (per|to return)", re.I)),
    (PAGE, re.compile(r"页码|第几页|当前页|页数|page number|number of the page|page index|which page", re.I)),
    (OFFSET, re.compile(r"偏移|起始(位置|行)|跳过|\boffset\b|to skip", re.I)),
    (CURSOR, re.compile(r"游标|翻页标[记识]|下一页.{0,6}标|pagination (token|cursor)|cursor (for|to|of)", re.I)),
    (
        SINCE,
        re.compile(
            r"(更新|修改|变更)(时间|日期).{0,6}(起|开始|始|大于|之后)|(updat|modifi|chang)ed (since|after)", re.I
        ),
    ),
    (
        UNTIL,
        re.compile(
            r"(更新|修改|变更)(时间|日期).{0,6}(止|结束|终|小于|之前)|(updat|modifi|chang)ed (before|until)", re.I
        ),
    ),
)
_CHANGED = (
    "updatedat", "updateat", "updatetime", "updatedtime", "modifiedat", "modifytime", "modifiedtime", "lastmodified",
    "lastmodifiedtime", "lastmodifieddate", "lastupdated", "lastupdatetime", "gmtmodified", "updateddate", "updatedate",
    "modifieddate", "modified", "updated", "changedat", "modifydate", "modificationtime", "updatedon", "modifiedon",
    "更新时间", "修改时间",
)  # fmt: skip


def plain(name: str) -> str:
    """A name without what spellings differ in: `$page_size`, `page-size`, `pageSize` and `page[size]` are one."""
    return re.sub(r"[^a-z0-9\u4e00-\u9fff]", "", name.lower())


def role(parameter: Mapping[str, Any]) -> str:
    """What a parameter is for, by its name, else by its description; empty if it is none of these."""
    name = plain(str(parameter.get("name") or ""))
    if _SINCE.search(name):
        return SINCE
    if _UNTIL.search(name):
        return UNTIL
    for what, names in _NAMES.items():
        if name in names:
            return what
    said = str(parameter.get("description") or "")[:200]
    return next((what for what, pattern in _SAID if pattern.search(said)), "")


def changed_field(names: Iterable[str]) -> str:
    """The field that holds when a record was changed; empty if none is called so."""
    by_name = {plain(name): name for name in names}
    return next((by_name[one] for one in _CHANGED if one in by_name), "")


def key_field(names: Iterable[str], dataset: str) -> str:
    """The field that tells records apart: `id`, or one called after the dataset (`order_id`, `orderNo`)."""
    by_name = {plain(name): name for name in names}
    single = plain(dataset).removesuffix("list")
    forms = [single, single.removesuffix("s"), single.removesuffix("es"), re.sub(r"ies$", "y", single)]
    wanted = ["id", *(f"{form}{end}" for form in forms for end in ("id", "no", "code", "number")), "uuid", "guid"]
    return next((by_name[one] for one in wanted if one in by_name), "")
