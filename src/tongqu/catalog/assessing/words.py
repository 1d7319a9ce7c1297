"""The words by which operations are understood: split names, singular forms, and what verbs mean in two languages."""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import lru_cache

_PART = re.compile(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+|\d+")
_HAN = re.compile(r"[\u4e00-\u9fff]")
_VERBS: tuple[tuple[str, str, str], ...] = (
    (
        "read",
        "get list query search find fetch read retrieve select export download count describe view show lookup poll",
        "查询|列表|获取|检索|读取|导出|分页|明细|详情|拉取|下载",
    ),
    (
        "create",
        "create add insert submit post new register import upload save upsert push punch report place issue start",
        "新增|新建|创建|添加|提交|上报|导入|登记|保存|录入|推送|下达|报工",
    ),
    (
        "update",
        "update modify edit change set patch save upsert approve confirm close audit assign adjust release replace",
        "更新|修改|变更|编辑|调整|审核|审批|确认|关闭|保存|处置|下达",
    ),
    ("delete", "delete remove cancel void revoke destroy unregister", "删除|移除|作废|撤销|取消"),
    ("notify", "subscribe subscription webhook callback notify notification event", "订阅|回调|通知|推送|事件"),
)


@lru_cache(maxsize=65_536)
def parts(text: str) -> tuple[str, ...]:
    """The Latin words of a text in lower case and singular: `GET /inspectionResults` is get, inspection, result."""
    return tuple(singular(word.lower()) for word in _PART.findall(text))


def singular(word: str) -> str:
    """An English noun without its plural ending; others as they are."""
    if len(word) > 4 and word.endswith("ies"):
        return word[:-3] + "y"
    if len(word) > 4 and word.endswith(("sses", "shes", "ches", "xes", "zes", "tuses", "nuses", "puses")):
        return word[:-2]
    return word[:-1] if len(word) > 3 and word.endswith("s") and not word.endswith(("ss", "us", "is")) else word


@dataclass(frozen=True)
class Text:
    """A text made ready for looking up phrases in it."""

    spaced: str
    """Its words, each between spaces."""
    glued: frozenset[str]
    """Its parts as they were written, in lower case."""
    whole: str

    @classmethod
    def of(cls, text: str) -> Text:
        """The text's words."""
        glued = frozenset(singular(part) for part in re.split(r"[^a-z0-9]+", text.lower()) if part)
        return cls(f" {' '.join(parts(text))} ", glued, text)

    @property
    def length(self) -> int:
        """How many words it has; Chinese ones count by their characters."""
        return self.spaced.count(" ") + len(_HAN.findall(self.whole))

    def has(self, phrase: str) -> bool:
        """Whether the phrase is in it: Chinese as it stands, English word after word, or written as one word."""
        if _HAN.search(phrase):
            return phrase in self.whole
        asked = parts(phrase)
        return bool(asked) and (f" {' '.join(asked)} " in self.spaced or "".join(asked) in self.glued)


def verbs(method: str, names: str, title: str) -> frozenset[str]:
    """What an operation does. GET reads, PUT and PATCH update, DELETE deletes; for anything else the first verb of its
    name decides, then those in its title. A POST without any creates."""
    by_method = {"get": "read", "head": "read", "put": "update", "patch": "update", "delete": "delete"}
    own = by_method.get(method.lower())
    found = {"notify"} if _means("notify", names, title) else set[str]()
    if own == "update" and re.search(r"\b(upsert|create or update)\b|新增或|保存", f"{names} {title}", re.IGNORECASE):
        found.add("create")
    if own:
        return frozenset({own, *found})
    said = parts(names)
    first = next((word for word in said if any(word in english.split() for _, english, _ in _VERBS)), "")
    chosen = {verb for verb, english, _ in _VERBS if first and first in english.split()}
    if not chosen:
        chosen = {verb for verb, _, chinese in _VERBS if re.search(chinese, f"{names} {title}")}
    if not chosen:
        chosen = {verb for verb, english, _ in _VERBS if set(parts(title)[:3]) & set(english.split())}
    return frozenset({*(chosen or {"create"}), *found})


def _means(verb: str, names: str, title: str) -> bool:
    _, english, chinese = next(one for one in _VERBS if one[0] == verb)
    strong = set(english.split()) - {"event", "notification"}
    return bool(set(parts(names)) & strong or re.search(chinese.replace("|事件|通知", ""), title))


def lead(text: str) -> str:
    """The beginning of a description up to the first stop: what a field is called by people."""
    line = next(iter(text.strip().splitlines()), "")
    return re.split(r"[。；;：:，,(（\[]|\.\s", line, maxsplit=1)[0].strip()[:60]


_AFTER = re.compile(
    r"\b(for|in|on|by|to|from|with|about|that|which|assigned|using|via|at|per|under|within|into|based)\b", re.IGNORECASE
)
_FOLLOWERS = frozenset(["list", "record", "detail", "info", "information", "data", "page", "entry", "by", "id"])


def heads(title: str, phrase: str) -> bool:
    """Whether a title is about the phrase and does not only mention it: in English the phrase ends what stands before
    the first preposition (`List user account issues for …` is about issues); in Chinese it stands in it."""
    if _HAN.search(phrase):
        return phrase in title
    words = list(parts(_AFTER.split(title, maxsplit=1)[0]))
    while words and words[-1] in _FOLLOWERS:
        words.pop()
    asked = list(parts(phrase))
    return bool(asked) and words[-len(asked) :] == asked
