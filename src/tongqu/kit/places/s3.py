"""Objects in a bucket of Amazon S3 or a service that speaks its protocol (MinIO, OSS, COS, OBS, Ceph)."""

from __future__ import annotations

import hashlib
import hmac
from base64 import b64encode
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from urllib.parse import quote, urlsplit

from tongqu.core.errors import AnswerError, InvalidSettingsError, NotFoundError, WriteError
from tongqu.kit.egress.dial import Egress
from tongqu.kit.http.call import Call, Repeat, Reply
from tongqu.kit.places.place import MISSING, Entry, Place
from tongqu.kit.places.settings import Address, PlaceSettings
from tongqu.kit.places.web import PLAIN, client, content, entry_of, named
from tongqu.kit.places.xml_reply import Node, parse

PART = 16 << 20
"""Larger files are sent in parts of this size, which become one object when all have arrived."""
_COPY = 5 << 30
_EMPTY = hashlib.sha256(b"").hexdigest()
_SAFE = "-_.~"


class S3Place(Place):
    """One bucket. An object appears whole or not at all, so nothing needs a temporary name; folders are what stands
    before a `/` in the keys."""

    renames_folders = False

    def __init__(self, address: Address, settings: PlaceSettings, egress: Egress):
        self._bucket = address.host
        super().__init__(f"s3://{self._bucket}")
        endpoint = urlsplit(settings.endpoint or f"https://s3.{settings.region}.amazonaws.com")
        if endpoint.scheme not in ("http", "https") or not endpoint.netloc:
            raise InvalidSettingsError("endpoint is an http or https address", path="endpoint")
        in_path = settings.path_style if settings.path_style is not None else bool(settings.endpoint)
        authority = endpoint.netloc if in_path else f"{self._bucket}.{endpoint.netloc}"
        self._authority, self._base = authority, f"{endpoint.scheme}://{authority}"
        self._root = f"/{quote(self._bucket, safe=_SAFE)}" if in_path else ""
        self._http = client(self._base, address, settings, egress, login=False)
        secret = settings.password.get_secret_value() if settings.password else ""
        token = settings.session_token.get_secret_value() if settings.session_token else ""
        self._signer = Signer(address.user, secret, settings.region, token) if address.user else None

    # ---- the port

    def stages(self) -> Iterator[str]:
        """`dns`, `tcp`, `tls` with https, `bucket`."""
        yield from self._http.stages(self._base)
        self._list([("max-keys", "1")], "")
        yield "bucket"

    def entries(self, folder: str) -> list[Entry]:
        """See Place.entries."""
        prefix = f"{folder}/" if folder else ""
        found: list[Entry] = []
        for page in self._pages([("delimiter", "/"), ("prefix", prefix)], folder):
            found += [_object(one) for one in page.all("Contents") if one.value("Key") != prefix]
            found += [Entry(one.value("Prefix").rstrip("/"), folder=True) for one in page.all("CommonPrefixes")]
        if not found and folder and not self._is_folder(folder):
            raise NotFoundError(f"no such folder: {self.shown(folder)}", path=self.shown(folder), hint=MISSING)
        return sorted(found, key=lambda one: one.path)

    def walk(self, folder: str) -> Iterator[Entry]:
        """See Place.walk: one list of all keys below."""
        for page in self._pages([("prefix", f"{folder}/" if folder else "")], folder):
            yield from (_object(one) for one in page.all("Contents") if not one.value("Key").endswith("/"))

    def look(self, path: str) -> Entry:
        """See Place.look."""
        if not path:
            return Entry("", folder=True)
        try:
            reply = self._do("HEAD", path, headers=PLAIN)
        except NotFoundError:
            if not self._is_folder(path):
                raise
            return Entry(path, folder=True)
        return entry_of(path, reply.headers)

    def read(self, path: str, offset: int = 0) -> Iterator[bytes]:
        """See Place.read."""
        call = self._call("GET", path)
        with named(self.shown(path)):
            yield from content(self._http, call, offset, self.shown(path))

    def put(self, path: str, source: Path) -> Entry:
        """See Place.put; every part carries its MD5, which the store compares."""
        size = source.stat().st_size
        with source.open("rb") as file:
            if size <= PART:
                data = file.read()
                self._do("PUT", path, body=data, headers=_checked(data))
            else:
                self._put_parts(path, iter(lambda: file.read(PART), b""))
        return self.verified(path, size)

    def _put_parts(self, path: str, parts: Iterator[bytes]) -> None:
        begun = self._do("POST", path, [("uploads", "")])
        upload = parse(begun.content, self.shown(path)).value("UploadId")
        try:
            etags = []
            for number, data in enumerate(parts, 1):
                query = [("partNumber", str(number)), ("uploadId", upload)]
                etags.append(self._do("PUT", path, query, data, headers=_checked(data)).headers.get("etag", ""))
            listed = "".join(
                f"<Part><PartNumber>{number}</PartNumber><ETag>{etag}</ETag></Part>"
                for number, etag in enumerate(etags, 1)
            )
            body = f"<CompleteMultipartUpload>{listed}</CompleteMultipartUpload>".encode()
            self._said(self._do("POST", path, [("uploadId", upload)], body), path)
        except BaseException:
            self._do("DELETE", path, [("uploadId", upload)], accepts=(404,))
            raise

    def rename(self, path: str, new: str) -> None:
        """See Place.rename: copied by the store, then removed under the old name."""
        self.copy(path, new)
        self.delete(path)

    def copy(self, path: str, new: str) -> None:
        """See Place.copy: the store copies, up to 5 GiB."""
        if self.look(path).size > _COPY:
            self._copy_through(path, new)
            return
        source = quote(f"{self._bucket}/{path}", safe=f"{_SAFE}/")
        self._said(self._do("PUT", new, headers={"x-amz-copy-source": source}), new)

    def delete(self, path: str) -> None:
        """See Place.delete."""
        self._do("DELETE", path, accepts=(404,))

    def make_folder(self, path: str) -> None:
        """Nothing: folders are part of the keys."""

    def delete_folder(self, path: str) -> None:
        """Remove the empty object that some programs make for a folder."""
        self._do("DELETE", f"{path}/", accepts=(404,))

    def close(self) -> None:
        """See Place.close."""
        self._http.close()

    # ---- calls

    def _is_folder(self, path: str) -> bool:
        page = self._list([("prefix", f"{path}/"), ("max-keys", "1")], path)
        return bool(page.all("Contents"))

    def _pages(self, query: list[tuple[str, str]], folder: str) -> Iterator[Node]:
        token = ""
        while True:
            page = self._list([*query, *([("continuation-token", token)] if token else [])], folder)
            yield page
            if page.value("IsTruncated") != "true":
                return
            before, token = token, page.value("NextContinuationToken")
            if not token or token == before:
                shown = self.shown(folder)
                raise AnswerError(
                    f"{shown}: the store says that there are more keys and not how to go on", path=shown,
                    hint="it does not speak ListObjectsV2 as S3 does: name folders with fewer than 1,000 keys",
                )  # fmt: skip

    def _list(self, query: list[tuple[str, str]], folder: str) -> Node:
        reply = self._do("GET", "", [("list-type", "2"), *query])
        return parse(reply.content, self.shown(folder))

    def _do(
        self, method: str, path: str, query: Sequence[tuple[str, str]] = (), body: bytes = b"",
        *, headers: dict[str, str] | None = None, accepts: tuple[int, ...] = (),
    ) -> Reply:  # fmt: skip
        with named(self.shown(path)):
            return self._http.send(self._call(method, path, query, body, headers=headers, accepts=accepts))

    def _call(
        self, method: str, path: str, query: Sequence[tuple[str, str]] = (), body: bytes = b"",
        *, headers: dict[str, str] | None = None, accepts: tuple[int, ...] = (),
    ) -> Call:  # fmt: skip
        target = f"{self._root}/{quote(path, safe=f'{_SAFE}/')}"
        own = dict(headers or {})
        if self._signer:
            signed = {name: value for name, value in own.items() if name.lower().startswith("x-amz-")}
            own |= self._signer.headers(method, self._authority, target, query=query, signed=signed, body=body)
        return Call(method, self._base + target, query, own, body, Repeat.SAFE, accepts=accepts)

    def _said(self, reply: Reply, path: str) -> None:
        """Copies and completed uploads may say in an answer of status 200 that they failed."""
        answer = parse(reply.content, self.shown(path))
        if answer.name == "Error":
            shown = self.shown(path)
            raise WriteError(f"{shown}: {answer.value('Code')}: {answer.value('Message')}", path=shown)


class Signer:
    """AWS Signature Version 4, as in the S3 API reference "Authenticating Requests (Authorization Header)"."""

    def __init__(
        self,
        key: str,
        secret: str,
        region: str,
        token: str = "",
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
    ):
        self._key, self._secret, self._region, self._token, self._now = key, secret, region, token, now

    def headers(
        self,
        method: str,
        host: str,
        path: str,
        *,
        query: Sequence[tuple[str, str]] = (),
        signed: Mapping[str, str] | None = None,
        body: bytes = b"",
    ) -> dict[str, str]:
        """The headers to add to a request; `path` is percent-encoded, `signed` are headers that are signed as well."""
        now = self._now()
        stamp, day = now.strftime("%Y%m%dT%H%M%SZ"), now.strftime("%Y%m%d")
        digest = hashlib.sha256(body).hexdigest() if body else _EMPTY
        added = {"x-amz-content-sha256": digest, "x-amz-date": stamp}
        if self._token:
            added["x-amz-security-token"] = self._token
        every = {name.lower(): value.strip() for name, value in {**(signed or {}), **added, "host": host}.items()}
        names = ";".join(sorted(every))
        asked = "&".join(sorted(f"{quote(name, safe=_SAFE)}={quote(value, safe=_SAFE)}" for name, value in query))
        listed = "".join(f"{name}:{every[name]}\n" for name in sorted(every))
        canonical = "\n".join((method, path, asked, listed, names, digest))
        scope = f"{day}/{self._region}/s3/aws4_request"
        text = f"AWS4-HMAC-SHA256\n{stamp}\n{scope}\n{hashlib.sha256(canonical.encode()).hexdigest()}"
        key = f"AWS4{self._secret}".encode()
        for part in (day, self._region, "s3", "aws4_request"):
            key = hmac.new(key, part.encode(), hashlib.sha256).digest()
        signature = hmac.new(key, text.encode(), hashlib.sha256).hexdigest()
        credential = f"AWS4-HMAC-SHA256 Credential={self._key}/{scope},SignedHeaders={names},Signature={signature}"
        return added | {"Authorization": credential}


def _checked(data: bytes) -> dict[str, str]:
    return {"Content-MD5": b64encode(hashlib.md5(data, usedforsecurity=False).digest()).decode()}


def _object(one: Node) -> Entry:
    size, when = one.value("Size"), one.value("LastModified")
    try:
        mtime = int(datetime.fromisoformat(when).timestamp()) * 1_000_000_000
    except ValueError:
        mtime = 0
    return Entry(one.value("Key"), int(size) if size.isdigit() else -1, mtime, one.value("ETag"))
