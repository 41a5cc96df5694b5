"""The environment of Beam whose workers are forked here (`pipelines.crew`), for the embedded runner."""

from __future__ import annotations

import secrets
import threading
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from typing import Any

import grpc
from apache_beam.portability.api import beam_fn_api_pb2
from apache_beam.runners.portability.fn_api_runner.worker_handlers import GrpcWorkerHandler, WorkerHandler
from apache_beam.runners.worker import bundle_processor, sdk_worker
from apache_beam.transforms.environments import Environment

from mappings import sheet  # noqa: F401 - loaded before the fork, so that no worker has to
from pipelines import flow  # noqa: F401 - as well
from pipelines.crew import crew

URN = "vingate:environment:crew:v1"
_AGAIN, _PATIENCE = 0.2, 60.0
_lost: dict[bytes, int] = {}


class CrewEnvironment(Environment):
    """Workers are forks of one process of this machine; one object for each run of a pipeline."""

    def __init__(self) -> None:
        super().__init__()
        self._name = secrets.token_bytes(8)

    def to_runner_api_parameter(self, context: Any) -> tuple[str, bytes]:
        """Beam's form of it."""
        del context
        return URN, self._name

    def lost(self) -> int | None:
        """How a worker ended that nobody had told to; None where all did what they were told."""
        return _lost.pop(self._name, None)


@WorkerHandler.register_environment(URN, bytes)
class _Handler(GrpcWorkerHandler):
    """One worker, seen from the runner. Beam does not notice when a worker dies, and waits for ever: this does."""

    def __init__(self, name: bytes, state: Any, provision: Any, server: Any) -> None:
        super().__init__(state, provision, server)
        self._name, self._over, self._gone = name, threading.Event(), threading.Event()
        read = partial(_quietly, self.control_conn._read)
        self.control_conn._read_thread = threading.Thread(name="crew-control", target=read, daemon=True)
        read = partial(_quietly, self.data_conn._read_inputs)
        self.data_conn._read_inputs = read  # type: ignore[method-assign] # of Beam

    def start_worker(self) -> None:
        crew().start(self.worker_id, self.control_address, self._ended)

    def stop_worker(self) -> None:
        self._gone.wait(_PATIENCE)

    def close(self) -> None:
        self._over.set()
        with suppress(grpc.RpcError):  # what a worker that is gone leaves of its connections
            super().close()

    def _ended(self, status: int) -> None:
        self._gone.set()
        if not self._over.is_set():
            _lost[self._name] = status
            threading.Thread(name="crew-lost", target=self._answer, args=(status,), daemon=True).start()

    def _answer(self, status: int) -> None:
        """Answer all that the runner asks of a worker that is gone."""
        asked = self.control_conn._futures_by_id
        while not self._over.wait(_AGAIN):
            for instruction in list(asked):
                told = beam_fn_api_pb2.InstructionResponse(instruction_id=instruction, error=f"ended: {status}")
                waiting = asked.pop(instruction, None)
                if waiting is not None:  # else the runner has its answer
                    waiting.set(told)


def _quietly(read: Callable[..., None], *given: Any) -> None:
    """Read from a worker until it is gone, without the traceback that Beam prints then: `_ended` tells how it ended."""
    with suppress(grpc.RpcError):
        read(*given)


class _Prompt(bundle_processor.BundleProcessor):
    """Comes for its data before it takes steps apart: a runner in Java waits minutes for that, also for who refuses."""

    def __init__(self, capabilities: Any, descriptor: Any, state: Any, channels: Any, *more: Any) -> None:
        for transform in descriptor.transforms.values():
            if transform.spec.urn == bundle_processor.DATA_INPUT_URN:
                channels.create_data_channel(beam_fn_api_pb2.RemoteGrpcPort.FromString(transform.spec.payload))
        super().__init__(capabilities, descriptor, state, channels, *more)


def serve(worker: str, address: str) -> None:
    """Be the worker of a name for the runner at an address, until that says that it is over."""
    threading.excepthook = _unless_lost
    bundle_processor.BundleProcessor = _Prompt  # type: ignore[misc, assignment] # Beam looks it up there
    sdk_worker.SdkHarness(address, worker_id=worker).run()


def _unless_lost(what: threading.ExceptHookArgs) -> None:
    """Print what a thread raised, but not that the runner is gone: whoever killed that knows it."""
    if not issubclass(what.exc_type, grpc.RpcError):
        threading.__excepthook__(what)
