"""Cases of an operation, made from its description in a document."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from copy import deepcopy
from typing import Any

from tongqu.catalog.cases.entries import READING, CaseEntry, CaseFile, digest, sealed
from tongqu.catalog.cases.exchanges import answer_for, body_of, good_status, guarded, schema_of, takes_other
from tongqu.catalog.cases.values import Maker, NoValueError, Variant, normal, variants
from tongqu.kit.openapi import vocabulary as words
from tongqu.kit.openapi.document import Document, Operation
from tongqu.kit.openapi.lists import records_of
from tongqu.kit.openapi.schemas import flat

_FIELDS = 30
"""Of a body so many fields have cases of their own."""
_REFUSED = {"status": ["4xx"]}
_HOLE = re.compile(r"\{([^}]+)\}")
_NOWHERE = {"integer": 2_000_000_011, "number": 2_000_000_011}
NETWORK: tuple[tuple[str, str, str, dict[str, Any]], ...] = (
    ("latency", "应答变慢", "answers come late", {"status": ["2xx"], "error": ["connector.connect"]}),
    ("reset", "连接被重置", "the connection is reset", {"status": ["2xx"], "error": ["connector.connect"]}),
    ("cut", "网络中断", "the network is cut", {"error": ["connector.connect"]}),
    ("half_open", "网络无响应", "nothing passes and nobody is told", {"error": ["connector.connect"]}),
)
"""What may happen to the network: name, titles, and what is then right."""


def cases_of(document: Document, operation: Operation, connection: str, *, seed: int = 1) -> CaseFile:
    """The cases of one operation: a normal one, those at the bounds, and those that must be refused or survived.

    Values depend on `seed` and the names in the document only. What the document gives no value for is named in
    `needs`: path parameters without example, and whatever a pattern makes impossible. An operation whose body is not
    JSON has no cases.
    """
    made = _Made(document, operation, seed)
    cases = [] if takes_other(document, operation) else [sealed(one) for one in made.cases()]
    described = {"operation": operation.raw, "parameters": operation.parameters, "schemas": made.described()}
    return CaseFile(
        connection=connection,
        operation=operation.label,
        document=digest(described),
        seed=seed,
        needs=tuple(dict.fromkeys(made.needs)),
        cases=tuple(cases),
    )


class _Made:
    """The cases of one operation while they are made."""

    def __init__(self, document: Document, operation: Operation, seed: int):
        self.document = document
        self.operation = operation
        self.maker = Maker(document, f"{seed}/{operation.label}")
        self.needs: list[str] = []
        self.body = body_of(document, operation)
        self.good: dict[str, Any] = {"status": ["2xx"]}
        described, schema = answer_for(document, operation, good_status(document, operation))
        if described and schema is not None:
            self.good["conforms"] = True
        self.lists = schema is not None and records_of(document, flat(document, schema)) is not None
        self.request = self._normal()

    def described(self) -> list[Any]:
        """The schemas that cases depend on, flat."""
        nodes = [self.body.schema] if self.body else []
        nodes += [answer_for(self.document, self.operation, good_status(self.document, self.operation))[1]]
        return [
            [dict(one.raw), sorted(one.required), {n: flat(self.document, p).raw for n, p in one.properties.items()}]
            for one in (flat(self.document, node) for node in nodes if node is not None)
        ]  # fmt: skip

    def cases(self) -> Iterator[CaseEntry]:
        """All of them, the normal one first."""
        yield self.case("normal", "normal", ("正常调用", "a call as it should be"), {}, self.good)
        if self.lists:
            yield from self._empty()
        yield from self._parameters()
        if self.body is not None:
            yield from self._body()
        yield from self._strangers()
        yield from self._network()
        yield from self._often()

    def case(
        self, id: str, kind: str, title: tuple[str, str], changes: Mapping[str, Any], expect: Mapping[str, Any]
    ) -> CaseEntry:
        values: dict[str, Any] = {
            "id": re.sub(r"[\s/]+", "_", id),
            "title": {"zh": title[0], "en": title[1]},
            "kind": kind,
            "request": {**deepcopy(self.request), **changes},
            "expect": dict(expect),
        }
        return CaseEntry.parse(values, f"{self.operation.label} {id}")

    def variant(self, word: str, name: str, one: Variant, changes: Mapping[str, Any]) -> CaseEntry:
        """The case of a value at or beyond a bound."""
        kind, expect = ("boundary", self.good) if one.fits else ("abnormal", _REFUSED)
        return self.case(f"{name}.{one.name}", kind, (f"{word} {name}：{one.zh}", f"{name}: {one.en}"), changes, expect)

    def missing(self, word: str, name: str, changes: Mapping[str, Any]) -> CaseEntry:
        """The case of something required that is not there."""
        title = (f"缺少必填{word} {name}", f"{name} is missing")
        return self.case(f"{name}.missing", "abnormal", title, changes, _REFUSED)

    def _normal(self) -> dict[str, Any]:
        """The request of the normal case; what it lacks goes to `needs`."""
        request: dict[str, Any] = {"method": self.operation.method.upper(), "path": self.operation.path}
        given: dict[str, dict[str, Any]] = {"path": {}, "query": {}, "header": {}}
        for one in self.operation.parameters:
            where, name = str(one.get("in")), str(one.get("name") or "")
            if where not in given or not (one.get("required") is True or where == "path"):
                continue
            if where == "path" and "example" not in (told := schema_of(one)) and not ({"default", "enum"} & set(told)):
                self.needs.append(name)
                continue
            try:
                given[where][name] = normal(self.maker, schema_of(one), name=name)
            except NoValueError:
                self.needs.append(name)
        known = {str(one.get("name")) for one in self.operation.parameters if one.get("in") == "path"}
        self.needs += [hole for hole in _HOLE.findall(self.operation.path) if hole not in known]
        for key, where in (("values", "path"), ("query", "query"), ("headers", "header")):
            if given[where]:
                request[key] = {k: str(v) if where == "header" else v for k, v in given[where].items()}
        if self.body is not None:
            try:
                request["body"] = normal(self.maker, self.body.schema)
            except NoValueError as error:
                self.needs.append(f"body {error}".strip())
        return request

    def _empty(self) -> Iterator[CaseEntry]:
        """Nothing: the list beyond its end must be an empty list and no error."""
        page = next((p for p in self.operation.parameters if p.get("in") == "query" and words.role(p) in
                     (words.PAGE, words.OFFSET)), None)  # fmt: skip
        if page is None:
            return
        name, most = str(page["name"]), flat(self.document, schema_of(page)).raw.get("maximum")
        if isinstance(most, int | float) and most < 1_000_000:
            return
        query = {**self.request.get("query", {}), name: 1_000_000}
        yield self.case(
            "beyond_the_end", "boundary", ("超出最后一页", "beyond the last page"), {"query": query},
            {**self.good, "most_rows": 0},
        )  # fmt: skip

    def _parameters(self) -> Iterator[CaseEntry]:
        for one in self.operation.parameters:
            where, name = str(one.get("in")), str(one.get("name") or "")
            if where == "path":
                yield from self._unknown(name, schema_of(one))
                continue
            if where != "query":
                continue
            query = self.request.get("query", {})
            if one.get("required") is True and name in query:
                less = {k: v for k, v in query.items() if k != name}
                yield self.missing("参数", name, {"query": less})
            for variant in variants(self.document, schema_of(one), texts=True):
                yield self.variant("参数", name, variant, {"query": {**query, name: variant.value}})

    def _unknown(self, name: str, schema: Mapping[str, Any]) -> Iterator[CaseEntry]:
        told = flat(self.document, schema)
        nowhere: Any = _NOWHERE.get(told.type, "no-such-thing-0")
        if told.format == "uuid":
            nowhere = "00000000-0000-4000-8000-000000000000"
        values = {**self.request.get("values", {}), name: nowhere}
        yield self.case(
            f"{name}.unknown", "abnormal", (f"不存在的 {name}", f"an unknown {name}"), {"values": values},
            {"status": ["400", "404", "410", "422"]},
        )  # fmt: skip

    def _body(self) -> Iterator[CaseEntry]:
        assert self.body is not None  # noqa: S101  # asked by `cases`
        if self.body.required:
            without = {key: value for key, value in self.request.items() if key != "body"}
            case = self.case("no_body", "abnormal", ("缺少正文", "no body"), {}, _REFUSED)
            yield case.model_copy(update={"request": type(case.request).parse(without)})
        body = self.request.get("body")
        if not isinstance(body, dict):
            return
        schema = flat(self.document, self.body.schema)
        for name, node in list(schema.properties.items())[:_FIELDS]:
            if self.maker.hides(node):
                continue
            if name in schema.required and name in body:
                less = {k: v for k, v in body.items() if k != name}
                yield self.missing("字段", name, {"body": less})
            for variant in variants(self.document, node):
                yield self.variant("字段", name, variant, {"body": {**body, name: variant.value}})
        optional = [name for name in body if name not in schema.required]
        if optional:
            least = {name: value for name, value in body.items() if name in schema.required}
            yield self.case(
                "required_only", "boundary", ("仅必填字段", "required fields only"), {"body": least}, self.good
            )

    def _strangers(self) -> Iterator[CaseEntry]:
        """Whoever has no right must be refused."""
        if not guarded(self.document, self.operation):
            return
        expect = {"status": ["401", "403"], "error": ["connector.auth", "connector.privilege"]}
        yield self.case(
            "credentials.none", "abnormal", ("没有凭据", "without credentials"), {"credentials": "none"}, expect
        )
        yield self.case(
            "credentials.wrong", "abnormal", ("凭据无效", "with credentials that are not valid"),
            {"credentials": "wrong"}, expect,
        )  # fmt: skip

    def _network(self) -> Iterator[CaseEntry]:
        """An unstable network gives the answer or a typed error, in bounded time."""
        if self.operation.method.upper() not in READING:
            return
        for name, zh, en, expect in NETWORK:
            yield self.case(f"network.{name}", "abnormal", (zh, en), {"network": name}, {**expect, "seconds": 20.0})

    def _often(self) -> Iterator[CaseEntry]:
        """Many calls at once are served or refused as too many; a call that is delivered twice acts once."""
        if self.operation.method.upper() in READING:
            right = {"status": ["2xx", "429"], "error": ["connector.rate_limited"]}
            title = ("连续 30 次调用", "30 calls one after the other")
            case = self.case("burst", "abnormal", title, {"times": 30}, right)
        elif self.operation.method == "post":
            title = ("重复投递（同一幂等键）", "delivered twice with one idempotency key")
            twice = {"times": 2, "same_key": True}
            case = self.case("delivered_twice", "abnormal", title, twice, {**self.good, "same": True})
        else:
            return
        yield case.model_copy(update={"sandbox": True})
