"""`vingate cases`: what is open, late, unmatched or out of order, from a store of cases."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any

import typer
from pydantic import SecretStr
from rich.table import Table

from mappings.dates import day_in_shanghai
from mappings.documents.claims import ClaimComparison
from mappings.documents.credit import CreditEntry
from mappings.documents.creditfile import sign_file
from mappings.documents.imcases import FINDINGS, ImCase
from mappings.documents.waste import WasteCase
from pipelines.casebook import current
from pipelines.certificates import private_key
from pipelines.cli import closures, matching
from pipelines.cli.days import day as day_of
from pipelines.cli.out import AsJson, console, emit, wrong_use
from routing.cases.emissionreports import PassRate, not_m_stations, overdue, pass_rates, remarked, to_match

app = typer.Typer(no_args_is_help=True, rich_markup_mode="rich")
app.command()(closures.closures)
app.command()(matching.match)
app.command()(matching.unmatch)

_Store = Annotated[
    str, typer.Option("--store", help="案件库地址，或 env:NAME、file:PATH / address of the store of cases")
]
_SHOWN = 20


@app.command()
def emissions(
    store: _Store = "sqlite:///var/nation/stores/cases-44.db",
    on: Annotated[str, typer.Option(help="以哪一天计逾期，默认今天 / day for what is overdue; default: today")] = "",
    as_json: AsJson = False,
) -> None:
    """排放维修案件：逾期、待匹配、非维护站、复检合格率 / emission cases: overdue, to be matched, stations, pass rates.

    示例 / example: vingate cases emissions --store sqlite:///var/nation/stores/cases-44.db --on 2026-11-01
    """
    cases = list(current(SecretStr(store), ImCase))
    late = overdue(cases, day_of(on, "--on") if on else day_in_shanghai(datetime.now(UTC)))
    rates, again = pass_rates(cases), pass_rates(cases, "tester")
    others, queue = not_m_stations(cases), to_match(cases)
    remarks = {code: found for code in FINDINGS if (found := remarked(cases, code))}
    told: dict[str, Any] = {
        "cases": len(cases),
        "states": dict(sorted(Counter(case.state for case in cases).items())),
        "findings": {code: len(found) for code, found in sorted(remarks.items())},
        "remarked": {
            code: [{"issuer": one.issuer, "number": one.number, "state": one.state} for one in found]
            for code, found in remarks.items()
        },
        "overdue": [{"issuer": one.case.issuer, "number": one.case.number, "days": one.days} for one in late],
        "to_match": [
            {"issuer": one.issuer, "number": one.number, "repair": one.events[0].ref, "named": one.named,
             "candidates": list(one.candidates)} for one in queue
        ],
        "not_m_stations": {shop: len(repairs) for shop, repairs in others.items()},
        "pass_rates": [one._asdict() for one in rates],
        "pass_rates_by_tester": [one._asdict() for one in again],
    }  # fmt: skip
    if as_json:
        emit(told)
        return
    out = console()
    out.print(f"{told['cases']} 案 / cases: " + ", ".join(f"{name} {count}" for name, count in told["states"].items()))
    for code, found in remarks.items():
        zh, en = FINDINGS[code]
        out.print(f"{code} {len(found)}: {zh} / {en}", highlight=False)
        for case in found[:_SHOWN]:
            out.print(f"  {case.issuer} {_named(case)}", highlight=False)
    out.print(f"逾期 / overdue: {len(late)}；待人工匹配 / to be matched: {len(queue)}")
    for one in late[:_SHOWN]:
        out.print(f"  {one.case.issuer} {_named(one.case)}: {one.days} 天 / days", highlight=False)
    for case in queue[:_SHOWN]:
        out.print(f"  {case.issuer} {_named(case)}: {case.named or '-'}", highlight=False)
    out.print(_rates("复检合格率，按维护站 / pass rate at the next test, by M station", rates))
    out.print(_rates("复检合格率，按检验机构 / by I station that tested again", again))


def _rates(title: str, rates: Sequence[PassRate]) -> Table:
    table = Table(box=None, title=title, title_justify="left")
    for head in ("站 station", "维修 repairs", "复检 tested", "合格 passed", "%"):
        table.add_column(head, justify="right")
    for rate in rates[:_SHOWN]:
        shown = str(rate.rate) if rate.rate is not None else "-"
        table.add_row(rate.station, str(rate.repairs), str(rate.tested), str(rate.passed), shown)
    return table


@app.command()
def waste(
    store: _Store = "sqlite:///var/nation/stores/cases-44.db",
    as_json: AsJson = False,
) -> None:
    """废物异常：每企业每原因的件数与证据 / waste cases: by shop and reason, each with the records it rests on.

    示例 / example: vingate cases waste --store sqlite:///var/nation/stores/cases-44.db --json
    """
    cases = list(current(SecretStr(store), WasteCase))
    if as_json:
        emit({"cases": [case.members() for case in cases]})
        return
    counts = Counter((case.issuer, case.reason, case.severity) for case in cases)
    table = Table(box=None)
    for head in ("企业 shop", "原因 reason", "程度 severity", "件数 cases"):
        table.add_column(head)
    for (shop, reason, severity), count in sorted(counts.items()):
        table.add_row(shop, reason, severity, str(count))
    console().print(table)


@app.command()
def claims(
    store: _Store = "sqlite:///var/nation/stores/cases-44.db",
    report: Annotated[str, typer.Option(help="仅此报案号 / only this report number")] = "",
    as_json: AsJson = False,
) -> None:
    """直赔核对的差异：配件数量与工时逐行比较 / claims: lines of parts and hours that differ from what was approved.

    示例 / example: vingate cases claims --store sqlite:///var/nation/stores/cases-44.db
    """
    compared = [one for one in current(SecretStr(store), ClaimComparison) if report in ("", one.report_no)]
    differing = [one for one in compared if one.differing]
    if as_json:
        emit({"compared": len(compared), "differing": [one.members() for one in differing]})
        return
    out = console()
    out.print(f"已核对 / compared: {len(compared)}；有差异 / differing: {len(differing)}")
    table = Table(box=None)
    for head in (
        "报案号 report",
        "企业 shop",
        "结算单 list",
        "项目 line",
        "实际 repaired",
        "核定 approved",
        "结果 remark",
    ):
        table.add_column(head, overflow="fold")
    for one in differing:
        for line in one.differences:
            amounts = ("-" if amount is None else str(amount) for amount in (line.repaired, line.approved))
            shown = line.name or line.code or "-"
            table.add_row(one.report_no, one.companycode, one.costlistcode, shown, *amounts, line.remark)
    out.print(table)


@app.command("credit-file")
def credit_file(
    key: Annotated[Path, typer.Option(help="签名私钥 Ed25519，PEM / the signing key, Ed25519 in PEM")],
    sender: Annotated[str, typer.Option(help="发送方 / who sends it")] = "44",
    on: Annotated[str, typer.Option(help="文件日期，默认今天 / day of the file; default: today")] = "",
    serial: Annotated[int, typer.Option(min=1, max=9999, help="当日第几份 / its number on that day")] = 1,
    period: Annotated[str, typer.Option(help="仅此周期，如 2026-09 / only this period")] = "",
    out: Annotated[Path, typer.Option(help="输出目录 / folder")] = Path("credit-files"),
    store: _Store = "sqlite:///var/nation/stores/cases-44.db",
    as_json: AsJson = False,
) -> None:
    """把信用记录写成带签名的日期文件 / write credit entries as a dated, signed file and its detached signature.

    同名文件内容不同时不覆盖 / a file of that day and number that holds other entries is not written over.

    示例 / example: vingate cases credit-file --key signing.pem --period 2026-09
    """
    signing = private_key(key)
    entries = [one for one in current(SecretStr(store), CreditEntry) if period in ("", one.period)]
    if not entries:
        wrong_use(_no_entries(store, period))
    day = day_of(on, "--on") if on else day_in_shanghai(datetime.now(UTC))
    made = sign_file(entries, sender, day, serial, signing)
    out.mkdir(parents=True, exist_ok=True)
    place = out / made.name
    signature = place.with_name(f"{made.name}.sig")
    if place.exists() and place.read_bytes() != made.body:
        wrong_use(
            f"{place} 已有不同内容，可能已发出；请用 --serial 另取当日序号，或 --out 换目录"
            f" / it holds other entries and may have been sent: take another --serial of the day, or another --out"
        )
    place.write_bytes(made.body)
    signature.write_bytes(made.signature)
    if as_json:
        emit({"file": str(place), "signature": str(signature), "entries": len(entries)})
    else:
        console().print(f"{place}（{len(entries)} 条 / entries）, {signature}", soft_wrap=True, markup=False)


def _no_entries(store: str, period: str) -> str:
    there = sorted({one.period for one in current(SecretStr(store), CreditEntry)}) if period else []
    return (
        f"没有信用记录可写；库中的周期：{'、'.join(there) or '无'}"
        f" / there are no entries to write; periods in the store: {', '.join(there) or 'none'}"
    )


def _named(case: ImCase) -> str:
    """The number of a case without its vehicle: a VIN is nobody's business who did not ask for it."""
    return case.number.replace(case.vin, f"{case.vin[:3]}…{case.vin[-4:]}") if case.vin else case.number
