"""The generator behind `vingate sample`: a small nation of repair shops, seeded, with the faults of the real one.

`generate(out)` writes what shops and OEM headquarters would send for three weeks, the reference data that a run is
given, and `expected.json`: what the generator knows about it. Shapes and faults follow domain tables 1, 2, 6, 7 and 9.
"""

from pipelines.sample.generating import FIRST_DAY, NotOurs, Summary, generate

__all__ = ["FIRST_DAY", "NotOurs", "Summary", "generate"]
