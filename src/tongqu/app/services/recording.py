"""Recordings of HTTP traffic: where `--record` and `--replay` keep them, what is masked in them, what they hold."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from tongqu.core.errors import AnswerError, InvalidPlanError, InvalidSettingsError, NotFoundError, WriteError
from tongqu.kit import lasting

if TYPE_CHECKING:
    from tongqu.core.settings import Endpoint
    from tongqu.meaning.masks import Mask

_KINDS: dict[str, str] = {
    "phone": "phone phone_no phone_number mobile mobile_no mobile_phone telephone tel cellphone contact_phone"
    " 手机 手机号 电话",
    "email": "email e_mail mail email_address work_email org_email 邮箱",
    "id_card": "id_card id_card_no id_no identity_no id_number identity_card certificate_no"
    " ssn passport_no 身份证 身份证号",
    "bank_card": "bank_card bank_card_no bank_account bank_account_no bank_no iban 银行卡号",
    "name": "real_name full_name first_name last_name employee_name staff_name emp_name user_name contact_name"
    " contact_person inspector inspector_name operator_name customer_name 姓名 检验员 联系人",
    "constant": "address home_address birthday birth_date date_of_birth salary wage bonus base_pay net_pay gross_pay"
    " wechat weixin plate_no license_plate 住址 地址 生日 工资",
}  # fmt: skip
_MASKED = re.compile(r"\*")
_DEEPEST = 40
_PLAIN = ("name", "phone", "id_card", "bank_card", "email")
_CLASSES = ("personal", "sensitive", "secret")


@dataclass(frozen=True)
class Recordings:
    """The folder that `--record` writes to or `--replay` answers from; `masks` are those of the project's dictionary.

    Each connection over HTTP has one file in it. Other connections are used as they are.
    """

    mode: Literal["record", "replay"]
    folder: Path
    masks: Mapping[str, Mask] = field(default_factory=dict)

    def used(self, name: str, settings: Endpoint) -> Endpoint:
        """The settings of a connection with its recording; unchanged if it is none over HTTP. Masks and ignored
        parameters that the connection names itself count before ours."""
        from tongqu.kit.http.settings import HttpSettings, Recording

        if not isinstance(settings, HttpSettings):
            return settings
        own = settings.record
        masks = {**personal_masks(), **self.masks, **(own.masks if own else {})}
        path = self.folder / f"{file_name(name)}.jsonl"
        record = Recording(
            mode=self.mode, name="recording", file=str(path), masks=masks, ignore=own.ignore if own else ()
        )
        return settings.model_copy(update={"record": record, "cache": None})


def chosen(
    into: Path | None, replay: Path | None, entries: Callable[[], Mapping[str, Mapping[str, Any]]], project: Path
) -> Recordings | None:
    """What `--record` and `--replay` mean, if one is given; raises InvalidPlanError if both are. `entries` is the
    dictionary of the project, which is asked for only if the folder `project` holds one."""
    if into is not None and replay is not None:
        raise InvalidPlanError("--record and --replay exclude each other", path="--replay")
    if into is None and replay is None:
        return None
    masks = dictionary_masks(entries()) if (project / "tongqu.yaml").is_file() else {}
    if into is not None:
        return Recordings("record", into, masks)
    assert replay is not None  # noqa: S101  # one of both is
    if not replay.is_dir():
        raise NotFoundError(f"there is no folder {replay}", path="--replay", hint="record first: --record DIR")
    return Recordings("replay", replay, masks)


def file_name(name: str) -> str:
    """The name of a connection or URL as the name of a file."""
    return re.sub(r"[^A-Za-z0-9_.-]+", "_", name.partition("?")[0]).strip("_.") or "recording"


def personal_masks() -> dict[str, Mask]:
    """Masks of fields that are called as data about people usually is, in the spellings of APIs: `id_card`, `idCard`,
    `IdCard`, `idcard`, `ID_CARD`."""
    from tongqu.meaning.masks import Mask

    found: dict[str, Mask] = {}
    for kind, names in _KINDS.items():
        mask = Mask.parse({"with": "constant", "value": 0} if kind == "constant" else {"with": kind})
        for name in names.split():
            parts = name.split("_")
            camel = parts[0] + "".join(one.title() for one in parts[1:])
            pascal = "".join(one.title() for one in parts)
            for spelled in (name, camel, pascal, "".join(parts), name.upper()):
                found[spelled] = mask
    return found


def dictionary_masks(entries: Mapping[str, Mapping[str, Any]]) -> dict[str, Mask]:
    """Masks of the fields that a project's dictionary calls personal, sensitive or secret: their own where a recording
    can have it, else a constant."""
    from tongqu.meaning.masks import Mask

    found: dict[str, Mask] = {}
    for entry in entries.values():
        fields = entry.get("fields")
        for name, told in fields.items() if isinstance(fields, Mapping) else ():
            if isinstance(told, Mapping) and told.get("class") in _CLASSES:
                mask = told.get("mask")
                plain = mask if isinstance(mask, str) and mask in _PLAIN else ""
                found[str(name)] = Mask.parse({"with": plain} if plain else {"with": "constant", "value": 0})
    return found


# ---- what recordings hold


def listed(folder: Path) -> dict[str, Any]:
    """The recordings below a folder: `recordings` with `file name calls sessions statuses bytes unmasked`. Raises
    NotFoundError if there is no folder, and what `shown` raises."""
    if not folder.is_dir():
        raise NotFoundError(f"there is no folder {folder}", path=str(folder), hint="record first: sync --record DIR")
    found = []
    for path in sorted(folder.rglob("*.jsonl")):
        if _is_recording(path):
            document = shown(path)
            kept = ("file", "calls", "sessions", "statuses", "bytes", "unmasked")
            found.append({"name": path.stem, **{name: document[name] for name in kept}})
    return {"recordings": found}


def shown(path: Path) -> dict[str, Any]:
    """What a recording holds: counts, its `entries` (`method url status bytes`), and under `unmasked` the fields whose
    names speak of people and whose values are not masked. Raises NotFoundError, InvalidSettingsError."""
    lines = _lines(path)
    statuses: dict[str, int] = {}
    entries = []
    unmasked: set[str] = set()
    for line in lines:
        response = line["response"]
        status = str(response["status"])
        statuses[status] = statuses.get(status, 0) + 1
        size = len(str(response.get("text") or response.get("base64") or ""))
        asked = line["request"]
        entries.append({"method": asked["method"], "url": asked["url"], "status": response["status"], "bytes": size})
        unmasked |= _unmasked(response.get("text"))
        unmasked |= _unmasked(asked.get("text"))
    return {
        "file": str(path),
        "calls": len(lines),
        "sessions": len({line["session"] for line in lines}),
        "statuses": statuses,
        "bytes": path.stat().st_size,
        "unmasked": sorted(unmasked),
        "entries": entries,
    }


def scrubbed(path: Path, names: Iterable[str] = ()) -> dict[str, Any]:
    """Mask what a recording holds about people, in place, and say what is still not masked. In answers these are the
    usual names, every field whose name speaks of people, and `names`; in requests only the usual names, since a replay
    must know its requests again. Raises NotFoundError, InvalidSettingsError, WriteError."""
    from tongqu.kit.http.scrubbing import Scrubbing
    from tongqu.kit.http.settings import HttpSettings, Recording
    from tongqu.meaning.masks import Mask

    lines = _lines(path)
    usual = personal_masks()
    suspected = {one.rpartition(".")[2].removesuffix("[]") for one in shown(path)["unmasked"]}
    constant = Mask.parse({"with": "constant", "value": 0})
    wide = {**dict.fromkeys((*suspected, *names), constant), **usual}

    def scrubbing(masks: Mapping[str, Mask]) -> Scrubbing:
        record = Recording(mode="record", masks=dict(masks))
        return Scrubbing(HttpSettings(base_url="https://recording.invalid", record=record))

    changed = 0
    for line in lines:
        asked, response = line["request"], line["response"]
        for part, masks in ((asked, usual), (response, wide)):
            text = part.get("text")
            kind = str(part.get("headers", {}).get("content-type", ""))
            if not text:
                continue
            try:
                clean = scrubbing(masks).body(text.encode(), kind).decode()
            except AnswerError:
                continue
            changed += clean != text
            part["text"] = clean
    try:
        text = "".join(json.dumps(line, ensure_ascii=False) + "\n" for line in lines)
        lasting.put(path, text.encode(), 0o600)
    except OSError as error:
        raise WriteError(f"the recording cannot be written: {error.strerror}", path=str(path)) from error
    after = shown(path)
    return {"file": str(path), "calls": after["calls"], "changed": changed, "unmasked": after["unmasked"]}


def _lines(path: Path) -> list[dict[str, Any]]:
    try:
        lines = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines() if line.strip()]
    except OSError as error:
        raise NotFoundError(f"there is no file {path}", path=str(path)) from error
    except ValueError as error:
        raise InvalidSettingsError(f"{path} is no recording: {error}", path=str(path)) from error
    if not all(isinstance(line, dict) and {"request", "response", "session"} <= set(line) for line in lines):
        raise InvalidSettingsError(f"{path} is no recording", path=str(path))
    return lines


def _is_recording(path: Path) -> bool:
    with path.open(encoding="utf-8", errors="replace") as file:
        return '"format": "tongqu-http/' in file.read(200)


def _unmasked(text: Any) -> set[str]:
    """The names of fields in a JSON text that speak of people and hold a value that is not masked."""
    if not isinstance(text, str):
        return set()
    try:
        value = json.loads(text)
    except (ValueError, RecursionError):
        return set()
    return {path for path, one in _values(value, "", "", _DEEPEST) if one and not _MASKED.search(one)}


def _values(value: Any, path: str, name: str, left: int) -> Iterator[tuple[str, str]]:
    """The values of fields that speak of people, with their paths; 0 is what a masked amount is."""
    if not left:
        return
    if isinstance(value, dict):
        for key, inner in value.items():
            yield from _values(inner, f"{path}.{key}" if path else str(key), str(key), left - 1)
    elif isinstance(value, list):
        for element in value:
            yield from _values(element, f"{path}[]", name, left - 1)
    elif isinstance(value, str | int | float) and not isinstance(value, bool) and name and _of_people(name):
        yield path, "" if value in (0, "0") else str(value)


@cache
def _of_people(name: str) -> bool:
    from tongqu.catalog.suspicions import personal

    return personal(name, "", {}) is not None
