"""`python -m pipelines.migrations`: print the body of the revision that the state's tables need now."""

from __future__ import annotations

import sys

from pipelines.migrations import draft

sys.stdout.write(draft() + "\n")
