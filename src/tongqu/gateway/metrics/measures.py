"""What is measured of calls, with a fixed number of labels, and the text that Prometheus reads."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from tongqu.gateway.exchange import Reply, Request
from tongqu.gateway.metrics.board import GAUGE, Board
from tongqu.gateway.problems import KINDS
from tongqu.gateway.refused import AT_THE_DOOR, at_the_door
from tongqu.gateway.stages import Call, Told

APIS = 50
"""So many APIs have series of their own, those that were called first; all others share `other`."""
BOUNDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 10.0)
"""Upper bounds of the latency histogram, in seconds."""
_CACHE = frozenset({"hit", "miss", "stale", "bypass"})
_QUIET = ("/healthz", "/readyz", "/metrics")

HELP: Mapping[str, tuple[str, str]] = {
    "tongqu_calls_total": ("counter", "Calls that were accepted, by API and class of status"),
    "tongqu_call_seconds": ("histogram", "How long accepted calls took, by API"),
    "tongqu_rows_total": ("counter", "Rows that were given, by API"),
    "tongqu_answer_bytes_total": ("counter", "Bytes of rows that were given, by API"),
    "tongqu_errors_total": ("counter", "Accepted calls that failed, by code"),
    "tongqu_refused_total": ("counter", "Calls that were refused at the door, by code"),
    "tongqu_shed_total": ("counter", "Calls that were shed because there was too much to do"),
    "tongqu_cache_total": ("counter", "Calls by what the cache did"),
    "tongqu_processes": ("gauge", "Processes that answer calls"),
}


class _Series:
    """The slots of one API."""

    __slots__ = ("bytes", "classes", "first", "rows", "sum")

    def __init__(self, board: Board, api: str, version: str):
        of = f'api="{escaped(api)}",version="{escaped(version)}"'
        self.classes = [board.slot(f'tongqu_calls_total{{{of},status="{n}xx"}}') for n in range(1, 6)]
        bounds = [*(f"{bound:g}" for bound in BOUNDS), "+Inf"]
        self.first = [board.slot(f'tongqu_call_seconds_bucket{{{of},le="{bound}"}}') for bound in bounds]
        self.sum = board.slot(f"tongqu_call_seconds_sum{{{of}}}")
        self.rows = board.slot(f"tongqu_rows_total{{{of}}}")
        self.bytes = board.slot(f"tongqu_answer_bytes_total{{{of}}}")


class Metrics:
    """Counts calls of one process; a `Watch`. All methods belong to the event loop's thread, but for `refresh`, which
    one other thread may call."""

    def __init__(self, board: Board, apis: int = APIS):
        self._board = board
        self._most = apis
        self._series: dict[tuple[str, str], _Series] = {}
        self._other = _Series(board, "other", "")
        self._codes = {
            code: board.slot(f'tongqu_refused_total{{code="{code}"}}')
            for code in sorted({*AT_THE_DOOR, *KINDS, "other"})
        }
        self._errors = {
            code: board.slot(f'tongqu_errors_total{{code="{code}"}}') for code in (*KINDS, "other")
            if code not in AT_THE_DOOR
        }  # fmt: skip
        self._cache = {name: board.slot(f'tongqu_cache_total{{result="{name}"}}') for name in sorted(_CACHE)}
        self._shed = board.slot("tongqu_shed_total")
        self._gauges: dict[int, Callable[[], float]] = {}
        self._help: dict[str, tuple[str, str]] = dict(HELP)
        board.numbers[board.slot(f"{GAUGE}tongqu_processes")] = 1.0

    def saw(self, request: Request, reply: Reply, seconds: float) -> None:
        """See stages.Watch."""
        if request.path.startswith(_QUIET):
            return
        notes, numbers = request.notes, self._board.numbers
        reason = notes.reason
        if reason:
            if at_the_door(reason, notes.api):
                numbers[self._codes.get(reason, self._codes["other"])] += 1.0
                if reason == "overloaded":
                    numbers[self._shed] += 1.0
                return
            numbers[self._errors.get(reason, self._errors["other"])] += 1.0
        key = (notes.api, notes.version)
        series = self._series.get(key) or self._of(key)
        numbers[series.classes[min(max(reply.status // 100, 1), 5) - 1]] += 1.0
        numbers[series.first[bisect_left(BOUNDS, seconds)]] += 1.0
        numbers[series.sum] += seconds
        if notes.rows:
            numbers[series.rows] += notes.rows
            numbers[series.bytes] += notes.bytes
        if notes.cache in self._cache:
            numbers[self._cache[notes.cache]] += 1.0

    def repeated(self, request: Request, reply: Reply) -> Told:
        """See stages.Repeating."""
        notes, numbers = request.notes, self._board.numbers
        key = (notes.api, notes.version)
        series = self._series.get(key) or self._of(key)
        status = series.classes[min(max(reply.status // 100, 1), 5) - 1]
        cache = self._cache.get(notes.cache)

        def told(calls: Sequence[Call]) -> None:
            count = len(calls)
            numbers[status] += count
            for seconds, _, _ in calls:
                numbers[series.first[bisect_left(BOUNDS, seconds)]] += 1.0
                numbers[series.sum] += seconds
            numbers[series.rows] += notes.rows * count
            numbers[series.bytes] += notes.bytes * count if notes.rows else 0
            if cache is not None:
                numbers[cache] += count

        return told

    def counter(self, name: str, help: str, **labels: str) -> Callable[[float], None]:
        """A counter of another part (`tongqu_…_total`): call it with what to add. Its labels must be few and fixed."""
        self._help[name] = ("counter", help)
        slot, numbers = self._board.slot(name + _labelled(labels)), self._board.numbers

        def add(more: float = 1.0) -> None:
            numbers[slot] += more

        return add

    def gauge(self, name: str, help: str, read: Callable[[], float], **labels: str) -> None:
        """A number of another part that is read when `refresh` is called: connections in use, what waits."""
        self._help[name] = ("gauge", help)
        self._gauges[self._board.slot(GAUGE + name + _labelled(labels))] = read

    def refresh(self) -> None:
        """Read the gauges of this process; call it each second, so that whoever is scraped knows those of all."""
        for slot, read in tuple(self._gauges.items()):
            self._board.numbers[slot] = float(read())

    def text(self) -> str:
        """All processes' numbers in Prometheus' text format 0.0.4."""
        self.refresh()
        return rendered(self._board.sums(), self._help)

    def _of(self, key: tuple[str, str]) -> _Series:
        made = self._other if len(self._series) >= self._most or not key[0] else _Series(self._board, *key)
        if made is not self._other:
            self._series[key] = made
        return made


class MetricsHandler:
    """Answers `/metrics`. Who may ask is the gate's matter."""

    def __init__(self, metrics: Metrics):
        self._metrics = metrics

    async def handle(self, request: Request) -> Reply:
        """See exchange.Handler."""
        body = b"" if request.method == "HEAD" else self._metrics.text().encode()
        return Reply(200, [("content-type", "text/plain; version=0.0.4; charset=utf-8")], body)


def rendered(sums: Mapping[str, float], help: Mapping[str, tuple[str, str]] = HELP) -> str:
    """Numbers by name and labels as text; buckets, which are counted apart, are summed up to each bound."""
    families: dict[str, list[tuple[str, float]]] = {}
    for name, number in sums.items():
        plain = name.removeprefix(GAUGE)
        families.setdefault(_family(plain.partition("{")[0]), []).append((plain, number))
    out: list[str] = []
    for family in sorted(families):
        kind, about = help.get(family, ("untyped", family))
        out += [f"# HELP {family} {about}", f"# TYPE {family} {kind}"]
        samples = _cumulated(family, families[family]) if kind == "histogram" else sorted(families[family])
        out += [f"{name} {_number(number)}" for name, number in samples]
    return "\n".join([*out, ""])


def escaped(value: str) -> str:
    """A label's value as the text format writes it."""
    return value.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")


def _family(name: str) -> str:
    for suffix in ("_bucket", "_sum", "_count"):
        if name.endswith(f"seconds{suffix}"):
            return name.removesuffix(suffix)
    return name


def _cumulated(family: str, samples: Iterable[tuple[str, float]]) -> list[tuple[str, float]]:
    buckets: dict[str, dict[str, float]] = {}
    sums: dict[str, float] = {}
    for name, number in samples:
        labels = name.partition("{")[2][:-1]
        if name.startswith(f"{family}_bucket"):
            of, _, bound = labels.rpartition(',le="')
            buckets.setdefault(of, {})[bound[:-1]] = number
        else:
            sums[labels] = number
    out: list[tuple[str, float]] = []
    for of in sorted(buckets):
        total = 0.0
        for bound in sorted(buckets[of], key=float):
            total += buckets[of][bound]
            out.append((f'{family}_bucket{{{of},le="{bound}"}}', total))
        out += [(f"{family}_sum{{{of}}}", sums.get(of, 0.0)), (f"{family}_count{{{of}}}", total)]
    return out


def _labelled(labels: Mapping[str, Any]) -> str:
    told = ",".join(f'{name}="{escaped(str(value))}"' for name, value in sorted(labels.items()))
    return f"{{{told}}}" if told else ""


def _number(number: float) -> str:
    return str(int(number)) if number == int(number) else repr(number)
