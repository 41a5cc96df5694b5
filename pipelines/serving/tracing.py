"""OpenTelemetry spans of batches, behind a switch: `[tracing] enabled = true` and `pip install 'vingate[tracing]'`.

A batch is one trace: a span `batch` and below it one for each stage, made when the batch ends. No span holds data of a
payload.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol

from pipelines.errors import SettingsError
from pipelines.version import BUILD


class Tracer(Protocol):
    """Whoever keeps spans."""

    def span(self, exchange: str, batch: str, stage: str, since: int, until: int, counts: Mapping[str, int]) -> None:
        """A stage of a batch, or all of it (`batch`), between two moments in nanoseconds since 1970."""

    def close(self) -> None:
        """Send what is left."""


class Spans:
    """Spans by OpenTelemetry's SDK, sent in the background."""

    def __init__(self, provider: Any) -> None:
        self._provider = provider
        self._tracer = provider.get_tracer("vingate", BUILD)
        self._stages: dict[str, list[tuple[str, int, int]]] = {}

    def span(self, exchange: str, batch: str, stage: str, since: int, until: int, counts: Mapping[str, int]) -> None:
        """Keep a stage until its batch ends, then start the batch's span and its stages' below it."""
        if stage != "batch":
            if len(self._stages) > 1_000:  # batches that failed never end
                self._stages.clear()
            self._stages.setdefault(batch, []).append((stage, since, until))
            return
        from opentelemetry import trace

        attributes: dict[str, str | int] = {"vingate.exchange": exchange, "vingate.batch": batch}
        attributes |= {f"vingate.records.{name}": count for name, count in counts.items()}
        whole = self._tracer.start_span("batch", start_time=since, attributes=attributes)
        context = trace.set_span_in_context(whole)
        for name, begun, ended in self._stages.pop(batch, ()):
            self._tracer.start_span(name, context, start_time=begun).end(ended)
        whole.end(until)

    def close(self) -> None:
        """Send what is left."""
        self._provider.shutdown()


def open_tracer(role: str, endpoint: str) -> Tracer:
    """A tracer that sends to a collector by OTLP over HTTP.

    Raises:
        SettingsError: OpenTelemetry is not installed.
    """
    try:
        from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
        from opentelemetry.sdk.resources import Resource
        from opentelemetry.sdk.trace import TracerProvider
        from opentelemetry.sdk.trace.export import BatchSpanProcessor
    except ImportError:
        message = (
            "tracing.enabled: 未安装 OpenTelemetry；请运行 pip install 'vingate[tracing]'，或关闭 tracing"
            " / OpenTelemetry is not installed: pip install 'vingate[tracing]', or switch tracing off"
        )
        raise SettingsError(message) from None
    exporter = OTLPSpanExporter(endpoint=endpoint) if endpoint else OTLPSpanExporter()
    resource = Resource.create({"service.name": f"vingate-{role}", "service.version": BUILD})
    provider = TracerProvider(resource=resource)
    provider.add_span_processor(BatchSpanProcessor(exporter))
    return Spans(provider)
