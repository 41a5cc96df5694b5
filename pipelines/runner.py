"""The one place that knows which Beam runner runs a pipeline.

Never `DirectRunner`: in Beam 2.77 that name first tries to download a binary. `embedded` is the in-process runner named
directly; `prism` and `portable` take what the settings say.
"""

from __future__ import annotations

import logging
from typing import Any

logging.getLogger().addFilter(lambda record: "apitools not found" not in record.getMessage())

import apache_beam as beam  # noqa: E402 - after the filter: importing it warns of Google's libraries, which are not used
from apache_beam.options.pipeline_options import PipelineOptions  # noqa: E402
from apache_beam.runners.portability.fn_api_runner.fn_runner import FnApiRunner  # noqa: E402
from apache_beam.transforms import userstate  # noqa: E402

from pipelines.errors import SettingsError  # noqa: E402
from pipelines.settings import Exchange  # noqa: E402

# Beam logs the traceback of every error that it hands on; who calls shows it, or says it in words.
for _name in ("runners.common", "runners.worker.sdk_worker", "runners.portability.fn_api_runner.fn_runner"):
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

EMBEDDED, PRISM, PORTABLE = "embedded", "prism", "portable"


def pipeline(exchange: Exchange) -> Any:
    """An empty pipeline on the runner that the exchange names.

    Raises:
        SettingsError: a runner that does not exist, or one that needs a job endpoint without one.
    """
    workers = exchange.batch.workers
    if exchange.runner == EMBEDDED:
        options = {"direct_num_workers": workers}
        if workers > 1:
            options["direct_running_mode"] = "multi_processing"  # type: ignore[assignment]
        return beam.Pipeline(runner=FnApiRunner(), options=PipelineOptions.from_dictionary(options))
    if exchange.runner == PRISM:
        from apache_beam.runners.portability.prism_runner import PrismRunner

        return beam.Pipeline(runner=PrismRunner(), options=_portable(exchange, "LOOPBACK"))
    if exchange.runner == PORTABLE:
        if not exchange.job_endpoint:
            message = "runner=portable 需要 job_endpoint（host:port） / runner=portable needs job_endpoint (host:port)"
            raise SettingsError(message)
        from apache_beam.runners.portability.portable_runner import PortableRunner

        return beam.Pipeline(runner=PortableRunner(), options=_portable(exchange, exchange.environment_type))
    message = f"没有名为 {exchange.runner} 的 runner / no runner is named {exchange.runner}: embedded, prism, portable"
    raise SettingsError(message)


def kept_runner() -> tuple[Any, Any]:
    """The embedded runner and its options, for a pipeline that is run again and again from its proto."""
    options = PipelineOptions.from_dictionary({"experiments": ["beam_fn_api"], "direct_num_workers": 1})
    return FnApiRunner(), options


def _portable(exchange: Exchange, environment: str) -> Any:
    options: dict[str, Any] = {"environment_type": environment, "sdk_worker_parallelism": exchange.batch.workers}
    if exchange.job_endpoint:
        options["job_endpoint"] = exchange.job_endpoint
    return PipelineOptions.from_dictionary(options)
