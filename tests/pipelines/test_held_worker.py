"""A kept worker runs a graph as the embedded runner does, run after run, and stands up again after an error."""

from __future__ import annotations

import threading

import apache_beam as beam
import pytest
from apache_beam.pvalue import TaggedOutput
from apache_beam.transforms.environments import EmbeddedPythonEnvironment
from apache_beam.transforms.window import GlobalWindow
from apache_beam.utils.windowed_value import WindowedValue

from pipelines.heldworker import HeldWorker, NotOneStage
from pipelines.runner import kept_runner

CALLS: list[str] = []
GIVEN: list[int] = []
FOUND: list[list[str]] = []


class Given(beam.DoFn):
    def setup(self):
        CALLS.append("setup")

    def process(self, _):
        yield from GIVEN

    def teardown(self):
        CALLS.append("teardown")


class Sorted(beam.DoFn):
    """Odd numbers are dead; a zero raises."""

    def process(self, number):
        if number == 0:
            raise ZeroDivisionError("zero")
        if number % 2:
            yield TaggedOutput("dead", str(number))
        else:
            yield str(number)


class Late(beam.DoFn):
    """Gives everything at the end of its bundle."""

    def start_bundle(self):
        self.seen = []

    def process(self, text):
        self.seen.append(text)

    def finish_bundle(self):
        yield WindowedValue(f"dead {','.join(self.seen)}", GlobalWindow().max_timestamp(), (GlobalWindow(),))


class Found(beam.DoFn):
    def start_bundle(self):
        self.seen = []

    def process(self, text):
        self.seen.append(text)

    def finish_bundle(self):
        FOUND.append(sorted(self.seen))


def graph():
    built = beam.Pipeline(runner=kept_runner())
    split = (
        built
        | beam.Impulse()
        | "given" >> beam.ParDo(Given()).with_output_types(int)
        | "sorted" >> beam.ParDo(Sorted()).with_output_types(str).with_outputs("dead", main="alive")
    )
    dead = split["dead"] | "late" >> beam.ParDo(Late()).with_output_types(str)
    (split["alive"], dead) | "both" >> beam.Flatten() | "found" >> beam.ParDo(Found())
    return built


def worker(built):
    return HeldWorker(built.to_runner_api(default_environment=EmbeddedPythonEnvironment.default()))


@pytest.fixture(autouse=True)
def fresh():
    CALLS.clear(), FOUND.clear()


def test_every_run_is_one_whole_bundle_and_functions_are_set_up_once():
    held = worker(graph())
    for GIVEN[:] in ([1, 2, 3, 4], [], [6]):
        held.run()
    assert FOUND == [["2", "4", "dead 1,3"], ["dead "], ["6", "dead "]]
    assert CALLS == ["setup"]
    held.close()
    assert CALLS == ["setup", "teardown"]


def test_a_run_starts_no_thread_whose_end_it_would_wait_for(monkeypatch):
    held = worker(graph())
    GIVEN[:] = [1]
    held.run()  # the first one stands the processor up
    started = []
    monkeypatch.setattr(threading.Thread, "start", started.append)
    held.run()
    assert started == []
    assert FOUND == [["dead 1"]] * 2


def test_it_does_what_the_embedded_runner_does():
    GIVEN[:] = [5, 7, 8]
    worker(graph()).run()
    graph().run()
    assert FOUND[0] == [one for part in FOUND[1:] for one in part]


def test_after_an_error_the_next_run_begins_with_nothing_of_it():
    held = worker(graph())
    GIVEN[:] = [1, 2, 0]
    with pytest.raises(ZeroDivisionError, match="zero"):
        held.run()
    assert (CALLS, FOUND) == (["setup", "teardown"], [])
    GIVEN[:] = [4]
    held.run()
    assert (CALLS, FOUND) == (["setup", "teardown", "setup"], [["4", "dead "]])


def test_a_graph_with_a_shuffle_is_refused():
    built = beam.Pipeline(runner=kept_runner())
    built | beam.Impulse() | beam.Map(lambda one: (one, one)) | beam.GroupByKey()
    with pytest.raises(NotOneStage, match="group_by_key"):
        worker(built)
