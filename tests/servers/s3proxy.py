"""An S3 server of the tests' own: S3Proxy over a folder, a Java process that checks signatures and pages listings.

    with serving(folder) as server:
        server.bucket("records")
        server.settings("records", "in")     # what a connector needs to be let in
        server.client.put_object(...)        # the SDK's own client, for what tests do by hand

It dies with who started it. `Gate` stands before it where a test wants to count calls, or have some of them fail.
"""

from __future__ import annotations

import http.client
import os
import ssl
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager, suppress
from functools import cached_property
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from botocore.config import Config
from botocore.session import Session

from pipelines.local import processes

HOME = Path(__file__).parents[2] / "var" / "s3proxy"
KEY, SECRET = "vingate-tests", "correct horse/电池+staple"
_SETTINGS = """
s3proxy.endpoint=http://127.0.0.1:{port}
s3proxy.authorization=aws-v2-or-v4
s3proxy.identity={key}
s3proxy.credential={secret}
jclouds.provider=filesystem-nio2
jclouds.filesystem.basedir={data}
"""
_LOGGING = """<configuration>
<appender name="E" class="ch.qos.logback.core.ConsoleAppender">
<encoder><pattern>%level %msg%n</pattern></encoder>
</appender>
<root level="warn"><appender-ref ref="E"/></root>
</configuration>"""


class Server:
    """The server; it can be stopped and started again on its port."""

    def __init__(self, folder: Path, options: Sequence[str]) -> None:
        self.folder, self.options = folder, options
        self.data = folder / "data"
        self.data.mkdir(parents=True)
        (folder / "logback.xml").write_text(_LOGGING)
        self.port = processes.free_ports(1)[0]
        self._process: Any = None

    def start(self) -> None:
        """Start it, and wait until it answers."""
        if not (HOME / ".ready").exists():
            message = f"no S3 server in {HOME}: run scripts/objectstore"
            raise RuntimeError(message)
        text = _SETTINGS.format(port=self.port, key=KEY, secret=_escaped(SECRET), data=self.data)
        (self.folder / "settings").write_text(text, "ascii")
        command = ["java", "-Xmx256m", "-XX:+UseSerialGC", *self.options,
                   f"-Dlogback.configurationFile={self.folder / 'logback.xml'}", "-cp", f"{HOME}/*",
                   "org.gaul.s3proxy.Main", "--properties", self.folder / "settings"]  # fmt: skip
        self._process = processes.spawn(command, os.environ, self.folder / "log")
        processes.wait_for(self._answers, f"S3Proxy: {self.folder / 'log'}")

    def _answers(self) -> bool:
        if self._process.poll() is not None:
            raise RuntimeError((self.folder / "log").read_text()[-2000:])
        calling = closing(http.client.HTTPConnection("127.0.0.1", self.port, timeout=10))
        with suppress(OSError, http.client.HTTPException), calling as opened:
            opened.request("GET", "/")
            return opened.getresponse().status == 403
        return False

    def stop(self) -> None:
        """Kill it, as an outage does."""
        self._process.kill()
        self._process.wait()

    @contextmanager
    def away(self) -> Iterator[None]:
        """While it lasts, nobody answers; afterwards it is there again, with what it held."""
        self.stop()
        try:
            yield
        finally:
            self.start()

    @cached_property
    def client(self) -> Any:
        """The SDK's client, for what tests do by hand."""
        style = Config(s3={"addressing_style": "path"}, request_checksum_calculation="when_required")
        keys = {"aws_access_key_id": KEY, "aws_secret_access_key": SECRET}
        endpoint = f"http://127.0.0.1:{self.port}"
        return Session().create_client("s3", region_name="us-east-1", endpoint_url=endpoint, config=style, **keys)

    def bucket(self, name: str) -> str:
        """A new bucket's name."""
        self.client.create_bucket(Bucket=name)
        return name

    def settings(self, bucket: str, prefix: str, port: int = 0) -> dict[str, Any]:
        """What a connector needs to be let in."""
        return {
            "url": f"s3://{bucket}/{prefix}",
            "endpoint": f"http://127.0.0.1:{port or self.port}",
            "access_key": KEY,
            "secret_key": SECRET,
        }

    def lay(self, bucket: str, key: str, content: bytes, md5: bytes | None = None) -> None:
        """An object laid into the server's folder by hand, much quicker than a call; without `md5` it has no ETag."""
        place = self.data / bucket / key
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_bytes(content)
        if md5 is not None:
            os.setxattr(place, "user.user.content-md5", md5)


def _escaped(text: str) -> str:
    return text.encode("ascii", "backslashreplace").decode()


@contextmanager
def serving(folder: Path, options: Sequence[str] = ("-XX:TieredStopAtLevel=1",)) -> Iterator[Server]:
    """The server, while it lasts; `options` are those of Java, by default for a quick start."""
    server = Server(folder, options)
    server.start()
    try:
        yield server
    finally:
        server.client.close()
        server.stop()


class Gate:
    """Hands every call on to the server, counts them, and lets some fail: `port` is its own.

    `faults` is asked for each call, as `METHOD path?query`: what it answers is done instead. `503`, `403` and the like
    are refusals with a code of S3 in them; `half` is half of the answer's body, and then the end of the connection;
    `none` is that end at once.
    """

    def __init__(self, target: int, context: ssl.SSLContext | None = None) -> None:
        self.calls: list[str] = []
        self.faults: Callable[[str], str] = lambda call: ""
        gate = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def handle_any(self) -> None:
                gate.hand_on(self, target)

            do_GET = do_PUT = do_HEAD = do_DELETE = do_POST = handle_any  # noqa: N815 - the library's names

            def log_message(self, *_: Any) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        if context is not None:
            self._server.socket = context.wrap_socket(self._server.socket, server_side=True)
        self.port = int(self._server.server_address[1])
        threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()

    def hand_on(self, handler: BaseHTTPRequestHandler, target: int) -> None:
        """One call, there and back."""
        call = f"{handler.command} {handler.path}"
        self.calls.append(call)
        body = handler.rfile.read(int(handler.headers.get("content-length") or 0))
        fault = self.faults(call)
        if fault.partition(" ")[0].isdecimal():
            status, _, code = fault.partition(" ")
            said = f"<Error><Code>{code}</Code><Message>as the test wants it</Message></Error>".encode()
            self._answer(handler, int(status), [("content-type", "application/xml")], said)
            return
        if fault == "none":
            handler.close_connection = True
            handler.connection.close()
            return
        calling = http.client.HTTPConnection("127.0.0.1", target, timeout=60)
        calling.putrequest(handler.command, handler.path, skip_host=True, skip_accept_encoding=True)
        for name, value in handler.headers.items():
            calling.putheader(name, value)
        calling.endheaders(body)
        answer = calling.getresponse()
        data, headers = answer.read(), [h for h in answer.getheaders() if h[0].lower() not in _OURS]
        if handler.command == "HEAD":
            headers.append(("content-length", answer.headers["content-length"] or "0"))
        self._answer(handler, answer.status, headers, data, half=fault == "half")
        calling.close()

    @staticmethod
    def _answer(
        handler: BaseHTTPRequestHandler, status: int, headers: list[tuple[str, str]], data: bytes, *, half: bool = False
    ) -> None:
        handler.send_response_only(status)
        for name, value in headers:
            handler.send_header(name, value)
        if handler.command != "HEAD":
            handler.send_header("content-length", str(len(data)))
        handler.end_headers()
        if handler.command != "HEAD" or half:
            handler.wfile.write(data[: len(data) // 2] if half else data)
        handler.close_connection = half

    def close(self) -> None:
        """Listen no more."""
        self._server.shutdown()
        self._server.server_close()


_OURS = ("content-length", "transfer-encoding", "connection", "expect")
