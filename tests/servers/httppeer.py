"""A peer that is called over HTTP, for tests: it takes records, gives tokens and pages, and fails as it is told to.

One server in a thread serves a worker's tests; each test has a `Hub` of its own, which is the first part of the path.

    with serving() as server:
        hub = server.hub("mine")
        hub.faults += ["500", "cut"]       # what the next calls meet
        httpx.post(f"{hub.url}/records", ...)
"""

from __future__ import annotations

import asyncio
import threading
import time
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import orjson
import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, RedirectResponse, Response
from starlette.routing import Route
from starlette.types import Receive, Scope, Send

from connectors.contracts import Delivery, fingerprint
from connectors.jsonpaths import raw_at, raw_elements

USER, PASSWORD = "330103000000001", "correct horse/电池"


@dataclass
class Call:
    """A call that arrived."""

    method: str
    path: str
    query: dict[str, str]
    headers: dict[str, str]
    body: bytes


@dataclass
class Hub:
    """What one test's peer holds, and how it behaves."""

    url: str
    calls: list[Call] = field(default_factory=list)
    faults: deque[str] = field(default_factory=deque)
    """What the next calls meet: `429`, `429:SECONDS`, `stall`, `cut`, `lost` (done, and the answer cut), `drip`,
    `huge`, `html`, `packed`, `to:PATH`, `at:STATUS:LOCATION`."""
    always: str = ""
    """A fault that every call meets."""
    tokens: set[str] = field(default_factory=set)
    logins: int = 0
    word: str = PASSWORD
    token_seconds: int = 0
    taken: dict[str, Delivery] = field(default_factory=dict)
    plain: bool = False
    """Whether what it holds is known to it, whichever batch it came with: a peer that has never heard of batches."""
    contents: dict[tuple[str, int], str] = field(default_factory=dict)
    room: int = 1 << 30
    """Deliveries that `/full/records` has room for."""
    answers: deque[Any] = field(default_factory=deque)
    """What `/say` answers: JSON, or its bytes, one a call; the last one stays."""
    rows: list[bytes] = field(default_factory=list)
    """JSON of the elements that `/page` gives."""
    shape: str = "offset"
    etag: bool = False
    lock: threading.Lock = field(default_factory=threading.Lock)

    def paths(self) -> list[str]:
        """Paths that were called, in order."""
        return [one.path for one in self.calls]


class Server:
    """The running server."""

    def __init__(self) -> None:
        self.hubs: dict[str, Hub] = {}
        self.port = 0
        self.released = threading.Event()

    def hub(self, name: str) -> Hub:
        """The hub of a name; made when first asked for."""
        return self.hubs.setdefault(name, Hub(f"http://127.0.0.1:{self.port}/{name}"))


async def _cut(scope: Scope, receive: Receive, send: Send) -> None:
    """Half an answer, and no more."""
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"1000")]})
    await send({"type": "http.response.body", "body": b'{"results": [', "more_body": True})
    raise ConnectionError


async def _drip(scope: Scope, receive: Receive, send: Send) -> None:
    """An answer that never ends, a byte at a time."""
    await send({"type": "http.response.start", "status": 200, "headers": []})
    for _ in range(500):
        await send({"type": "http.response.body", "body": b" ", "more_body": True})
        await asyncio.sleep(0.02)


class _Dripping(Response):
    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await _drip(scope, receive, send)


class _Cutting(Response):
    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await _cut(scope, receive, send)


def _application(server: Server) -> Starlette:
    async def answer(request: Request) -> Response:
        hub = server.hub(request.path_params["hub"])
        path = "/" + request.path_params["path"]
        body = await request.body()
        hub.calls.append(Call(request.method, path, dict(request.query_params), dict(request.headers), body))
        fault = hub.faults.popleft() if hub.faults else hub.always
        if fault and fault != "lost":
            return await _failing(server, fault)
        with hub.lock:
            told = _route(hub, path, request, body)
        return _Cutting() if fault else told

    return Starlette(routes=[Route("/{hub}/{path:path}", answer, methods=["GET", "POST", "PUT", "DELETE"])])


async def _failing(server: Server, fault: str) -> Response:
    name, _, rest = fault.partition(":")
    if name == "stall":
        while not server.released.is_set():
            await asyncio.sleep(0.02)
        return Response(status_code=503)
    if name == "cut":
        return _Cutting()
    if name == "drip":
        return _Dripping()
    if name == "huge":
        return Response(b"x" * (4 << 20), media_type="application/json")
    if name == "html":
        return Response("<html>登录</html>", media_type="text/html")
    if name == "packed":
        return Response(b"\x1f\x8b" + b"0" * 50, headers={"Content-Encoding": "gzip"})
    if name == "at":
        status, _, address = rest.partition(":")
        return JSONResponse({"code": "ok"}, int(status), headers={"Location": address})
    if name == "to":
        return RedirectResponse(rest, status_code=307)
    headers = {"Retry-After": rest} if rest else {}
    return JSONResponse({"message": f"fault {name}"}, status_code=int(name), headers=headers)


def _route(hub: Hub, path: str, request: Request, body: bytes) -> Response:
    if path.endswith("/records"):
        return _records(hub, body, hub.room if path.startswith("/full") else 1 << 30)
    if path == "/tally":
        return _tally(hub, request.query_params["batch"])
    if path == "/held":
        return _held(hub, request)
    if path == "/token":
        return _token(hub, body)
    if path == "/guarded":
        given = request.headers.get("authorization", "").removeprefix("Bearer ")
        return JSONResponse({"code": "ok"}, status_code=200 if given in hub.tokens else 401)
    if path.startswith("/restservices/lcipprodatarest/"):
        return _national(hub, path.split("/")[3], body)
    if path == "/page":
        return _page(hub, request)
    if path == "/confirm":
        gone = set(orjson.loads(body)["keys"])
        hub.rows = [one for one in hub.rows if orjson.loads(one)["id"] not in gone]
        return Response(status_code=204)
    if path == "/say":
        said = hub.answers[0] if len(hub.answers) == 1 else hub.answers.popleft()
        return Response(said, media_type="application/json") if isinstance(said, bytes) else JSONResponse(said)
    return Response(status_code=200 if path == "/" else 404)


def _records(hub: Hub, body: bytes, room: int) -> Response:
    results = []
    for one in raw_elements(raw_at(body, "records") or b"[]"):
        about = orjson.loads(one)
        given = Delivery(
            about["id"], about["destination"], about["key"], about["version"], about["content"],
            raw_at(one, "data") or b"", about["batch"], about["merged_into"],
        )  # fmt: skip
        results.append({"id": given.id, **_one(hub, given, room)})
    return JSONResponse({"results": results})


def _one(hub: Hub, given: Delivery, room: int) -> dict[str, str]:
    before = hub.taken.get(given.id)
    if before is not None:
        return {"code": "ok" if before.batch == given.batch and not hub.plain else "known"}
    if hub.contents.get((given.key, given.version), given.content) != given.content:
        return {"code": "VERSION_CONFLICT", "message": "该版本已有不同内容"}
    if len(hub.taken) >= room:
        return {"code": "full", "message": "没有空间"}
    hub.taken[given.id] = given
    hub.contents[given.key, given.version] = given.content
    return {"code": "ok"}


def _tally(hub: Hub, batch: str) -> Response:
    found = [fingerprint(one) for one in hub.taken.values() if one.batch == batch]
    return JSONResponse({"count": len(found), "digest": str(sum(found) % 2**64)})


def _held(hub: Hub, request: Request) -> Response:
    """What it took, three a page; the tests lose, change and invent by hand (`taken`)."""
    start = int(request.query_params.get("cursor") or 0)
    rows = list(hub.taken.values())
    told = [{"key": one.key, "content": one.content} for one in rows[start : start + 3]]
    return JSONResponse({"records": told, "next": str(start + 3) if start + 3 < len(rows) else None})


def _token(hub: Hub, body: bytes) -> Response:
    given = orjson.loads(body)
    hub.logins += 1
    if given != {"user": USER, "password": hub.word}:
        return JSONResponse({"code": "0", "status": f"密码 {given['password']} 有误"})
    token = f"T{hub.logins:063X}"
    hub.tokens.add(token)
    return JSONResponse({"code": "1", "access_token": token, "expires_in": hub.token_seconds or 600})


def _national(hub: Hub, method: str, body: bytes) -> Response:
    given = orjson.loads(body)
    if method == "lcipprogetaccesstoken":
        code, word = given["companycode"], given["companypassword"]
        renamed = orjson.dumps({"user": code, "password": word})
        return _token(hub, renamed)
    if given["access_token"] not in hub.tokens:
        return JSONResponse({"code": "0", "status": "access_token无效"})
    if given["basicInfo"]["vin"] == "":
        return JSONResponse({"code": "0", "status": "车辆识别代码不能为空；工时有误"})
    return JSONResponse({"code": "1", "status": "新增成功"})


def _page(hub: Hub, request: Request) -> Response:
    """Rows by offset, by the id behind which to go on, by page number, or all that are there (a queue)."""
    limit = int(request.query_params.get("limit", "100"))
    cursor = request.query_params.get("cursor", "")
    more: dict[str, Any] = {}
    if hub.shape == "offset":
        start = int(cursor or 0)
        more = {"next": str(start + limit)} if start + limit <= len(hub.rows) else {}
    elif hub.shape == "since":
        ids = [str(orjson.loads(one)["id"]) for one in hub.rows]
        start = ids.index(cursor) + 1 if cursor else 0
    elif hub.shape == "pages":
        start = (int(cursor or 1) - 1) * limit
    else:
        start = 0
    chosen = hub.rows[start : start + limit]
    tag = f'"{hash(tuple(chosen))}"' if hub.etag else ""
    if tag and request.headers.get("if-none-match") == tag:
        return Response(status_code=304)
    data = b'{"data": {"rows": [' + b",".join(chosen) + b'], "next": ' + orjson.dumps(more.get("next")) + b"}}"
    return Response(data, media_type="application/json", headers={"ETag": tag} if tag else {})


@contextmanager
def serving(**options: Any) -> Iterator[Server]:
    """The server, while it lasts. `options` are uvicorn's (certificates)."""
    made = Server()
    config = uvicorn.Config(
        _application(made), host="127.0.0.1", port=0, log_config=None, access_log=False, lifespan="off", ws="none",
        timeout_graceful_shutdown=1, loop="asyncio", http="h11", **options,
    )  # fmt: skip
    running = uvicorn.Server(config)
    thread = threading.Thread(target=running.run, daemon=True)
    thread.start()
    end = time.monotonic() + 60
    while not running.started and thread.is_alive() and time.monotonic() < end:
        time.sleep(0.005)
    made.port = running.servers[0].sockets[0].getsockname()[1]
    try:
        yield made
    finally:
        made.released.set()
        running.should_exit = True
        thread.join(30)
