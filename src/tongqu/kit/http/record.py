"""Writes calls and answers down without secrets, and answers from what was written instead of making calls."""

from __future__ import annotations

import hashlib
import json
import os
import uuid
from base64 import b64decode, b64encode
from collections import defaultdict
from pathlib import Path
from threading import Lock
from typing import IO, Any

from tongqu.core.errors import InvalidSettingsError, NotRecordedError
from tongqu.kit.http.call import Reply
from tongqu.kit.http.request import Request, encoded
from tongqu.kit.http.scrubbing import HIDDEN, Scrubbing
from tongqu.kit.http.settings import HttpSettings

SESSION = uuid.uuid4().hex
"""Calls of one process belong together; a replay answers a call from the process that last recorded it."""
_FORMAT = "tongqu-http/1"
_ON_THE_WAY = {"content-length", "content-encoding", "transfer-encoding", "content-md5", "digest"}


class Recorder:
    """The recording of one connection: a file with a line of JSON for each call (`request`, `response`, as in HAR).

    Calls are told apart by method, address without secrets, parameters in any order and body. The n-th call of a kind
    gets the n-th answer that was recorded for it, and the last one from then on. Thread-safe.
    """

    def __init__(self, settings: HttpSettings, path: Path, *, replays: bool):
        self.replays = replays
        self._path = path
        self._scrubbing = Scrubbing(settings)
        self._ignored = {name.lower() for name in settings.record.ignore} if settings.record else set()
        self._lock = Lock()
        self._file: IO[str] | None = None
        self._answers: dict[str, list[Reply]] | None = None
        self._asked: dict[str, int] = defaultdict(int)

    def note(self, request: Request, reply: Reply) -> None:
        """Write a call and its answer down; does nothing in a replay."""
        if self.replays:
            return
        asked = self._asked_for(request)
        content = self._scrubbing.body(reply.content, reply.headers.get("content-type", ""))
        line = {
            "format": _FORMAT,
            "session": SESSION,
            "request": asked,
            "response": {"status": reply.status, "headers": self._headers(reply), **_text(content)},
            "seconds": round(reply.seconds, 3),
        }
        with self._lock:
            if self._file is None:
                self._path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
                handle = os.open(self._path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
                self._file = os.fdopen(handle, "a", encoding="utf-8")
            self._file.write(json.dumps(line, ensure_ascii=False) + "\n")
            self._file.flush()

    def reply(self, request: Request) -> Reply:
        """The recorded answer; raises NotRecordedError naming the call if there is none."""
        asked = self._asked_for(request)
        key = _key(asked)
        with self._lock:
            if self._answers is None:
                self._answers = _read(self._path)
            answers = self._answers.get(key)
            if not answers:
                body = f" with the body {asked['text'][:200]}" if asked.get("text") else ""
                raise NotRecordedError(
                    f"{asked['method']} {asked['url']}{body} is not in the recording",
                    path=str(self._path),
                    hint="record again, or list parameters that differ each time under record.ignore",
                )
            number = self._asked[key]
            self._asked[key] += 1
        return answers[min(number, len(answers) - 1)]

    def close(self) -> None:
        """Close the file; may be called twice."""
        with self._lock:
            if self._file is not None:
                self._file.close()
                self._file = None

    def _headers(self, reply: Reply) -> dict[str, str]:
        """Headers fit to be kept, without those that describe a body as it was on the way."""
        untrue = _ON_THE_WAY if reply.content else set()
        return {k: v for k, v in self._scrubbing.headers(reply.headers).items() if k not in untrue}

    def _asked_for(self, request: Request) -> dict[str, Any]:
        pairs = [pair for pair in request.pairs() if pair[0].lower() not in self._ignored]
        query = encoded(sorted(self._scrubbing.pairs(pairs))).replace(encoded([("", HIDDEN)])[1:], HIDDEN)
        url = self._scrubbing.text(f"{request.place}?{query}" if query else request.place)
        content_type = request.header("Content-Type")
        return {"method": request.method, "url": url, **_text(self._scrubbing.body(request.body, content_type))}


def recorder_of(settings: HttpSettings, folder: Path | None) -> Recorder | None:
    """The recorder that settings ask for, if any. Raises InvalidSettingsError where there is no place for it."""
    record = settings.record
    if record is None:
        return None
    if record.file:
        path = Path(record.file)
    elif folder is not None:
        path = folder / "recordings" / f"{record.name}.jsonl"
    else:
        raise InvalidSettingsError("a recording needs a project, or `record.file`", path="record")
    return Recorder(settings, path, replays=record.mode == "replay")


def _key(asked: dict[str, Any]) -> str:
    return hashlib.sha256(json.dumps(asked, sort_keys=True).encode()).hexdigest()


def _text(content: bytes) -> dict[str, str]:
    try:
        return {"text": content.decode("utf-8")} if content else {}
    except UnicodeDecodeError:
        return {"base64": b64encode(content).decode("ascii")}


def _content(part: dict[str, Any]) -> bytes:
    return b64decode(part["base64"]) if "base64" in part else str(part.get("text", "")).encode()


def _read(path: Path) -> dict[str, list[Reply]]:
    """The answers of a recording by call, of several sessions the last; raises NotRecordedError where there is none."""
    try:
        lines = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines() if line.strip()]
        found: dict[str, dict[str, list[Reply]]] = {}
        for line in lines:
            if line["format"] != _FORMAT:
                raise ValueError(f"its format is {line['format']}, not {_FORMAT}")
            asked, response = line["request"], line["response"]
            reply = Reply(response["status"], response["headers"], _content(response), asked["url"], attempts=0)
            found.setdefault(_key(asked), {}).setdefault(line["session"], []).append(reply)
        return {key: list(sessions.values())[-1] for key, sessions in found.items()}
    except FileNotFoundError:
        raise NotRecordedError("there is no recording", path=str(path), hint="record first: mode: record") from None
    except (ValueError, KeyError, TypeError, IndexError) as error:
        raise NotRecordedError(
            f"the recording cannot be read: {type(error).__name__} {error}", path=str(path), hint="record again"
        ) from None
