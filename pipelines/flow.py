"""The pipeline of every exchange: the life of a record, one step a line.

    receive -> decode -> judge -> address -> encode -> deliver -> account

Step labels are the names that letters bear. Each step's dead go to one handler; a step whose dead were not consumed
would make Beam refuse the job. Account ends the worker's part: the receipts travel to one manifest, and the coordinator
takes over.
"""

from __future__ import annotations

import os
import pickle
import shutil
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import fields, replace
from functools import partial
from pathlib import Path
from typing import Any

import apache_beam as beam
import orjson
from apache_beam.coders import coder_impl
from apache_beam.coders.typecoders import registry
from apache_beam.pvalue import TaggedOutput
from apache_beam.transforms.environments import EmbeddedPythonEnvironment
from apache_beam.transforms.error_handling import ErrorHandler
from apache_beam.transforms.window import GlobalWindow
from apache_beam.utils.windowed_value import WindowedValue

from connectors.contracts import StagedPart, Tally, WorkItem
from dlq.segments import Segment
from pipelines import builds, steps
from pipelines.baggage import packed, unpacked
from pipelines.heldworker import HeldWorker
from pipelines.runnable import EMBEDDED
from pipelines.runner import kept_runner, pipeline
from pipelines.settings import Exchange
from pipelines.staging import LetterStager, Stager
from pipelines.stopping import unwrapped
from pipelines.work import Dead, Job, Load, Receipt, Task
from pipelines.workbench import Workbench, workbench

DEAD, ALIVE = "dead", "alive"
MANIFEST = "manifest.json"


class _LoadCoderImpl(coder_impl.CallbackCoderImpl):
    """Beam asks for the size of elements now and then; pickling a whole load to answer would cost more than a step."""

    def estimate_size(self, value: Load, nested: bool = False) -> int:
        del nested
        return 700 * len(value.ordinals)

    def get_estimated_size_and_observables(self, value: Load, nested: bool = False) -> tuple[int, list[Any]]:
        return self.estimate_size(value, nested), []


class LoadCoder(beam.coders.Coder):
    """Loads as pickles, where a runner does not fuse the steps."""

    def _create_impl(self) -> Any:
        encode = partial(pickle.dumps, protocol=pickle.HIGHEST_PROTOCOL)
        return _LoadCoderImpl(encode, pickle.loads)  # type: ignore[no-untyped-call] # of Beam

    def is_deterministic(self) -> bool:
        """Equal loads need not be equal bytes; nothing groups by them."""
        return False


registry.register_coder(Load, LoadCoder)


class _OnBench(beam.DoFn):
    """A DoFn that has the workbench of the job: its own, or the one whose description lies at a path (`Kept`)."""

    def __init__(self, job: Job | Path) -> None:
        self._job = job

    def __reduce__(self) -> Any:
        if isinstance(self._job, Job) and self._job.build:
            return builds.sent(type(self), self.__dict__, self._job.build)
        return super().__reduce__()

    def setup(self) -> None:
        if isinstance(self._job, Job):
            self._bench: Workbench = workbench(unpacked(self._job))

    def start_bundle(self) -> None:
        if isinstance(self._job, Path):
            self._bench = workbench(read_order(self._job)[0])


def read_order(path: Path) -> tuple[Job, list[Task]]:
    """The job and the tasks that were written for a kept pipeline."""
    job, tasks = orjson.loads(path.read_bytes())
    return Job(**job), [Task(number, WorkItem(*item)) for number, item in tasks]


def write_order(path: Path, job: Job, tasks: Sequence[Task]) -> None:
    """Write what a kept pipeline has to do next."""
    told = [[task.number, [getattr(task.item, one.name) for one in fields(task.item)]] for task in tasks]
    path.write_bytes(orjson.dumps([{one.name: getattr(job, one.name) for one in fields(job)}, told]))


class _Order(beam.DoFn):
    """The tasks that were written for a kept pipeline."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def process(self, _: bytes) -> Iterator[Task]:
        yield from read_order(self._path)[1]


class _Account(beam.DoFn):
    """Writes the manifest of a kept pipeline, whose run is one bundle: what a shuffle would gather is all here."""

    def __init__(self, folder: str) -> None:
        self._folder = folder

    def start_bundle(self) -> None:
        self._receipts: list[Receipt] = []

    def process(self, receipt: Receipt) -> None:
        self._receipts.append(receipt)

    def finish_bundle(self) -> None:
        _write_manifest(self._receipts, self._folder)


class _Receive(_OnBench):
    def process(self, task: Task) -> Iterator[Any]:
        for load, dead in steps.receive(self._bench, task):
            yield load
            if dead is not None:
                yield TaggedOutput(DEAD, dead)


class _Step(_OnBench):
    """A step that is a function over loads: decode, judge, address."""

    def __init__(self, job: Job | Path, function: Callable[[Workbench, Load], tuple[Load, Dead | None]]) -> None:
        super().__init__(job)
        self._function = function

    def process(self, load: Load) -> Iterator[Any]:
        alive, dead = self._function(self._bench, load)
        if alive.ordinals or alive.total >= 0:
            yield alive
        if dead is not None:
            yield TaggedOutput(DEAD, dead)


class _Encode(_OnBench):
    def start_bundle(self) -> None:
        super().start_bundle()
        self._encoder: tuple[int, steps.Encoder] | None = None

    def process(self, load: Load) -> Iterator[Load]:
        number = load.task.number
        if self._encoder is None or self._encoder[0] != number:
            self._encoder = (number, steps.Encoder(self._bench, load.task))
        yield steps.encode(self._bench, self._encoder[1], load)


class _Deliver(_OnBench):
    """Stages records. An item is finished by its last load, or at the latest with the bundle."""

    def start_bundle(self) -> None:
        super().start_bundle()
        self._open: dict[int, Stager] = {}

    def process(self, load: Load) -> Iterator[Receipt]:
        number = load.task.number
        stager = self._open.get(number)
        if stager is None:
            stager = self._open[number] = Stager(self._bench, load.task)
        stager.add(load)
        if load.total >= 0:
            yield self._open.pop(number).finish()

    def finish_bundle(self) -> Iterator[Any]:
        for number in list(self._open):
            yield WindowedValue(self._open.pop(number).finish(), GlobalWindow().max_timestamp(), (GlobalWindow(),))

    def teardown(self) -> None:
        for stager in getattr(self, "_open", {}).values():
            stager.abort()


class _Letters(_OnBench):
    def start_bundle(self) -> None:
        super().start_bundle()
        self._stager = LetterStager(self._bench)

    def process(self, dead: Dead) -> None:
        self._stager.add(dead)

    def finish_bundle(self) -> Iterator[Any]:
        for receipt in self._stager.finish():
            yield WindowedValue(receipt, GlobalWindow().max_timestamp(), (GlobalWindow(),))


def _gathered(keyed: tuple[str, Iterable[Receipt]], staging: str) -> str:
    return _write_manifest(keyed[1], staging)


def _write_manifest(receipts: Iterable[Receipt], staging: str) -> str:
    """One file that names everything that counts; written whole or not at all.

    Not synced: a machine that fell over has decided nothing by it, and the batch runs again.
    """
    path = Path(staging) / MANIFEST
    temporary = path.with_suffix(f".{os.getpid()}.tmp")
    with temporary.open("wb") as file:
        file.write(orjson.dumps([receipt._asdict() for receipt in receipts], default=lambda value: value._asdict()))
    temporary.replace(path)
    return str(path)


def read_manifest(staging: Path) -> list[Receipt]:
    """The receipts of a finished work stage, by item."""
    receipts = []
    for raw in orjson.loads((staging / MANIFEST).read_bytes()):
        raw["parts"] = tuple(StagedPart(**part) for part in raw["parts"])
        raw["letters"] = tuple(Segment(s["path"], s["sha256"], Tally(**s["tally"])) for s in raw["letters"])
        receipts.append(Receipt(**raw))
    # What was staged before what died: names are unique to an attempt, and journals must not depend on them.
    return sorted(receipts, key=lambda receipt: (receipt.number, receipt.total < 0, receipt.journal))


def run(exchange: Exchange, job: Job, tasks: Sequence[Task]) -> list[Receipt]:
    """Do the work stage of a batch; the receipts of everything that was staged.

    Raises what a step raised that no letter was made of: nothing of the batch counts then.
    """
    try:
        _run(exchange, job, tasks)
    except Exception as error:
        found = unwrapped(error)
        if found is error:
            raise
        raise found from error
    return read_manifest(Path(job.staging))


def _run(exchange: Exchange, job: Job, tasks: Sequence[Task]) -> None:
    elsewhere = exchange.runner != EMBEDDED
    if elsewhere:
        job = replace(packed(job), build=builds.build())
    with pipeline(exchange) as p:
        items = p | "items" >> beam.Create(list(tasks), reshuffle=False)
        if exchange.batch.workers > 1 or elsewhere:
            items = items | "spread" >> beam.Reshuffle()
        (
            _steps(items, job)
            | "together" >> beam.Map(lambda receipt: ("all", receipt)).with_output_types(tuple[str, Receipt])
            | "gather" >> beam.GroupByKey()
            | "account" >> beam.Map(_gathered, staging=job.staging)
        )


def _steps(items: Any, job: Job | Path) -> Any:
    """The life of a record, from work items to the receipts of what was staged."""
    handler = ErrorHandler("letters" >> beam.ParDo(_Letters(job)).with_output_types(Receipt))

    def step(pcoll: Any, label: str, dofn: beam.DoFn) -> Any:
        outputs = pcoll | label >> beam.ParDo(dofn).with_output_types(Load).with_outputs(DEAD, main=ALIVE)
        handler.add_error_pcollection(outputs[DEAD])
        return outputs[ALIVE]

    received = step(items, "receive", _Receive(job))
    decoded = step(received, "decode", _Step(job, steps.decode))
    judged = step(decoded, "judge", _Step(job, steps.judge))
    addressed = step(judged, "address", _Step(job, steps.address))
    encoded = addressed | "encode" >> beam.ParDo(_Encode(job)).with_output_types(Load)
    delivered = encoded | "deliver" >> beam.ParDo(_Deliver(job)).with_output_types(Receipt)
    handler.close()
    return (delivered, handler.output()) | "receipts" >> beam.Flatten()


class Kept:
    """The pipeline of one exchange, built once and run for batch after batch: for batches too small to build one each.

    What it does next is written as an order; `folder` is where that and the manifest lie. Only the embedded runner
    keeps a pipeline. A run is one bundle of a worker that is kept too (`pipelines.heldworker`).
    """

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._folder, self._order = folder, folder / "order.json"
        built = beam.Pipeline(runner=kept_runner())
        items = built | "order" >> beam.Impulse() | "items" >> beam.ParDo(_Order(self._order)).with_output_types(Task)
        _steps(items, self._order) | "account" >> beam.ParDo(_Account(str(folder)))
        self._worker = HeldWorker(built.to_runner_api(default_environment=EmbeddedPythonEnvironment.default()))
        shutil.rmtree(built.local_tempdir)  # Beam removes it where it runs the pipeline itself

    def run(self, job: Job, tasks: Sequence[Task]) -> list[Receipt]:
        """Do the work stage of a batch, as `run` does."""
        manifest = self._folder / MANIFEST
        manifest.unlink(missing_ok=True)
        write_order(self._order, job, tasks)
        try:
            self._worker.run()
        except Exception as error:
            found = unwrapped(error)
            if found is error:
                raise
            raise found from error
        return read_manifest(self._folder)

    def close(self) -> None:
        """Take its worker down."""
        self._worker.close()
