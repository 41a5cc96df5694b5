"""The build that letters and the command line name."""

from __future__ import annotations

from importlib.metadata import PackageNotFoundError, version

try:
    BUILD = version("vingate")
except PackageNotFoundError:  # a checkout that was not installed
    BUILD = "0.0.0+checkout"
