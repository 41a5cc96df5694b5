"""Who we are to a peer: a fixed token, name and password, or a token that a login gives and that is renewed in time."""

from __future__ import annotations

import base64
import time
from collections.abc import Callable
from threading import RLock

import orjson

from connectors.confidential import revealed
from connectors.contracts import Misconfigured
from connectors.jsonpaths import at, text_of
from connectors.restcalls import Answer
from connectors.restsettings import BasicAuth, BearerAuth, CallTemplate, LoginAuth, RestSettings


class AuthRefused(Misconfigured):
    """The peer refused our credentials: a person must see to them, and nothing more is sent until then."""


class Credentials:
    """The secrets of one peer's settings, and the token that is valid at present. Safe to share among threads."""

    def __init__(self, settings: RestSettings, clock: Callable[[], float] = time.monotonic) -> None:
        self._settings, self._clock = settings, clock
        self._lock = RLock()
        self._token, self._until = "", 0.0

    def named(self) -> dict[str, str]:
        """The secrets that templates name.

        Raises:
            Misconfigured: one of them cannot be read.
        """
        return {name: revealed(one, f"secrets.{name}") for name, one in self._settings.secrets.items()}

    def signing_secret(self) -> str:
        """The secret that requests are signed with.

        Raises:
            Misconfigured: it cannot be read.
        """
        signing = self._settings.signing
        return revealed(signing.secret, "signing.secret") if signing else ""

    def all(self) -> list[str]:
        """Everything that must stand in no message.

        Raises:
            Misconfigured: a secret cannot be read.
        """
        return [*self.fixed(), self._token]

    def fixed(self) -> list[str]:
        """The secrets that the settings name, as they read now.

        Raises:
            Misconfigured: a secret cannot be read.
        """
        auth = self._settings.auth
        found = [*self.named().values(), self.signing_secret()]
        found += [revealed(one, f"headers.{name}") for name, one in self._settings.headers.items()]
        if isinstance(auth, BearerAuth):
            found.append(revealed(auth.token, "auth.token"))
        if isinstance(auth, BasicAuth):
            found.append(revealed(auth.password, "auth.password"))
        return found

    def token(self, login: Callable[[CallTemplate], Answer]) -> str:
        """The token to send now: fetched by the login where there is none, or where it ends soon.

        Raises:
            AuthRefused: the login was refused.
            Unavailable: it could not be made.
            Misconfigured: the answer holds no token.
        """
        auth = self._settings.auth
        if isinstance(auth, BearerAuth):
            self._token = revealed(auth.token, "auth.token")
        if not isinstance(auth, LoginAuth):
            return self._token
        with self._lock:
            if not self._token or self._clock() >= self._until:
                self._fetch(auth, login(auth.call))
            return self._token

    def _fetch(self, auth: LoginAuth, answer: Answer) -> None:
        try:
            opened = orjson.loads(answer.body)
        except orjson.JSONDecodeError:
            opened = None
        token = at(opened, auth.token)
        if not isinstance(token, str) or not token.isprintable() or not token:
            message = f"登录答复中没有 {auth.token} / the login's answer holds no {auth.token}"
            raise Misconfigured(message, "请检查 auth.token 与 auth.answers / check auth.token and auth.answers")
        said = text_of(at(opened, auth.expires)) if auth.expires else ""
        life = float(said) if said.isdecimal() else auth.lifetime_seconds
        self._token = token
        # A token that lives shorter than the margin is used for half its life, not fetched for every call.
        self._until = self._clock() + max(life - auth.renew_before_seconds, life / 2)

    def renew(self, refused: str) -> bool:
        """The peer refused this token: whether there may be another one to try."""
        auth = self._settings.auth
        if isinstance(auth, LoginAuth):
            with self._lock:
                if self._token == refused:  # unless another thread has fetched one meanwhile
                    self._token = ""
            return True
        return isinstance(auth, BearerAuth) and revealed(auth.token, "auth.token") != refused

    def headers(self, token: str) -> dict[str, str]:
        """The headers that say who we are.

        Raises:
            Misconfigured: a secret cannot be read.
        """
        auth = self._settings.auth
        made = {name: revealed(one, f"headers.{name}") for name, one in self._settings.headers.items()}
        if isinstance(auth, BearerAuth):
            made["Authorization"] = f"Bearer {token}"
        elif isinstance(auth, BasicAuth):
            pair = f"{auth.user}:{revealed(auth.password, 'auth.password')}"
            made["Authorization"] = f"Basic {base64.b64encode(pair.encode()).decode()}"
        elif isinstance(auth, LoginAuth) and auth.header and token:
            name, _, value = auth.header.partition(":")
            made[name.strip()] = value.strip().replace("{token}", token)
        return made
