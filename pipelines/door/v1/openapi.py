"""The OpenAPI document of `/v1`, from the models, with an example of each request and refusal (`examples`)."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from typing import Any

from pydantic import BaseModel
from pydantic.json_schema import models_json_schema

from pipelines.door.v1 import examples, models
from pipelines.door.v1.problems import MEDIA
from pipelines.version import BUILD

_MODELS: tuple[type[BaseModel], ...] = (
    models.Batch,
    models.ClosureDaysReply,
    models.ClosuresReply,
    models.HeldReply,
    models.Problem,
    models.Receipt,
    models.Record,
    models.RecordsReply,
    models.TokenReply,
    models.TokenRequest,
    models.Withdrawal,
    models.WithdrawalRequest,
)
_CORRECTION = (
    "同一结算清单编号下的新内容成为新版本，送往持有旧版本的每一方；内容相同则视为重复，同样成功。"
    " / The new content becomes a new version, which goes to everybody who holds an older one; the same content again"
    " is a duplicate, and succeeds."
)
_WITHDRAWAL = (
    "撤回成为该记录的新版本，只送往持有旧版本的各方；历史版本保留。再次撤回视为重复，同样成功；撤回后再次上传同一记录，"
    "该记录重新生效。没有可撤回的记录时，回执的状态为 dead，原因为 WITHDRAWAL_UNKNOWN。"
    " / A withdrawal becomes a new version of the record, which goes to those who hold an older one and to nobody else;"
    " the history stays. To withdraw again is a duplicate, and succeeds; a record that is sent again after it lives"
    " again. Where there is nothing to withdraw the receipt's state is dead, with the reason WITHDRAWAL_UNKNOWN. The"
    " reason may be given in the address instead (?reason=), for clients that send no body with DELETE."
)


@cache
def document() -> dict[str, Any]:
    """OpenAPI 3.1."""
    _, schemas = models_json_schema(
        [(model, "validation") for model in _MODELS], ref_template="#/components/schemas/{model}"
    )
    return {
        "openapi": "3.1.0",
        "info": {"title": "汽车维修电子健康档案 vingate /v1", "version": BUILD},
        "paths": {
            "/v1/token": {
                "post": _operation("获取令牌 / get a token", "TokenReply", 200, "TokenRequest", secured=False)
            },
            "/v1/records": {
                "post": _operation(
                    "上传维修记录：一条或一批 / send a record or a batch",
                    "RecordsReply",
                    202,
                    "Record",
                    "Withdrawal",
                    "Batch",
                    key=True,
                    shown=examples.SENT,
                )
            },
            "/v1/records/{costlistcode}": {
                "parameters": [_path("costlistcode", "结算清单编号 / settlement list code")],
                "put": {
                    **_operation(
                        "更正记录 / correct a record", "RecordsReply", 202, "Record", key=True, shown=examples.CORRECTED
                    ),
                    "description": _CORRECTION,
                },
                "delete": _withdrawal(),
            },
            "/v1/receipts/{receipt}": {
                "parameters": [_path("receipt", "回执编号 / id of the receipt")],
                "get": _operation("查询记录的去向 / what became of a record", "Receipt", 200),
            },
            "/v1/held": {
                "get": {
                    **_operation("查询已入库的本方记录 / list one's own records in the store", "HeldReply", 200),
                    "parameters": [
                        _query("since", "此时刻起收到的 / received since, ISO 8601 with a zone", required=True),
                        _query("cursor", "上一页的 next / next of the page before"),
                        _query("limit", "每页条数 / records of a page: 1 to 5,000"),
                    ],
                },
            },
            "/v1/closures": {
                "get": {
                    **_operation(
                        "查询本部门的排放维修闭环 / an environment department's closures", "ClosuresReply", 200
                    ),
                    "parameters": [
                        _query("from", "结算日期起 / settled on or after, ISO day"),
                        _query("to", "结算日期止 / settled on or before, ISO day"),
                        _query("district", "区划代码前 2 至 6 位 / first 2 to 6 digits of the M station's division"),
                        _query("vin", "车辆识别代号 / VIN; looking is logged"),
                        _query("cursor", "上一页的 next / next of the page before"),
                        _query("limit", "每页条数 / closures of a page: 1 to 1,000"),
                    ],
                },
            },
            "/v1/closures/days": {
                "get": {
                    **_operation(
                        "按日与区划的应有闭环数 / how many closures a department should have, by day and district",
                        "ClosureDaysReply",
                        200,
                    ),
                    "parameters": [
                        _query("from", "结算日期起 / settled on or after, ISO day", required=True),
                        _query("to", "结算日期止，至多 366 天 / settled on or before; at most 366 days", required=True),
                        _query("district", "区划代码前 2 至 6 位 / first 2 to 6 digits of the M station's division"),
                    ],
                },
            },
        },
        "components": {
            "schemas": schemas["$defs"],
            "securitySchemes": {"token": {"type": "http", "scheme": "bearer"}},
        },
    }


def _withdrawal() -> dict[str, Any]:
    shown = examples.WITHDRAWN
    found = _operation("撤回记录 / withdraw a record", "RecordsReply", 202, "WithdrawalRequest", key=True, shown=shown)
    found["description"] = _WITHDRAWAL
    found["requestBody"]["required"] = False
    told = "撤回原因，没有请求体时 / why, where there is no body"
    found["parameters"].append({"name": "reason", "in": "query", "schema": {"type": "string"}, "description": told})
    return found


def _operation(
    summary: str,
    reply: str,
    status: int,
    *bodies: str,
    secured: bool = True,
    key: bool = False,
    shown: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    found: dict[str, Any] = {
        "summary": summary,
        "responses": {
            str(status): {"description": "ok", "content": {"application/json": _schema(reply)}},
            **(_refusals() if key else {}),
            "default": {"description": "problem", "content": {MEDIA: _schema("Problem")}},
        },
    }
    if bodies:
        schema = _schema(bodies[0])
        if len(bodies) > 1:
            schema = {"schema": {"anyOf": [_schema(name)["schema"] for name in bodies]}}
        if shown:
            schema["examples"] = {name: {"value": value} for name, value in shown.items()}
        found["requestBody"] = {"required": True, "content": {"application/json": schema}}
    if secured:
        found["security"] = [{"token": []}]
    if key:
        found["parameters"] = [
            {"name": "Idempotency-Key", "in": "header", "schema": {"type": "string", "maxLength": 255}}
        ]
    return found


def _refusals() -> dict[str, Any]:
    """What a request that changes records may be refused with, each with an example."""
    return {
        status: {
            "description": description,
            "content": {MEDIA: {**_schema("Problem"), "examples": {"problem": {"value": dict(example)}}}},
        }
        for status, (description, example) in examples.REFUSED.items()
    }


def _schema(name: str) -> dict[str, Any]:
    return {"schema": {"$ref": f"#/components/schemas/{name}"}}


def _query(name: str, description: str, *, required: bool = False) -> dict[str, Any]:
    return {"name": name, "in": "query", "required": required, "schema": {"type": "string"}, "description": description}


def _path(name: str, description: str) -> dict[str, Any]:
    return {"name": name, "in": "path", "required": True, "schema": {"type": "string"}, "description": description}
