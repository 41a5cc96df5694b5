"""Pipelines on a job service: a prism of our own, or whatever listens at an address."""

from __future__ import annotations

import logging
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any

import apache_beam as beam
import grpc
from apache_beam.options.pipeline_options import PipelineOptions
from apache_beam.portability.api import beam_job_api_pb2_grpc
from apache_beam.runners.portability.portable_runner import JobServiceHandle, PortableRunner

from pipelines.errors import RunnerFailed
from pipelines.loopback import workers
from pipelines.prism import Serving, serving
from pipelines.runnable import EXTERNAL, LOOPBACK, SPARK, environment, prism
from pipelines.settings import Exchange
from pipelines.stopping import told

# What a job service tells is logged without a name; its errors are raised, too.
logging.getLogger().addFilter(lambda record: record.module != "portable_runner")

_heard = threading.excepthook


def _unheard(ended: threading.ExceptHookArgs) -> None:
    """Threads of Beam that lose their stream end in silence: `_finished` says it, once."""
    if not issubclass(ended.exc_type, grpc.RpcError):
        _heard(ended)


threading.excepthook = _unheard

_FOR_EVER = 30 * 24 * 3600
"""Seconds. Beam ends the streams that tell of a job's state by the time-out that it has for a single answer."""
_CONNECTING, _CANCELLING = 15.0, 10.0
_SAID = 600
_FILES = "beam:option:files_to_stage:v1"
# A machine that went away without a word is noticed; servers take it ill when they are asked more often.
_KEPT_ALIVE = [("grpc.keepalive_time_ms", 320_000), ("grpc.http2.max_pings_without_data", 0)]


@contextmanager
def portable(exchange: Exchange) -> Iterator[Any]:
    """An empty pipeline; at the end of the block it is run by the job service of the exchange.

    Raises:
        RunnerFailed: the runner is not there, or went away.
    """
    with (
        _job_service(exchange) as served,
        _connected(served.endpoint) as stub,
        _environment(exchange) as (kind, config),
    ):
        options = {
            "job_endpoint": served.endpoint,
            "job_server_timeout": _FOR_EVER,
            "environment_type": kind,
            "environment_config": config or None,
            "sdk_worker_parallelism": exchange.batch.workers,
        }
        handle = _SparkHandle if exchange.runner == SPARK else JobServiceHandle
        made = beam.Pipeline(runner=_Runner(stub, handle), options=PipelineOptions.from_dictionary(options))
        yield made
        _finished(made, served)


class _Runner(PortableRunner):
    """Beam's runner on a connection of ours: its own is waited for as long as a job may take."""

    def __init__(self, stub: Any, handle: type[Any]) -> None:
        super().__init__()  # type: ignore[no-untyped-call] # of Beam
        self._stub, self._handle = stub, handle

    def create_job_service(self, options: Any) -> Any:
        """The job service, connected."""
        return self._handle(self._stub, options)


class _SparkHandle(JobServiceHandle):
    """Jobs that bring no jars: Spark's workers have Beam's, else the server hands 400 to each executor of each job.

    An empty list would mean all, and what is named must be there: `deploy/spark` lays an empty jar where its server
    runs.
    """

    def get_pipeline_options(self) -> Any:
        """The options, and beside them which jars the job brings."""
        told = super().get_pipeline_options()
        told.update({_FILES: ["nothing.jar"]})
        return told


@contextmanager
def _connected(endpoint: str) -> Iterator[Any]:
    with grpc.insecure_channel(endpoint, options=_KEPT_ALIVE) as channel:
        try:
            grpc.channel_ready_future(channel).result(_CONNECTING)
        except grpc.FutureTimeoutError:
            message = f"{endpoint}: 无人应答 / nobody answers there"
            raise RunnerFailed(message) from None
        yield beam_job_api_pb2_grpc.JobServiceStub(channel)


class _Service:
    """A job service that somebody else runs."""

    def __init__(self, endpoint: str) -> None:
        self.endpoint = endpoint

    def ended(self) -> bool:
        """Nobody here knows."""
        return False

    def said(self) -> str:
        """Where it is."""
        return self.endpoint


@contextmanager
def _job_service(exchange: Exchange) -> Iterator[Serving | _Service]:
    if exchange.job_endpoint:
        yield _Service(exchange.job_endpoint)
        return
    with serving(prism(exchange.prism)) as served:
        yield served


@contextmanager
def _environment(exchange: Exchange) -> Iterator[tuple[str, str]]:
    """Beam's names of the environment that the workers have."""
    kind, config = environment(exchange)
    if kind != LOOPBACK:
        yield kind, config
        return
    with workers() as address:
        yield EXTERNAL, address


def _finished(made: Any, served: Serving | _Service) -> None:
    """Run a pipeline and wait until it is done; who interrupts this cancels the job."""
    result = None
    try:
        result = made.run()
        result.wait_until_finish()
    except grpc.RpcError as error:
        message = f"{served.said()} ({error.code().name})"
        raise RunnerFailed(message) from error
    except RuntimeError as error:
        if served.ended():
            raise RunnerFailed(served.said()) from error
        happened = told(str(error))
        if happened is None or happened.kind.startswith("grpc."):  # no step raised it
            raise RunnerFailed((happened.text if happened else str(error))[-_SAID:]) from error
        raise
    except BaseException:
        if result is not None:
            _cancelled(result)
        raise


def _cancelled(result: Any) -> None:
    """Cancel a job, without waiting long for a service that does not answer."""

    def cancel() -> None:
        with suppress(grpc.RpcError):
            result.cancel()

    thread = threading.Thread(target=cancel, daemon=True)
    thread.start()
    thread.join(_CANCELLING)
