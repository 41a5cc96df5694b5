"""`vingate derive`: what follows now for one vehicle, shop or model, worked out again from the stores."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from mappings.documents.credit import CreditEntry
from pipelines.cli.choosing import StateFolder
from pipelines.cli.out import AsJson, console, emit, wrong_use
from pipelines.deriving import DerivedSource
from pipelines.settings import load
from pipelines.workbench import make_source
from routing.cases.creditwords import explain


def derive(
    settings: Annotated[
        Path, typer.Argument(help="来源为 derived 的交换 / settings of an exchange that derives (.toml)")
    ],
    subject: Annotated[
        str, typer.Option(help="车辆识别代号、企业编码或车型前 8 位 / VIN, company code, or the model's 8 characters")
    ],
    overrides: Annotated[
        list[str] | None, typer.Option("--set", help="覆盖设置 a.b=值，可多次 / override a setting; repeatable")
    ] = None,
    state: StateFolder = Path("var/state"),
    as_json: AsJson = False,
) -> None:
    """按库中现有记录重新推导，不写入 / what follows now from what the stores hold; nothing is written or sent.

    信用记录逐行说明得分 / of a credit entry every line of its score is explained.

    示例 / example: vingate derive deploy/exchanges/credit.toml --subject 440103000000002 --state var/nation
    """
    source = make_source(load(settings, overrides or ()).placed(state))
    if not isinstance(source, DerivedSource):
        wrong_use(
            f"{settings} 的来源不是 derived；请选 deploy/exchanges 中的 credit、environment 等"
            f" / the source of {settings} is not derived: choose one such as deploy/exchanges/credit.toml"
        )
    found = source.following(subject)
    source.close()
    if as_json:
        for one in found:
            issuer, number, day, _ = one.identity
            emit({"kind": one.KIND, "issuer": issuer, "number": number, "day": day, "members": one.members()})
        return
    out = console()
    for one in found:
        out.print(f"{one.KIND} {one.identity.number} {one.identity.day}", style="bold", highlight=False, markup=False)
        for line in explain(one) if isinstance(one, CreditEntry) else ():
            out.print(f"  {line}", highlight=False, markup=False)
    out.print(f"共 {len(found)} 份 / {len(found)} documents")
