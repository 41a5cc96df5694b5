"""The one place that knows which Beam runner runs a pipeline.

Never `DirectRunner`: in Beam 2.77 that name first tries to download a binary. `embedded` is the in-process runner named
directly; what goes by a job service is in `pipelines.portable`.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

logging.getLogger().addFilter(lambda record: "apitools not found" not in record.getMessage())

import apache_beam as beam  # noqa: E402 - after the filter: importing it warns of Google's libraries, which are not used
from apache_beam.options.pipeline_options import PipelineOptions  # noqa: E402
from apache_beam.runners.portability.fn_api_runner.fn_runner import FnApiRunner  # noqa: E402
from apache_beam.transforms import userstate  # noqa: E402

from pipelines.errors import RunnerFailed  # noqa: E402
from pipelines.runnable import EMBEDDED, runnable  # noqa: E402
from pipelines.settings import Exchange  # noqa: E402

# Beam logs the traceback of every error that it hands on; who calls shows it, or says it in words.
for _name in (
    "runners.common",
    "runners.worker.sdk_worker",
    "runners.worker.data_plane",
    "runners.portability.fn_api_runner.fn_runner",
):
    logging.getLogger(f"apache_beam.{_name}").setLevel(logging.CRITICAL)

_specs_of = userstate.get_dofn_specs
_KNOWN_SPECS: dict[type, Any] = {}


def _specs_by_class(dofn: Any) -> Any:
    """State and timers of a DoFn, looked for once a class: Beam asks a dozen times a bundle, and inspects every method.

    Of our own classes only, which have none but what the class says.
    """
    kind = type(dofn)
    if not kind.__module__.startswith("pipelines."):
        return _specs_of(dofn)
    if kind not in _KNOWN_SPECS:
        _KNOWN_SPECS[kind] = _specs_of(dofn)
    return _KNOWN_SPECS[kind]


userstate.get_dofn_specs = _specs_by_class  # a third of what a micro-batch costs


@contextmanager
def pipeline(exchange: Exchange) -> Iterator[Any]:
    """An empty pipeline; at the end of the block it is run, on the runner that the exchange names.

    Raises:
        SettingsError: a runner that does not exist, or that lacks something.
        RunnerFailed: the runner is not there, or went away.
    """
    runnable(exchange)
    if exchange.runner != EMBEDDED:
        from pipelines.portable import portable

        with portable(exchange) as made:
            yield made
        return
    if exchange.batch.workers > 1:
        with _crewed(exchange.batch.workers) as made:
            yield made
        return
    with beam.Pipeline(runner=FnApiRunner(), options=PipelineOptions.from_dictionary({})) as made:
        yield made


@contextmanager
def _crewed(workers: int) -> Iterator[Any]:
    """A pipeline whose workers are processes."""
    from pipelines.crewenv import CrewEnvironment

    environment = CrewEnvironment()
    options = PipelineOptions.from_dictionary({"direct_num_workers": workers})
    try:
        with beam.Pipeline(runner=FnApiRunner(default_environment=environment), options=options) as made:
            yield made
    except Exception as error:
        status = environment.lost()
        if status is None:
            raise
        message = f"一个工作进程意外结束（{status}）/ a worker process ended unexpectedly ({status})"
        raise RunnerFailed(message) from error


def kept_runner() -> Any:
    """The runner that a kept pipeline is built for; what runs it is `pipelines.heldworker`."""
    return FnApiRunner()
