"""A pipeline that is run again and again in this process, by one of Beam's own bundle processors that is kept.

The embedded runner optimises the graph, starts a worker, unpickles every DoFn and takes all of it down again at every
run: some 20-45 ms of processor time, whatever there is to do. Here a graph without shuffles becomes one fused stage,
flattens included, whose processor stands as long as it works: a run is one bundle of one impulse, some 1 ms. DoFns are
set up once; `start_bundle` and `finish_bundle` are called at every run.
"""

from __future__ import annotations

from functools import partial
from itertools import count
from typing import Any

from apache_beam import coders
from apache_beam.portability import common_urns
from apache_beam.portability.api import beam_fn_api_pb2, beam_runner_api_pb2
from apache_beam.runners.pipeline_context import PipelineContext
from apache_beam.runners.worker.bundle_processor import DATA_INPUT_URN, BundleProcessor
from apache_beam.runners.worker.data_plane import InMemoryDataChannel, InMemoryDataChannelFactory
from apache_beam.runners.worker.statesampler import set_current_tracker
from apache_beam.transforms.window import GlobalWindows

_IMPULSE = common_urns.primitives.IMPULSE.urn
_IMPULSES = coders.WindowedValueCoder(coders.BytesCoder(), GlobalWindows().get_window_coder())
_FUSED = frozenset({_IMPULSE, common_urns.primitives.PAR_DO.urn, common_urns.primitives.FLATTEN.urn})


class NotOneStage(ValueError):
    """The graph has more than impulses, DoFns and flattens, or none or several impulses."""


class HeldWorker:
    """Runs a pipeline, given as its proto, one bundle at a time.

    A run that raises ends the processor; the next run makes a new one.

    Raises:
        NotOneStage: a shuffle or a read stands in the graph.
    """

    def __init__(self, proto: beam_runner_api_pb2.Pipeline) -> None:
        self._stage, self._impulse = _one_stage(proto)
        self._turns = count(1)
        self._channel: Any = None
        self._processor: Any = None

    def run(self) -> None:
        """One bundle. Raises what a step raised, in Beam's wrapping."""
        if self._processor is None:
            self._channel = InMemoryDataChannel()
            factory = InMemoryDataChannelFactory(self._channel)
            self._processor = _unsampled(BundleProcessor(frozenset(), self._stage, None, factory))  # type: ignore[arg-type]
        name = f"turn-{next(self._turns)}"
        stream = self._channel.inverse().output_stream(name, self._impulse)
        stream.write(_IMPULSES.get_impl().encode_nested(GlobalWindows.windowed_value(b"")))
        stream.close()
        try:
            self._processor.process_bundle(name)
        except BaseException:
            self.close()
            raise
        self._processor.reset()

    def close(self) -> None:
        """Take the DoFns down."""
        processor, self._processor = self._processor, None
        if processor is not None:
            processor.shutdown()


def _unsampled(processor: BundleProcessor) -> BundleProcessor:
    """The same without the thread that samples in which step it is, whose end a bundle waits for.

    It sleeps a fifth of the bundle's time by then: 2 ms at 5, up to 200; nobody reads its samples here.
    """
    sampler = processor.state_sampler  # one of this processor's own; no setting of Beam's leaves the thread out
    # Metrics of steps want the tracker, which the original sets too; what was never started is not stopped.
    sampler.start = partial(set_current_tracker, sampler)  # type: ignore[method-assign]
    return processor


def _one_stage(proto: beam_runner_api_pb2.Pipeline) -> tuple[beam_fn_api_pb2.ProcessBundleDescriptor, str]:
    """The whole graph as the stage of one worker, and its input, which stands for the impulse."""
    context = PipelineContext(proto.components)
    coder = context.coders.get_id(_IMPULSES)
    known = context.to_runner_api()
    steps = {name: one for name, one in known.transforms.items() if one.spec.urn and not one.subtransforms}
    impulses = [name for name, one in steps.items() if one.spec.urn == _IMPULSE]
    others = {one.spec.urn for one in steps.values()} - _FUSED
    if others or len(impulses) != 1:
        raise NotOneStage(", ".join(sorted(others)) or f"{len(impulses)} impulses")
    port = beam_fn_api_pb2.RemoteGrpcPort(coder_id=coder)
    spec = beam_runner_api_pb2.FunctionSpec(urn=DATA_INPUT_URN, payload=port.SerializeToString())
    steps[impulses[0]].spec.CopyFrom(spec)
    stage = beam_fn_api_pb2.ProcessBundleDescriptor(
        id="held",
        transforms=steps,
        pcollections=dict(known.pcollections.items()),
        windowing_strategies=dict(known.windowing_strategies.items()),
        coders=dict(known.coders.items()),
        environments=dict(known.environments.items()),
    )
    return stage, impulses[0]
