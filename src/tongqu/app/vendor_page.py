"""Writes the pages of the profiles: what a connection is asked for, which datasets it has, and what is left out."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from tongqu.kit.profiles.profile import Profile, names, profile

_INTRO = """# Profiles 系统模板

Ready-made descriptions of vendors' APIs for a connection (`type: rest, profile: NAME`); see [profiles](../profiles.md).
None was tried against the vendor's own servers: each was made of public documents and tested against a mock that is
made of the same file. A *starter* follows no vendor and is there to be adapted.

"""


def pages() -> dict[str, str]:
    """The index `profiles.md` and `profiles/NAME.md` for each profile."""
    found = [profile(name) for name in names()]
    index = [_INTRO, "| profile | 名称 | connector | label | datasets |\n|---|---|---|---|---|\n"]
    for one in found:
        datasets = ", ".join(one.datasets)
        link = f"[{one.name}](profiles/{one.name}.md)"
        index.append(f"| {link} | {_both(one.title)} | {one.connector} | {one.label} | {datasets} |\n")
    return {"profiles.md": "".join(index), **{f"profiles/{one.name}.md": "".join(_page(one)) for one in found}}


def _page(one: Profile) -> Iterator[str]:
    yield f"# {one.name}\n\n{_both(one.title)} · *{one.label}*\n\n```yaml\nconnections:\n  {one.name}:\n"
    yield f"    type: {one.connector}\n    profile: {one.name}\n"
    if one.address:
        yield f"    base_url: …   # {one.text(one.address, 'en')}\n"
    for name, asked in one.settings.items():
        if asked.default is None:
            secret = f'"${{secret:{one.name}}}"'
            yield f"    {name}: {secret if asked.secret else asked.example}\n"
    yield "```\n\n| setting | 名称 | kind | default | meaning |\n|---|---|---|---|---|\n"
    for name, asked in one.settings.items():
        kind = "secret" if asked.secret else asked.kind
        default = "required" if asked.default is None else f"`{asked.default}`"
        yield f"| `{name}` | {_both(asked.title)} | {kind} | {default} | {_both(asked.help)} |\n"
    for name, dataset in one.datasets.items():
        how = dataset.reading
        yield f"\n## {name}\n\n{_both(dataset.title)} · `{how.get('method', 'GET')} {how['path']}`\n\n"
        yield "| field | type | 名称 | title | class | unit |\n|---|---|---|---|---|---|\n"
        for key, told in dataset.fields.items():
            titles = f"{_cell(told.title.get('zh', ''))} | {_cell(told.title.get('en', ''))}"
            yield f"| `{key}` | {told.type} | {titles} | {told.class_ or '–'} | {told.unit or '–'} |\n"
    yield "\n## Left out 未包含\n\n"
    yield from (f"* {_both(text)}\n" for text in one.missing)
    if one.follows:
        yield "\n## Follows 依据\n\n"
        yield from (f"* <{told.url}> ({told.seen}) {told.about}\n" for told in one.follows)


def _both(texts: Mapping[Any, str]) -> str:
    return _cell(" · ".join(dict.fromkeys(texts[name] for name in ("zh", "en") if texts.get(name))))


def _cell(text: str) -> str:
    return " ".join(text.split()).replace("|", "\\|")
