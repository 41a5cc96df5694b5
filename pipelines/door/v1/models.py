"""The JSON of `/v1`, as its OpenAPI document describes it. Records are judged by the mapping `record`, not here."""

from __future__ import annotations

from decimal import Decimal
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

MOST_RECORDS = 1_000
"""Records of one batch."""


class _Model(BaseModel):
    model_config = ConfigDict(frozen=True)


class Part(_Model):
    """配件 a part that was used."""

    name: str = Field(description="配件名称 / name")
    quantity: Decimal = Field(description="配件数量 / quantity")
    code: str = Field(description="配件编码 / code")


class Project(_Model):
    """维修项目 a job that was done."""

    name: str = Field(description="维修项目 / name")
    hours: Decimal = Field(description="维修工时 / working hours")


class Record(_Model):
    """维修记录 one settled repair visit: the 13 elements of JT/T 1132.2. The token says whose it is."""

    companyname: str = Field(description="维修企业名称 / name of the shop")
    plate: str = Field(description="车牌号码 / plate", examples=["浙AD12345"])
    vin: str = Field(description="车辆识别代号 / VIN", examples=["LRW3E7FS6PC834425"])
    repairdate: str = Field(description="送修日期 / day of reception", examples=["2024-03-18"])
    settledate: str = Field(description="结算日期 / day of settlement", examples=["2024-03-18"])
    mileage: Decimal = Field(description="送修里程 (km) / mileage")
    faultdescription: str = Field(description="故障描述 / what was wrong")
    costlistcode: str = Field(
        description="结算清单编号 / number of the settlement list; with the shop it names the record"
    )
    parts: list[Part] = Field(default=[], description="配件 / parts")
    projects: list[Project] = Field(default=[], description="维修项目 / jobs; a record has a part or a job at least")


class WithdrawalRequest(_Model):
    """撤回原因 why a record counts no longer."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    reason: str = Field(
        description="撤回原因，至多 200 字，不含个人信息 / why, at most 200 characters, without personal data",
        examples=["重复上传，以 WX240318008 为准"],
    )


class Withdrawal(_Model):
    """撤回 a withdrawal as it stands in a batch, between records: it is done in its turn."""

    costlistcode: str = Field(description="结算清单编号 / settlement list code of the record", examples=["WX240318007"])
    withdrawn: str = Field(description="撤回原因 / why", examples=["重复上传，以 WX240318008 为准"])


class Batch(_Model):
    """Up to 1,000 records or withdrawals; each stands for itself, and they are done in this order."""

    records: list[Record | Withdrawal] = Field(max_length=MOST_RECORDS)


class TokenRequest(_Model):
    """企业编码与密码 who asks for a token."""

    companycode: str
    companypassword: str


class TokenReply(_Model):
    """A token for `Authorization: Bearer`."""

    access_token: str
    token_type: Literal["Bearer"] = "Bearer"  # noqa: S105 - the scheme's name
    expires_in: int = Field(description="seconds")


class Remark(_Model):
    """A finding (docs: `vingate judge`)."""

    code: str
    severity: Literal["reject", "flag", "info"]
    field: str
    value: str
    expected: str
    message: str


class Taken(_Model):
    """What became of one record of a request."""

    index: int
    status: Literal["accepted", "refused"]
    receipt: str = Field(description="id for GET /v1/receipts/{id}; empty where nothing was kept")
    findings: list[Remark]


class RecordsReply(_Model):
    """What became of the records of a request, in its order. Accepted ones are durable."""

    accepted: int
    refused: int
    records: list[Taken]


class Arrived(_Model):
    """One destination of a record."""

    name: str
    outcome: str


class Receipt(_Model):
    """What became of a record since."""

    id: str
    state: Literal["waiting", "delivered", "partly", "pending", "filtered", "duplicate", "dead", "unknown"]
    received_at: str
    version: int = Field(default=0, description="0: none yet")
    destinations: list[Arrived] = []
    reasons: list[Remark] = []


class Standing(_Model):
    """One version of a record that stands in the store."""

    key: str = Field(description="system|companycode|costlistcode")
    version: int
    content: str = Field(description="digest of the content, hex")
    received_at: str


class HeldReply(_Model):
    """A page of what stands in the store of a caller's records; no order by time."""

    records: list[Standing]
    next: str = Field(default="", description="cursor of the next page; empty: this was the last one")


class ClosureOf(_Model):
    """闭环 one emission repair that closes a failed test; what the agreement withholds is left out."""

    vin: str = ""
    day: str = Field(default="", description="结算日期 / day of settlement, ISO")
    version: int
    content: str = Field(description="digest of the content, hex")
    members: dict[str, Any] = Field(default={}, description="闭环内容 / what RepairInfo_M and its lists hold")


class ClosuresReply(_Model):
    """A page of closures; it may be empty and have a next one."""

    closures: list[ClosureOf]
    next: str = Field(default="", description="cursor of the next page; empty: this was the last one")


class ClosuresOfDay(_Model):
    """一日一区划的闭环数 how many closures stand of a day and district."""

    day: str = Field(description="结算日期 / day of settlement, ISO")
    district: str = Field(description="维护站区划 / division of the M station; empty: unknown")
    due: int = Field(description="应有闭环数 / closures that the department should have")


class ClosureDaysReply(_Model):
    """What a department should have, by day and district."""

    days: list[ClosuresOfDay]


class Problem(_Model):
    """RFC 9457 problem, with every finding."""

    type: str
    title: str
    status: int
    detail: str = ""
    findings: list[Remark] = []
