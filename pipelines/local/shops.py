"""Shops that call a province's door: sample payloads as their software sends them, faults and all.

    with Shops(door, Path("var/demo/shops")) as shops:
        shops.call()                # the next record
        shops.told                  # Counter: sent, accepted, refused, unanswered

Their clients wait and send again what got no answer, or the answer to come later.
"""

from __future__ import annotations

import re
import secrets
import time
from collections import Counter
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from itertools import count, zip_longest
from pathlib import Path
from types import TracebackType
from typing import Any, NamedTuple, Self

import httpx
import orjson

from pipelines.sample import generate
from pipelines.sample.shops import build_shops
from pipelines.sample.wire import DIALECT_OF

SHOPS = 12
"""How many of the sample's shops call."""
SCALE = 0.05
HOMES = (("粤", 2), ("川", 1))
"""First character of plates, and of how many vehicles in three."""
_DAYS = 21
_NATIONAL = "/restservices/lcipprodatarest/{}/query"
_PATHS = {"national": _NATIONAL.format("lcipprocarfixrecordadd"), "chengdu": "/carhealth/record"}
_REGISTER, _LOGIN = (_NATIONAL.format(name) for name in ("lcipproaccountcompany", "lcipprogetaccesstoken"))
_PLATE = re.compile('[京津冀晋蒙辽吉黑沪苏浙皖闽赣鲁豫鄂湘粤桂琼渝川贵云藏陕甘青宁新](?=[A-Z]-?[A-Z0-9]{5,6}")')
_PAUSE = 0.5
_LOG_IN_AGAIN = "请重新获取令牌"
"""In what the door answers to a token that is over."""


class Payload(NamedTuple):
    """A record as a client sends it; its token is still that of the sample."""

    shop: str
    token: str
    dialect: str
    body: bytes


class Shops:
    """Clients of a door, in turn. One thread's.

    Args:
        door: its address.
        folder: where the sample is written.
        seed: of the sample.
    """

    def __init__(self, door: str, folder: Path, seed: int = 7) -> None:
        self._folder, self._seed = folder, seed
        self._client = httpx.Client(base_url=door, timeout=10, trust_env=False)
        self._payloads = self._stock()
        self._accounts: dict[str, dict[str, str]] = {}
        self._tokens: dict[str, str] = {}
        self.told: Counter[str] = Counter()
        self.refusal = ""
        """What the door said of the last record that it refused."""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._client.close()

    def call(self) -> None:
        """Send the next record, and whatever its shop must say before; patient until there is an answer."""
        payload = next(self._payloads)
        said = self._sent(payload)
        if _LOG_IN_AGAIN in said:  # tokens last a day
            del self._tokens[payload.shop]
            said = self._sent(payload)
        self.told["sent"] += 1
        if "新增成功" in said:
            self.told["accepted"] += 1
        else:
            self.told["refused"] += 1
            self.refusal = said

    def _sent(self, payload: Payload) -> str:
        token = self._tokens.get(payload.shop) or self._logged_in(payload.shop)
        return self._post(_PATHS[payload.dialect], payload.body.replace(payload.token.encode(), token.encode()))

    def _logged_in(self, shop: str) -> str:
        """Log a shop in, registered first where it is not; its token."""
        account = self._accounts.get(shop) or self._registered(shop)
        said = self._post(_LOGIN, orjson.dumps(account))
        self._tokens[shop] = token = str(orjson.loads(said)["access_token"])
        return token

    def _registered(self, shop: str) -> dict[str, str]:
        """Register a shop; what it logs in with."""
        about = self._operators[shop]
        word = secrets.token_hex(8)
        given = {name: value or "" for name, value in about.items() if name != "companycode"}
        given |= {
            "companypassword": word,
            "companyemail": "shop@example.cn",
            "companyadministrativedivisioncode": "440100",
        }
        code = orjson.loads(self._post(_REGISTER, orjson.dumps(given)))["companycode"]
        self._accounts[shop] = account = {"companycode": code, "companypassword": word}
        return account

    def _post(self, path: str, body: bytes) -> str:
        while True:
            try:
                answer = self._client.post(
                    path, content=body, headers={"Content-Type": "application/json;charset=UTF-8"}
                )
            except httpx.HTTPError:
                self.told["unanswered"] += 1
            else:
                if answer.status_code < 500 and answer.status_code != httpx.codes.TOO_MANY_REQUESTS:
                    return answer.text
                self.told["later"] += 1
            time.sleep(_PAUSE)

    # -- what they send ------------------------------------------------------------------------------------------------

    def _stock(self) -> Iterator[Payload]:
        """Payloads without end: sample after sample, shop after shop in turn."""
        for seed in count(self._seed):
            for turn in zip_longest(*self._sample(seed)):
                yield from filter(None, turn)

    def _sample(self, seed: int) -> list[Iterator[Payload]]:
        first = datetime.now(UTC).date() - timedelta(days=_DAYS)
        generate(self._folder, seed, SCALE, _DAYS, first_day=first)
        operators = (self._folder / "reference" / "operators.ndjson").read_bytes().splitlines()
        self._operators: dict[str, dict[str, Any]] = {one["companycode"]: one for one in map(orjson.loads, operators)}
        able = [shop for shop in build_shops(seed, SCALE) if shop.uploads and DIALECT_OF[shop.software] in _PATHS]
        return [
            _lane(self._folder, shop.system, shop.code, shop.token, DIALECT_OF[shop.software]) for shop in able[:SHOPS]
        ]


def _lane(folder: Path, system: str, code: str, token: str, dialect: str) -> Iterator[Payload]:
    """The uploads of a shop in order, each vehicle at home in one of `HOMES`."""
    for file in sorted((folder / "shops" / system / code).glob("*.ndjson")):
        for line in file.read_bytes().removeprefix(b"\xef\xbb\xbf").splitlines():
            if line.strip():
                yield Payload(code, token, dialect, _moved(line))


def _moved(line: bytes) -> bytes:
    """A payload whose plate is one of our provinces', always the same for the same vehicle."""
    return _PLATE.sub(_home, line.decode(errors="surrogateescape")).encode(errors="surrogateescape")


def _home(found: re.Match[str]) -> str:
    homes = [character for character, share in HOMES for _ in range(share)]
    return homes[sum(found.string[found.end() : found.end() + 6].encode()) % len(homes)]
