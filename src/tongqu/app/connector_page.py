"""Writes the pages of the connectors, one each, and the table of systems that the READMEs carry."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from tongqu.core import registry
from tongqu.core.connector import Can, Connector

BEGIN, END = "<!-- systems: made by `make docs` -->", "<!-- /systems -->"
"""What the table stands between in a README."""
_LABELS = {"real": "真实系统", "compatible": "协议兼容的服务", "mock": "模拟", "compile-only": "仅编译"}
_INTRO = """# Connectors 连接器

How far each system was tried: *real* (the system itself), *compatible* (another server that speaks its protocol),
*mock*, *compile-only* (no server could be had; SQL and driver calls are written for it).

"""
_HEAD = "| setting | 名称 | type | default | meaning |\n|---|---|---|---|---|\n"


def pages() -> dict[str, str]:
    """The index `connectors.md` and `connectors/NAME.md` for each connector."""
    found = [registry.connector(name) for name in registry.names()]
    index = [_INTRO, "| connector | label | extra | URL | capabilities |\n|---|---|---|---|---|\n"]
    for one in found:
        able = ", ".join(str(flag.name).lower() for flag in Can if flag in one.can)
        name = f"[{one.name}](connectors/{one.name}.md)"
        index.append(f"| {name} | {one.label} | {one.extra or '–'} | {_schemes(one)} | {able} |\n")
    return {"connectors.md": "".join(index), **{f"connectors/{one.name}.md": _page(one) for one in found}}


def shown(name: str) -> dict[str, Any]:
    """A connector for `tongqu connectors NAME`: the JSON Schema of its `settings`, and its `page` of the reference.
    Raises UnknownNameError."""
    found = registry.connector(name)
    return {"name": name, "label": found.label, "settings": found.settings.model_json_schema(), "page": _page(found)}


def systems(language: str) -> str:
    """The table of systems in `en` or `zh`: what is read and written, by which URL, and how far it was tried."""
    chinese = language == "zh"
    head = "| 连接器 | URL | 读 / 写 | 试过的系统 |" if chinese else "| connector | URL | read / write | tried |"
    lines = [head, "|---|---|---|---|"]
    for name in registry.names():
        one = registry.connector(name)
        ways = "/".join(("读", "写")[at] if chinese else ("r", "w")[at] for at in _ways(one))
        tried = ", ".join(one.systems) or one.label
        for label, words in _LABELS.items() if chinese else ():
            tried = tried.replace(f"({label}", f"({words}")
        title = one.title.get("zh" if chinese else "en", name)
        link = f"[{title}](docs/reference/connectors/{name}.md)"
        lines.append(f"| {link} | {_schemes(one)} | {ways} | {_cell(tried)} |")
    return "\n".join(lines)


def with_systems(readme: str, language: str) -> str:
    """A README with the table in its place; raises ValueError where the place is not marked."""
    before, begin, rest = readme.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not begin or not end:
        raise ValueError(f"the README lacks {BEGIN} … {END}")
    return f"{before}{BEGIN}\n{systems(language)}\n{END}{after}"


def _ways(connector: Connector) -> list[int]:
    return [at for at, way in enumerate((connector.source, connector.sink)) if way is not None]


def _schemes(connector: Connector) -> str:
    return " ".join(f"`{scheme}:`" for scheme in connector.schemes)


def _page(connector: Connector) -> str:
    lines = [f"# {connector.name}\n\n{connector.title['en']} · {connector.title['zh']}\n\n"]
    lines.append(f"Tried: {connector.label}. URL: {_schemes(connector)}")
    lines.append(f". Needs `pip install 'tongqu[{connector.extra}]'`.\n\n" if connector.extra else ".\n\n")
    lines += [f"* {system}\n" for system in connector.systems]
    if connector.guarantee:
        lines.append(f"\n{connector.guarantee['en']}.\n\n{connector.guarantee['zh']}。\n")
    schema = connector.settings.model_json_schema()
    lines.append(f"\n{_HEAD}")
    lines += _rows(schema)
    for name, below in _below(schema):
        said = _cell(below.get("description", "").split("\n\n", maxsplit=1)[0])
        lines.append(f"\n## {name}\n\n{said}\n\n{_HEAD}")
        lines += _rows(below)
    return "".join(lines)


def _below(schema: Mapping[str, Any]) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """The settings inside settings, by name."""
    for name, one in sorted(schema.get("$defs", {}).items()):
        if one.get("properties"):
            yield name, one


def _rows(schema: Mapping[str, Any]) -> Iterator[str]:
    required = set(schema.get("required", ()))
    for name, entry in schema.get("properties", {}).items():
        title = entry.get("x-i18n", {}).get("zh", "")
        default = "required" if name in required else _shown(entry.get("default"))
        yield f"| `{name}` | {title} | {kind(entry)} | {default} | {_cell(entry.get('description', ''))} |\n"


def kind(entry: Mapping[str, Any]) -> str:
    """The type of a setting, in words."""
    if "$ref" in entry:
        name = str(entry["$ref"]).rpartition("/")[2]
        return f"[{name}](#{name.lower()})"
    if "enum" in entry:
        return " · ".join(f"`{value}`" for value in entry["enum"])
    if "const" in entry:
        return f"`{entry['const']}`"
    if "anyOf" in entry:
        return " or ".join(dict.fromkeys(kind(option) for option in entry["anyOf"] if option.get("type") != "null"))
    inner = entry.get("items") or entry.get("additionalProperties")
    words = str(entry.get("type", "any"))
    if isinstance(inner, Mapping) and ("$ref" in inner or "enum" in inner):
        return f"{'list' if words == 'array' else 'by name'}: {kind(inner)}"
    return "secret" if entry.get("format") == "password" else words


def _shown(value: Any) -> str:
    if isinstance(value, dict) and len(str(value)) > 40:
        return "–"
    return "–" if value in (None, "", [], {}) else f"`{value}`"


def _cell(text: str) -> str:
    return " ".join(text.split()).replace("|", "\\|")
