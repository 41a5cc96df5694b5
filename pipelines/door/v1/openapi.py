"""The OpenAPI document of `/v1`, from the models."""

from __future__ import annotations

from functools import cache
from typing import Any

from pydantic import BaseModel
from pydantic.json_schema import models_json_schema

from pipelines.door.v1.models import (
    Batch,
    HeldReply,
    Problem,
    Receipt,
    Record,
    RecordsReply,
    TokenReply,
    TokenRequest,
)
from pipelines.door.v1.problems import MEDIA
from pipelines.version import BUILD

_MODELS: tuple[type[BaseModel], ...] = (
    Batch,
    HeldReply,
    Problem,
    Receipt,
    Record,
    RecordsReply,
    TokenReply,
    TokenRequest,
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
                    "Batch",
                    key=True,
                )
            },
            "/v1/records/{costlistcode}": {
                "parameters": [_path("costlistcode", "结算清单编号 / settlement list code")],
                "put": _operation("更正记录 / correct a record", "RecordsReply", 202, "Record", key=True),
                "delete": _operation("撤回记录（暂不支持） / withdraw a record (not supported yet: 501)", "", 501),
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
        },
        "components": {
            "schemas": schemas["$defs"],
            "securitySchemes": {"token": {"type": "http", "scheme": "bearer"}},
        },
    }


def _operation(
    summary: str, reply: str, status: int, *bodies: str, secured: bool = True, key: bool = False
) -> dict[str, Any]:
    found: dict[str, Any] = {
        "summary": summary,
        "responses": {
            **({str(status): {"description": "ok", "content": {"application/json": _schema(reply)}}} if reply else {}),
            "default": {"description": "problem", "content": {MEDIA: _schema("Problem")}},
        },
    }
    if bodies:
        schema = _schema(bodies[0])
        if len(bodies) > 1:
            schema = {"schema": {"anyOf": [_schema(name)["schema"] for name in bodies]}}
        found["requestBody"] = {"required": True, "content": {"application/json": schema}}
    if secured:
        found["security"] = [{"token": []}]
    if key:
        found["parameters"] = [
            {"name": "Idempotency-Key", "in": "header", "schema": {"type": "string", "maxLength": 255}}
        ]
    return found


def _schema(name: str) -> dict[str, Any]:
    return {"schema": {"$ref": f"#/components/schemas/{name}"}}


def _query(name: str, description: str, *, required: bool = False) -> dict[str, Any]:
    return {"name": name, "in": "query", "required": required, "schema": {"type": "string"}, "description": description}


def _path(name: str, description: str) -> dict[str, Any]:
    return {"name": name, "in": "path", "required": True, "schema": {"type": "string"}, "description": description}
