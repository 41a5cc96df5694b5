"""`vingate explain`: where a vehicle's records go, by every routing table, and why."""

from __future__ import annotations

import tempfile
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

import typer

from mappings.dates import day_in_shanghai
from pipelines.cli.days import day
from pipelines.cli.out import AsJson, console, emit, wrong_use
from routing.dealers import Dealers
from routing.explaining import explain_vehicle
from routing.homes import MemoryRegistrations
from routing.table import SHIPPED, load_table


def explain(
    vin: Annotated[str, typer.Option(help="车辆识别代号 / the vehicle's VIN")],
    plate: Annotated[str, typer.Option(help="号牌 / its plate")] = "",
    company: Annotated[str, typer.Option(help="维修企业编码 / the shop's company code")] = "",
    on: Annotated[str, typer.Option(help="结算日期，默认今天 / settle date, default today: 2026-09-30")] = "",
    table: Annotated[
        list[str] | None, typer.Option(help="路由表名或文件，可多次 / a routing table or its file; repeatable")
    ] = None,
    system: Annotated[str, typer.Option(help="采集省 / the collecting province: 44, bt; default: the shop's")] = "",
    dealers: Annotated[Path | None, typer.Option(help="经销商名录 / the dealer register: CSV, NDJSON or TOML")] = None,
    oems: Annotated[Path | None, typer.Option(help="主机厂名单 / the OEM list; default: the shipped one")] = None,
    state: Annotated[Path | None, typer.Option(help="从此状态读取车籍 / read vehicle registrations there")] = None,
    as_json: AsJson = False,
) -> None:
    """某车的记录送往何处：列出每条规则、是否命中及原因 / where a vehicle's records go, by every rule, and why.

    [bold]示例 / examples:[/bold]

    vingate explain --vin LSVAA4180E2184587 --plate 粤B12345

    vingate explain --vin LSVAA4180E2184587 --plate 粤Z1234港 --company 440300000000001 --json
    """
    if not vin.strip():
        wrong_use("--vin 不能为空 / --vin must not be empty")
    found = explain_vehicle(
        vin,
        plate,
        company,
        day(on, "--on") if on else day_in_shanghai(datetime.now(UTC)),
        [load_table(name) for name in table or SHIPPED],
        _registrations(state),
        _dealers(str(dealers), str(oems or "")) if dealers else None,
        system=system,
    )
    if as_json:
        emit(found.as_json())
    else:
        console().print(found.text(), markup=False, soft_wrap=True)


def _dealers(register: str, listed: str) -> Dealers:
    from pipelines.workbench import read_dealers

    return read_dealers(register, listed)


def _registrations(folder: Path | None) -> MemoryRegistrations | None:
    """What the state knows of registrations, by the same snapshot that runs use."""
    if folder is None:
        return None
    from pipelines.registering import snapshot
    from pipelines.state import State
    from pipelines.workbench import read_registrations

    with State(folder, own=False) as state, tempfile.TemporaryDirectory(prefix="vingate-") as scratch:
        path = snapshot(state, Path(scratch) / "registrations.ndjson")
        return MemoryRegistrations(read_registrations(Path(path)) if path else [])
