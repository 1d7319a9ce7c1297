"""Moves splits on the workers of a Dask cluster; the only file that knows the cluster engine.

What travels is text: an order as JSON to the workers, and what came of it as JSON back. Workers tell of each commit by
a topic of the scheduler, and hear from an event of it that they shall stop.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from importlib import import_module
from threading import Event, Thread
from time import monotonic
from typing import Any
from uuid import uuid4

from tongqu.core.errors import ConnectError, MissingDriverError
from tongqu.engine.lending import Heard

_LOOK_SECONDS = 0.2
_STOP_SECONDS = 25.0
"""How long workers may take to commit and stop; afterwards the fence keeps them from writing more."""


@dataclass(frozen=True)
class DaskHands:
    """A Dask cluster at an address such as `tcp://host:8786`, or `tls://` with files for both sides."""

    scheduler: str
    work: str
    """`module:function` that carries out an order on a worker: given its text, an event that is set when it shall stop,
    and whom to tell of progress, it gives what came of it; raises nothing."""
    tls: Mapping[str, str] = field(default_factory=dict)
    """`ca`, `cert` and `key` as files; empty without TLS."""
    patience: float = 10.0
    name: str = "dask"

    def width(self) -> int:
        """See Hands.width. Raises ConnectError if the scheduler does not answer, or has no workers."""
        with self._client() as client:
            threads = int(sum(client.nthreads().values()))
        if not threads:
            raise ConnectError(
                f"the Dask scheduler {self.scheduler} has no workers",
                path="engine.scheduler",
                hint=f"start some where Tongqu and the project's files are: dask worker {self.scheduler}",
            )
        return threads

    def carry(self, orders: Mapping[str, str], stop: Event, heard: Heard) -> Mapping[str, Mapping[str, Any]]:
        """See Hands.carry. Work of a worker that dies is begun again on another one."""
        topic = f"tongqu-{uuid4().hex}"
        found: dict[str, Mapping[str, Any]] = {}
        with self._client() as client:
            halted = _cluster().Event(topic, client=client)
            client.subscribe_topic(topic, lambda event: heard(*json.loads(event[1])))
            futures = {
                key: client.submit(carried, self.work, key, text, topic, key=f"{topic}-{key}", pure=False, retries=2)
                for key, text in orders.items()
            }
            asked = 0.0
            while len(found) < len(futures):
                for key, future in futures.items():
                    if key not in found and future.done():
                        found[key] = self._outcome(future)
                failed = any("problem" in told for told in found.values())
                if (failed or stop.is_set()) and not asked:
                    asked = monotonic()
                    halted.set()
                if asked and monotonic() - asked > _STOP_SECONDS:
                    break
                stop.wait(_LOOK_SECONDS) if not asked else Event().wait(_LOOK_SECONDS)
            client.unsubscribe_topic(topic)
            client.cancel(list(futures.values()))
        return found

    def _outcome(self, future: Any) -> Mapping[str, Any]:
        """What a worker told; a worker that cannot, or died again and again, is a failure that may pass."""
        if future.status == "finished":
            told: Mapping[str, Any] = json.loads(future.result())
            return told
        error = future.exception() if future.status == "error" else None
        what = f"{type(error).__name__}: {error}" if error is not None else future.status
        problem = ConnectError(
            f"a split was lost on the Dask cluster {self.scheduler}: {what}",
            path="engine.scheduler",
            hint="look at the workers' logs; every worker needs the same Tongqu",
        )
        return {"problem": problem.problem()}

    @contextmanager
    def _client(self) -> Iterator[Any]:
        """Raises ConnectError, and MissingDriverError without the extra."""
        cluster, tls = _cluster(), self.tls
        security = None
        if tls:
            security = cluster.Security(
                require_encryption=True, tls_ca_file=tls["ca"], tls_client_cert=tls["cert"], tls_client_key=tls["key"]
            )
        try:
            client = cluster.Client(self.scheduler, timeout=self.patience, set_as_default=False, security=security)
        except (OSError, ValueError) as error:
            raise ConnectError(
                f"the Dask scheduler {self.scheduler} does not answer: {error}",
                path="engine.scheduler",
                hint="start it (dask scheduler), or take `engine` out of the project to run here",
            ) from None
        try:
            yield client
        finally:
            client.close()


def _cluster() -> Any:
    """The package, whose types are not told."""
    try:
        import distributed
    except ImportError:
        raise MissingDriverError(
            "engine.runner dask needs the extra `dask`", hint="pip install 'tongqu[dask]'"
        ) from None
    return distributed


def carried(work: str, key: str, text: str, topic: str) -> str:
    """Carry out one order on a worker, telling of progress and listening for the end."""
    cluster = _cluster()
    worker, shared = cluster.get_worker(), cluster.Event(topic, client=cluster.get_client())
    module, _, name = work.partition(":")
    function = getattr(import_module(module), name)
    stop, over = Event(), Event()

    def listen() -> None:
        while not over.is_set():
            try:
                if shared.wait(timeout=1.0):
                    stop.set()
                    return
            except TimeoutError:
                continue
            except Exception:  # noqa: BLE001  # of the scheduler's connection: nobody can be heard any more
                stop.set()
                return

    def tell(told: Mapping[str, Any]) -> None:
        with suppress(Exception):  # progress that nobody hears; the checkpoint holds it
            worker.log_event(topic, json.dumps([key, told]))

    thread = Thread(target=listen, name="tongqu-halt", daemon=True)
    thread.start()
    try:
        return json.dumps(function(text, stop, tell))
    finally:
        over.set()
        thread.join(timeout=5.0)
