"""Workers for the steps of a cluster, beside each of its own: processes that are forked here when the cluster asks.

Beam's own pool listens on every interface, starts an interpreter for each worker, and finds it by the name `python`.
This one listens where it is told, and forks workers from a process that has everything loaded (`pipelines.crew`).
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import grpc
from apache_beam.portability.api import beam_fn_api_pb2, beam_fn_api_pb2_grpc
from apache_beam.utils.thread_pool_executor import shared_unbounded_instance

from pipelines.crew import crew
from pipelines.errors import SettingsError

_OPTIONS = [("grpc.http2.max_pings_without_data", 0), ("grpc.http2.max_ping_strikes", 0)]  # as Beam's own has them

_AGAIN = 3
"""How often a worker that is killed is started again."""


class _Servicer(beam_fn_api_pb2_grpc.BeamFnExternalWorkerPoolServicer):
    def __init__(self, told: Callable[[str], None]) -> None:
        self._told = told

    def StartWorker(self, request: Any, _: Any) -> Any:  # noqa: N802 - of Beam
        worker, address = request.worker_id, request.control_endpoint.url
        if " " in worker or " " in address or not address:
            return beam_fn_api_pb2.StartWorkerResponse(error="worker_id, control_endpoint?")
        self._start(worker, address, _AGAIN)
        return beam_fn_api_pb2.StartWorkerResponse()

    def _start(self, worker: str, address: str, again: int) -> None:
        """Start a worker, and again where it is killed: Beam would wait for ever for one that died before it came.

        One that died later has nothing to do any more, and ends with the connection that it comes to.
        """

        def ended(status: int) -> None:
            self._told(f"- {worker} {address}: {status}")
            if status < 0 and again:
                self._start(worker, address, again - 1)

        self._told(f"+ {worker} {address}")
        crew().start(worker, address, ended)

    def StopWorker(self, request: Any, _: Any) -> Any:  # noqa: N802 - of Beam
        """A worker ends by itself when the connection that tells it what to do is closed."""
        del request
        return beam_fn_api_pb2.StopWorkerResponse()


@contextmanager
def pool(listen: str, told: Callable[[str], None]) -> Iterator[str]:
    """A pool at host:port, port 0 for any; where it listens. `told` hears of workers that begin and end.

    Raises:
        SettingsError: nobody can listen there.
    """
    server = grpc.server(shared_unbounded_instance(), options=[*_OPTIONS, ("grpc.so_reuseport", 0)])
    beam_fn_api_pb2_grpc.add_BeamFnExternalWorkerPoolServicer_to_server(_Servicer(told), server)
    try:
        port = server.add_insecure_port(listen)
    except RuntimeError:
        message = f"--listen {listen}: 无法监听 / cannot listen there"
        raise SettingsError(message) from None
    crew()  # loaded before the first worker is asked for
    server.start()
    try:
        yield f"{listen.rpartition(':')[0]}:{port}"
    finally:
        server.stop(0)


def for_ever() -> None:
    """Until a signal ends this process."""
    while True:
        time.sleep(1)  # and not once for ever: a signal that comes just before a wait does not wake it
