"""A door in a process of its own, for tests that kill it: `python door_process.py STATE SETTINGS-JSON LEVEL`."""

from __future__ import annotations

import json
import logging
import sys
from pathlib import Path

from door_kit import exchange

from pipelines.door.serving import serve_door
from pipelines.door.settings import DoorSettings


def main() -> None:
    """Print one line when ready, log to stderr from the level up, run until a signal comes."""
    logging.basicConfig(level=sys.argv[3], stream=sys.stderr)
    settings = DoorSettings.model_validate(json.loads(sys.argv[2]))
    serve_door(settings, Path(sys.argv[1]), exchange(), lambda urls: print(json.dumps(urls), flush=True))


if __name__ == "__main__":
    main()
