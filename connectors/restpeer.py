"""A peer that is called over HTTP: gate, credentials, signature, a few repetitions, and the line itself put together.

What calls back is an answer with what it means by the peer's table. While the gate is closed nothing is sent. When
the peer refuses our credentials, and again after they were renewed once, the gate is stopped: every call raises
`AuthRefused` at once, until `stop_seconds` are over or the secrets in the settings read differently.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from datetime import UTC, datetime
from hashlib import sha256
from typing import Any, NamedTuple
from urllib.parse import urlencode, urlsplit
from weakref import finalize

from tenacity import RetryCallState, Retrying, retry_if_exception, retry_if_result
from tenacity.stop import stop_after_attempt, stop_before_delay
from tenacity.wait import wait_random_exponential

from connectors.breakers import Breaker, Clock
from connectors.budgets import Budget
from connectors.confidential import masked
from connectors.contracts import Misconfigured, Unavailable
from connectors.gates import AUTH_FAILED, Gate, Pause
from connectors.restanswers import AnswerTable, Said
from connectors.restcalls import Answer, Line, Request
from connectors.restsettings import CallTemplate, LoginAuth, RestSettings
from connectors.restsigning import moments, signed
from connectors.resttemplates import Scope, UnfillableError, dumped, filled, path_of, render
from connectors.resttokens import AuthRefused, Credentials
from connectors.windows import Window

Build = Callable[[Scope], Request]
"""Makes the request of one attempt from what templates know; each attempt has its own moment and nonce."""

WHOLE_ADDRESS = "{cursor}"
"""A path that is what the peer's last answer gave as the address of the next page."""
_ASKED_PAUSE = (429, 503)
_FIX = "请检查凭据后重试 / check the credentials; a change is noticed by itself"


class Held(Unavailable):
    """The gate is closed; nothing was sent."""


class Unfilled(Misconfigured):
    """A record lacks what a template names."""


class Reply(NamedTuple):
    """An answer and what it means for the whole request."""

    answer: Answer
    said: Said


def gate_of(settings: RestSettings, clock: Clock = time.monotonic) -> Gate:
    """The gate that the settings describe."""
    address = urlsplit(settings.url).netloc
    return Gate(
        breaker=Breaker(settings.breaker, clock=clock),
        budget=Budget(address, settings.budget) if settings.budget else None,
        windows=[Window.parse(one) for one in settings.maintenance],
        clock=clock,
        peer=address,
    )


class Peer:
    """One peer. Connections are made when they are needed and given back with the object at the latest."""

    def __init__(
        self,
        settings: RestSettings,
        *,
        gate: Gate | None = None,
        sleep: Callable[[float], None] = time.sleep,
        clock: Clock = time.monotonic,
    ) -> None:
        self._settings, self._sleep = settings, sleep
        self.gate = gate or gate_of(settings, clock)
        self._credentials = Credentials(settings, clock)
        self._line: Line | None = None
        self._refused_secrets = b""

    def call(self, build: Build, table: AnswerTable) -> Reply:
        """Make a call.

        Raises:
            Held: the gate is closed; nothing was sent.
            AuthRefused: the peer refuses our credentials.
            Unavailable: no answer came, after all repetitions.
            Misconfigured: a secret cannot be read, or the request cannot be built.
        """
        self._unless_stopped()
        for last in (False, True):
            token = self._credentials.token(self._login)
            reply = self._attempts(build, token, table)
            if reply.said.end != "auth":
                return reply
            if last or not self._credentials.renew(token):
                raise self._stop(reply.said.reason)
        raise AssertionError  # the second pass returns or raises

    def pause(self) -> Pause:
        """What holds calls back at this moment; a stop ends with the secrets that were refused."""
        held = self.gate.pause()
        if held.stopped and self._secrets_changed():
            self.gate.resume()
            return self.gate.pause()
        return held

    def clean(self, words: str) -> str:
        """Foreign words fit for a message."""
        return masked(words, self._credentials.all())

    def check(self, table: AnswerTable) -> str:
        """Call the peer once: what `check_call` says, the login, or a GET of the base address.

        Raises:
            ConnectorError: as `call`; Misconfigured too where the answer to `check_call` is no success.
        """
        asked = self._settings.check_call
        self._unless_stopped()
        if asked is None and isinstance(self._settings.auth, LoginAuth):
            self._credentials.token(self._login)
            return f"{self._settings.url}: 登录成功 / the login works"
        build = from_template(asked or CallTemplate(method="GET"))
        if asked is None:
            answer = self._attempts(build, self._credentials.token(self._login), table).answer
            return f"{self._settings.url}: 可达 / it answers: HTTP {answer.status}"
        reply = self.call(build, table)
        if reply.said.end not in ("accepted", "duplicate"):
            message = f"{self._settings.url}: {self.clean(reply.said.reason)}"
            raise Misconfigured(message, "请检查设置 / check the settings")
        return f"{self._settings.url}: 正常 / works: HTTP {reply.answer.status}"

    def close(self) -> None:
        """Close the connections. Idempotent; a later call opens them again."""
        line, self._line = self._line, None
        if line is not None:
            line.close()

    # -- attempts ------------------------------------------------------------------------------------------------------

    def _attempts(self, build: Build, token: str, table: AnswerTable) -> Reply:
        retry = self._settings.retry
        backoff = wait_random_exponential(multiplier=retry.first_seconds, max=retry.most_seconds)

        def wait(state: RetryCallState) -> float:
            asked = None
            if state.outcome is not None and not state.outcome.failed:
                asked = self._asked(state.outcome.result())
            return max(backoff(state), asked or 0.0)

        attempts = Retrying(
            sleep=self._sleep,
            stop=stop_after_attempt(retry.tries) | stop_before_delay(retry.deadline_seconds),
            wait=wait,
            retry=retry_if_exception(lambda error: isinstance(error, Unavailable) and not isinstance(error, Held))
            | retry_if_result(lambda answer: table.by_status(answer.status) == "unavailable"),
            retry_error_callback=lambda state: state.outcome.result() if state.outcome else None,
        )
        answer: Answer = attempts(self._attempt, build, token, table)
        return Reply(answer, table.whole(answer.status, answer.body))

    def _attempt(self, build: Build, token: str, table: AnswerTable) -> Answer:
        self._admitted()
        try:
            request = self._request(build, token)
            answer = self._sent(request)
        except Unavailable:
            self.gate.failed()
            raise
        except BaseException:
            self.gate.release()  # no fault of the peer: our own settings, or the process is to end
            raise
        asked = self._asked(answer)
        if asked is not None:
            self.gate.hold(asked, f"对方要求等待 / the peer asks to wait: HTTP {answer.status}, {asked:.0f} s")
        busy = answer.status == 429 and asked is not None
        if table.by_status(answer.status) in ("unavailable", "stopped") and not busy:
            self.gate.failed()
        else:
            self.gate.succeeded()
        return answer

    def _admitted(self) -> None:
        """Wait for the gate as long as the settings allow.

        Raises:
            Held: longer than that.
        """
        left = self._settings.budget_wait_seconds
        while True:
            held = self.gate.admit()
            if not held.seconds:
                return
            if held.stopped or held.seconds > left:
                raise Held(held.reason, "到时自动继续 / it goes on by itself then")
            self._sleep(held.seconds)
            left -= held.seconds

    def _request(self, build: Build, token: str) -> Request:
        scope = {**moments(), "secrets": self._credentials.named(), "token": token}
        request = build(scope)
        headers = {**self._credentials.headers(token), **request.headers}
        signing = self._settings.signing
        body = request.body
        if signing is not None:
            path = urlsplit(self._settings.url).path + request.path
            secret, query = self._credentials.signing_secret(), urlencode(request.query)
            body, more = signed(signing, secret, request.method, path, query, body or b"{}", scope)
            headers.update(more)
        return request._replace(headers=headers, body=body)

    def _sent(self, request: Request) -> Answer:
        if self._line is None:
            self._line = Line(self._settings)
            finalize(self, self._line.close)
        return self._line.send(request, self.clean)

    def _asked(self, answer: Answer) -> float | None:
        if answer.status not in _ASKED_PAUSE:
            return None
        seconds = answer.retry_after(datetime.now(UTC))
        return None if seconds is None else min(seconds, self._settings.max_retry_after_seconds)

    # -- credentials ---------------------------------------------------------------------------------------------------

    def _login(self, call: CallTemplate) -> Answer:
        auth = self._settings.auth
        table = auth.answers if isinstance(auth, LoginAuth) else AnswerTable()
        reply = self._attempts(from_template(call), "", table)
        if reply.said.end in ("refused", "auth"):
            raise self._stop(reply.said.reason)
        if reply.said.end == "unavailable":
            raise Unavailable(self.clean(reply.said.reason), "稍后自动重试 / it is tried again later")
        if reply.said.end == "stopped":
            message = f"登录地址有误 / the login call is wrong: {self.clean(reply.said.reason)}"
            raise Misconfigured(message, "请检查 auth.call / check auth.call")
        return reply.answer

    def _stop(self, words: str) -> AuthRefused:
        reason = f"对方拒绝凭据 / the peer refuses our credentials: {self.clean(words)}"
        self._refused_secrets = self._secrets_now()
        self.gate.stop(self._settings.stop_seconds, reason)
        return AuthRefused(f"{AUTH_FAILED}: {reason}", _FIX)

    def _unless_stopped(self) -> None:
        held = self.pause()
        if held.stopped:
            raise AuthRefused(held.reason, _FIX)

    def _secrets_changed(self) -> bool:
        try:
            return self._secrets_now() != self._refused_secrets
        except Misconfigured:  # one that cannot be read now is none to try
            return False

    def _secrets_now(self) -> bytes:
        """What the settings' secrets read at present, as a digest."""
        return sha256("\0".join(self._credentials.fixed()).encode()).digest()


def from_template(call: CallTemplate, more: dict[str, Any] | None = None) -> Build:
    """What builds the requests of a call that the settings describe; `more` is known to its templates besides."""

    def build(scope: Scope) -> Request:
        known = {**scope, **(more or {})}
        try:
            headers = {name: filled(one, known) for name, one in call.headers.items()}
            query = {name: filled(one, known) for name, one in call.query.items()}
            body = None if call.body is None else dumped(render(call.body, known))
            path = filled(call.path, known) if call.path == WHOLE_ADDRESS else path_of(call.path, known)
        except UnfillableError as error:
            message = f"请求无法生成 / the request cannot be built: {error}"
            kind = Unfilled if error.of_record else Misconfigured
            raise kind(message, "请检查模板与 secrets / check templates and secrets") from None
        if body is not None:
            headers.setdefault("Content-Type", "application/json; charset=utf-8")
        return Request(call.method, path, query, headers, body)

    return build
