"""The contract suite: what every connector must do, as test classes to inherit. It needs pytest and nothing else.

A third party proves a connector like this (see `tests/connectors/` for the built-in ones):

    from connectors.testing import SourceContract

    class TestMine(SourceContract):
        name = "mine"
        def put(self, place, numbers): ...      # lay one envelope {"n": number, "text": ...} for each number
        def source(self, place, **settings): ...  # build the connector that reads them

Each test gets `place`, an empty folder of its own. A hook that a kind of connector cannot have returns None, and
its tests are skipped by name.
"""

from connectors.testing.common import TEXT, small_files
from connectors.testing.feeds import FeedContract
from connectors.testing.partsinks import PartSinkContract
from connectors.testing.sinks import SinkContract
from connectors.testing.sources import SourceContract

__all__ = ["TEXT", "FeedContract", "PartSinkContract", "SinkContract", "SourceContract", "small_files"]
