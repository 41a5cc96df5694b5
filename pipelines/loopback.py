"""Workers of a portable runner in this process, for a job service on this machine.

Beam's own way to do this listens on every interface, and who reaches a worker can have it run anything.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import grpc
from apache_beam.portability.api import beam_fn_api_pb2_grpc
from apache_beam.runners.worker import sdk_worker
from apache_beam.runners.worker.worker_pool_main import BeamFnExternalWorkerPoolServicer
from apache_beam.utils.thread_pool_executor import shared_unbounded_instance

_HOST = "127.0.0.1"
_OPTIONS = [("grpc.http2.max_pings_without_data", 0), ("grpc.http2.max_ping_strikes", 0)]  # as Beam's own has them


def _unprinted(*_: object, **__: object) -> None:
    """In place of `print`."""


sdk_worker.print = _unprinted  # type: ignore[attr-defined] # the traceback of every error, which is raised in the end as well


@contextmanager
def workers() -> Iterator[str]:
    """A pool that starts workers as threads of this process; where it listens, as host:port."""
    server = grpc.server(shared_unbounded_instance(), options=_OPTIONS)
    port = server.add_insecure_port(f"{_HOST}:0")
    beam_fn_api_pb2_grpc.add_BeamFnExternalWorkerPoolServicer_to_server(BeamFnExternalWorkerPoolServicer(), server)
    server.start()
    try:
        yield f"{_HOST}:{port}"
    finally:
        server.stop(0)
