"""`vingate page`: what the exchanges of a state did, as one HTML page."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from pipelines import ledger
from pipelines.cli.choosing import StateFolder
from pipelines.cli.out import AsJson, console, emit
from pipelines.picture import write_page
from pipelines.state import State


def page(
    state: StateFolder = Path("var/state"),
    out: Annotated[
        Path | None, typer.Option(help="页面文件，默认在状态目录 / file, by default beside the state")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """对账并写出图表页：各省、死信原因、各目的地平衡 / prove the ledger, and write a page of counts, map and balances.

    示例 / example: vingate page --state var/nation
    """
    with State(state, own=False) as held:
        problems = [str(one) for one in ledger.prove(held).problems]
        place = write_page(held, problems, out)
    if as_json:
        emit({"page": str(place), "balanced": not problems, "problems": problems})
    else:
        console().print(place.resolve().as_uri(), soft_wrap=True, markup=False)
    if problems:
        raise typer.Exit(1)
