"""The service's own port: /healthz, /readyz and /metrics, from a thread of the supervisor."""

from __future__ import annotations

import json
import socket
import sys
import threading
from collections.abc import Callable
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from prometheus_client.exposition import CONTENT_TYPE_LATEST

from pipelines.errors import SettingsError
from pipelines.serving.logs import log
from pipelines.serving.pulse import Verdict

_MOST_THREADS = 16
_PATIENCE = 5.0


class Health:
    """The server. It answers from the moment when it is built until `close`.

    Raises:
        SettingsError: the port is taken or may not be used.
    """

    def __init__(
        self,
        host: str,
        port: int,
        health: Callable[[], Verdict],
        readiness: Callable[[], Verdict],
        metrics: Callable[[], bytes] | None,
    ) -> None:
        answers: dict[str, Callable[[], tuple[int, str, bytes]]] = {
            "/healthz": lambda: _verdict(health()),
            "/readyz": lambda: _verdict(readiness()),
        }
        if metrics is not None:
            page = metrics
            answers["/metrics"] = lambda: (HTTPStatus.OK, CONTENT_TYPE_LATEST, page())
        try:
            self._server = _Server((host, port), type("Handler", (_Handler,), {"answers": answers}))
        except OSError as error:
            message = (
                f"health.port {port}: 端口无法使用（{error.strerror}）；请换一个，或用 0 取任意空闲端口"
                f" / cannot be used ({error.strerror}); name another, or 0 for any free one"
            )
            raise SettingsError(message) from None
        threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.2}, daemon=True).start()

    @property
    def url(self) -> str:
        """Where it listens."""
        host, port = self._server.server_address[:2]
        shown = f"[{host!s}]" if ":" in str(host) else str(host)
        return f"http://{shown}:{port}"

    def close(self) -> None:
        """Stop listening."""
        self._server.shutdown()
        self._server.server_close()


def _verdict(verdict: Verdict) -> tuple[int, str, bytes]:
    told = {"ok": verdict.good, "problems": verdict.problems} | ({"share": verdict.share} if verdict.share else {})
    body = json.dumps(told, ensure_ascii=False).encode() + b"\n"
    code = HTTPStatus.OK if verdict.good else HTTPStatus.SERVICE_UNAVAILABLE
    return code, "application/json; charset=utf-8", body


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = False

    def __init__(self, address: tuple[str, int], handler: type[BaseHTTPRequestHandler]) -> None:
        self.address_family = socket.AF_INET6 if ":" in address[0] else socket.AF_INET
        self._room = threading.BoundedSemaphore(_MOST_THREADS)
        super().__init__(address, handler)

    def server_bind(self) -> None:
        """Bind without asking a name server for our name."""
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self.socket.bind(self.server_address)
        self.server_address = self.socket.getsockname()
        self.server_name, self.server_port = str(self.server_address[0]), int(self.server_address[1])

    def process_request(self, request: Any, client_address: Any) -> None:
        """One thread a request, but no more than `_MOST_THREADS` at a time."""
        if not self._room.acquire(timeout=_PATIENCE):
            self.shutdown_request(request)
            return
        super().process_request(request, client_address)

    def process_request_thread(self, request: Any, client_address: Any) -> None:
        """Give the place back when the request is answered."""
        try:
            super().process_request_thread(request, client_address)
        finally:
            self._room.release()

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A caller that went away is nothing to tell; anything else is."""
        if not isinstance(sys.exc_info()[1], OSError):
            log.error("health-failed", exc_info=True)


class _Handler(BaseHTTPRequestHandler):
    answers: dict[str, Callable[[], tuple[int, str, bytes]]]
    timeout = _PATIENCE
    server_version, sys_version = "vingate", ""

    def do_GET(self) -> None:
        """Answer one of the paths."""
        answer = self.answers.get(self.path.partition("?")[0])
        if answer is None:
            self._send(HTTPStatus.NOT_FOUND, "text/plain; charset=utf-8", "\n".join(self.answers).encode() + b"\n")
        else:
            self._send(*answer())

    def do_HEAD(self) -> None:
        """The same without its body."""
        self.do_GET()

    def _send(self, code: int, kind: str, body: bytes) -> None:
        self.send_response(code)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        self.send_header("Cache-Control", "no-store")
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def log_message(self, format: str, *args: Any) -> None:
        """Say nothing: probes come every few seconds."""
