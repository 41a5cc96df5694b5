"""OpenTelemetry spans, behind a switch: `[tracing] enabled = true` and `pip install -e '.[tracing]'`.

    door            one request: its path as metrics show it, HTTP status
      inbox.commit  until what it brought was durable; shared with other requests
    batch           one batch of an exchange: its id, and what became of its records
      work, decide  stages
      deliver
        effect      one call of one destination: deliveries given, deliveries taken
    effect          the same for deliveries that had waited

Spans are made when what they tell of has ended. None holds data of a payload, an identity of a caller, or the words of
an error: a destination is told by its name in the settings' routes, a path of `/v1` without the ids in it.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple, Protocol

from pipelines.errors import SettingsError
from pipelines.version import BUILD

Attributes = Mapping[str, str | int]
_MOST_OPEN = 1_000
_UNDER = {"effect": "deliver"}
"""Stage -> the stage that its span stands below; the others stand below the batch's."""


class Timed(NamedTuple):
    """Something that took from one moment to another, in nanoseconds since 1970."""

    name: str
    since: int
    until: int
    attributes: Attributes = {}  # noqa: RUF012 - never changed in place


class Tracer(Protocol):
    """Whoever keeps spans."""

    def stage(self, batch: str, timed: Timed) -> None:
        """A stage of a batch, kept until the batch ends."""

    def whole(self, batch: str, timed: Timed) -> None:
        """The batch has ended: its span, and those of its stages below it."""

    def alone(self, timed: Timed, below: tuple[Timed, ...] = ()) -> None:
        """A span of its own, and some below it."""

    def close(self) -> None:
        """Send what is left."""


class Spans:
    """Spans by OpenTelemetry's SDK, sent in the background; what cannot be sent is dropped and stops nothing."""

    def __init__(self, provider: Any) -> None:
        self._provider = provider
        self._tracer = provider.get_tracer("vingate", BUILD)
        self._stages: dict[str, list[Timed]] = {}

    def stage(self, batch: str, timed: Timed) -> None:
        """Keep a stage until its batch ends."""
        if len(self._stages) > _MOST_OPEN:  # batches that failed never end
            self._stages.clear()
        self._stages.setdefault(batch, []).append(timed)

    def whole(self, batch: str, timed: Timed) -> None:
        """The span of a batch and those of its stages."""
        root = self._begun(timed, None)
        stages = self._stages.pop(batch, [])
        above = {one.name: self._begun(one, root) for one in stages if one.name not in _UNDER}
        for one in stages:
            if one.name in _UNDER:
                self._begun(one, above.get(_UNDER[one.name], root)).end(one.until)
            else:
                above[one.name].end(one.until)
        root.end(timed.until)

    def alone(self, timed: Timed, below: tuple[Timed, ...] = ()) -> None:
        """A span of its own."""
        root = self._begun(timed, None)
        for one in below:
            self._begun(one, root).end(one.until)
        root.end(timed.until)

    def _begun(self, timed: Timed, above: Any) -> Any:
        from opentelemetry import context, trace

        where = context.Context() if above is None else trace.set_span_in_context(above, context.Context())
        return self._tracer.start_span(timed.name, where, start_time=timed.since, attributes=dict(timed.attributes))

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
            "tracing.enabled: 未安装 OpenTelemetry；请在源码目录运行 .venv/bin/python -m pip install -e '.[tracing]'，"
            "或关闭 tracing / OpenTelemetry is not installed: run .venv/bin/python -m pip install -e '.[tracing]'"
            " in the checkout, or switch tracing off"
        )
        raise SettingsError(message) from None
    # A collector that is away must not hold up a stop: what is left is tried for so long.
    exporter = OTLPSpanExporter(endpoint=endpoint or None, timeout=5)
    resource = Resource.create({"service.name": f"vingate-{role}", "service.version": BUILD})
    provider = TracerProvider(resource=resource)
    provider.add_span_processor(BatchSpanProcessor(exporter))
    return Spans(provider)
