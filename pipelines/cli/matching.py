"""`vingate cases match` and `unmatch`: a person decides which test an emission repair belongs to, or takes it back."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

import typer
from pydantic import SecretStr

from mappings.dates import SHANGHAI
from mappings.reportnumbers import folded
from mappings.vin import normalise
from pipelines.cli.out import AsJson, console, emit, wrong_use
from pipelines.imdeciding import Decider, decided, hand_in, payloads, standing, undone

_Repair = Annotated[
    str,
    typer.Option("--repair", help="维修记录的键：系统|企业|清单号 / record key of the repair, as the case shows it"),
]
_Office = Annotated[str, typer.Option(help="作出决定的机构 / the office that decides")]
_By = Annotated[str, typer.Option("--by", help="决定人工号，非姓名 / who decides: a number of staff, not a name")]
_Reason = Annotated[str, typer.Option(help="理由，不含个人信息 / why, without personal data")]
_Documents = Annotated[str, typer.Option("--documents", help="单证库地址 / address of the store of documents")]
_Into = Annotated[Path, typer.Option("--into", help="outside-in 读取的目录 / folder that outside-in reads")]
_DOCUMENTS, _INTO = "sqlite:///var/nation/stores/documents-44.db", Path("var/nation/partners/outside")


def match(
    repair: _Repair,
    by: _By,
    reason: _Reason,
    report: Annotated[str, typer.Option(help="所属检验报告编号 / number of the report that it answers")] = "",
    vin: Annotated[str, typer.Option("--vin", help="受检车辆的 VIN / VIN of the vehicle that was tested")] = "",
    none: Annotated[bool, typer.Option("--none", help="不属于任何检验 / it belongs to no test")] = False,
    office: _Office = "44",
    repairs: Annotated[str, typer.Option(help="维修库地址 / address of the store of repairs")] = (
        "sqlite:///var/nation/stores/province-44.db"
    ),
    documents: _Documents = _DOCUMENTS,
    into: _Into = _INTO,
    as_json: AsJson = False,
) -> None:
    """判定维修属于哪次检验：写成事实，下次 outside-in 与 environment 运行生效 / decide which test a repair belongs to.

    再次判定即为新版本，旧决定保留 / deciding again makes a new version, the old one is kept.

    示例 / example: vingate cases match --repair "44|440103000000002|JS1" --report 440100112609041952540972 \
--vin LSVAL41Z882104202 --by 1007 --reason "报告编号录错一位"
    """
    if none == bool(report) or bool(report) != bool(vin):
        wrong_use("请给出 --report 与 --vin，或 --none / give --report and --vin, or --none")
    decider = _decider(office, by, reason)
    chosen = (folded(report), normalise(vin)) if report else None
    made = decided(SecretStr(repairs), repair, chosen, decider)
    lines = payloads(made, standing(SecretStr(documents), repair))
    _done(hand_in(lines, into, decider.at), len(lines), as_json=as_json)


def unmatch(
    repair: _Repair,
    by: _By,
    reason: _Reason,
    office: _Office = "44",
    documents: _Documents = _DOCUMENTS,
    into: _Into = _INTO,
    as_json: AsJson = False,
) -> None:
    """撤回对一条维修的判定：决定与撤回均保留 / take back what was decided about a repair; both are kept.

    示例 / example: vingate cases unmatch --repair "44|440103000000002|JS1" --by 1007 --reason "判定有误"
    """
    before = standing(SecretStr(documents), repair)
    if not before:
        wrong_use(f"没有对它的判定 / nothing was decided about it: {repair}")
    decider = _decider(office, by, reason)
    lines = undone(before, decider)
    _done(hand_in(lines, into, decider.at), len(lines), as_json=as_json)


def _decider(office: str, by: str, reason: str) -> Decider:
    if not (office.strip() and by.strip() and reason.strip()):
        wrong_use("--office、--by、--reason 不能为空 / must not be empty")
    return Decider(office.strip(), by.strip(), datetime.now(UTC).astimezone(SHANGHAI), reason.strip())


def _done(place: Path, count: int, *, as_json: bool) -> None:
    if as_json:
        emit({"file": str(place), "payloads": count})
        return
    console().print(
        f"{place}（{count} 条 / payloads）；下次运行 outside-in 与 environment 时生效"
        " / it counts from the next runs of outside-in and environment on",
        soft_wrap=True, markup=False,
    )  # fmt: skip
