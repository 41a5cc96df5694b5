"""`vingate version`."""

from __future__ import annotations

import platform

import typer

from pipelines.cli.out import AsJson, emit
from pipelines.version import BUILD


def version(as_json: AsJson = False) -> None:
    """版本 / the version of vingate, and of the Python that it runs on.

    示例 / example: vingate version --json
    """
    if as_json:
        emit({"vingate": BUILD, "python": platform.python_version()})
    else:
        typer.echo(f"vingate {BUILD} (Python {platform.python_version()})")
