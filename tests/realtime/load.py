"""Clients that keep books: shops at the door and a system at the broker, patient until each record has an answer.

A client sends one record after the other; what gets no answer, or the answer to come later, is sent again. So what was
accepted of a list code is known, in order, and so is what was refused.
"""

from __future__ import annotations

import random
import threading
import time
from collections import Counter
from dataclasses import dataclass, field

import httpx
import orjson
import pika
from pika.exceptions import AMQPError

from mappings.vin import check_digit

BASE = "/restservices/lcipprodatarest/{}/query"
PASSWORD = "Geheim-123456"  # noqa: S105 - of invented shops
UPLOADS = "vingate.uploads-44"
SHOP = {
    "companyname": "某某汽修",
    "companypassword": PASSWORD,
    "companyroadtransportationlicense": "440100000001",
    "companyunifiedsocialcreditidentifier": "",
    "companyaddress": "深圳",
    "companypostalcode": "518000",
    "companyeconomiccategory": "170",
    "companycategory": "02",
    "companylinkmanname": "张三",
    "companylinkmantel": "13812345678",
    "companysuperintendentname": "李四",
    "companysuperintendenttel": "13812345679",
    "companybusinessscope": "维修",
    "roadtransportationlicensestartdate": "20200101",
    "roadtransportationlicenseenddate": "20300101",
    "companyoperationstate": "1",
    "companyadministrativedivisioncode": "440300",
    "companyemail": "a@b.cn",
}
_PAUSE = 0.15
TIMEOUT = 3.0
"""Seconds that a shop waits for an answer."""
_CODES = ("91440300MA5H0HLK5U", "91310112132259241T")
Key = tuple[str, str]
"""Company code and list code."""


@dataclass
class Book:
    """What one client was told."""

    accepted: dict[Key, list[str]] = field(default_factory=dict)
    """Contents of each key that were accepted, in order, named by their fault description."""
    order: list[tuple[Key, int]] = field(default_factory=list)
    """Key and number of its content, in the order in which they were accepted: one client sends one after the other."""
    away: set[Key] = field(default_factory=set)
    """Keys of vehicles that are at home in the other province."""
    refused: Counter[Key] = field(default_factory=Counter)
    """How often a record that was refused in the end had been sent."""
    told: Counter[str] = field(default_factory=Counter)
    wrong: list[str] = field(default_factory=list)
    """Answers that nobody may get."""


class Client(threading.Thread):
    """One client: `send` says what becomes of a record, True accepted, False refused, None no answer."""

    def __init__(self, name: str, company: str, rate: float) -> None:
        super().__init__(daemon=True, name=name)
        self.company, self.book = company, Book()
        self._rate = rate
        self._orders = threading.Event()
        self._enough = threading.Event()
        self.idle = threading.Event()
        self.idle.set()
        self._closing = False
        self.start()

    def begin(self, seed: str) -> None:
        """Send the records of a round from now on."""
        self._random = random.Random(seed)  # noqa: S311 - must follow from the seed
        self._round, self._number = seed, 0
        self._enough.clear()
        self.idle.clear()
        self._orders.set()

    def enough(self) -> None:
        """Send no further records; `idle` is set as soon as the last one has its answer."""
        self._enough.set()

    def close(self) -> None:
        """End."""
        self._closing = True
        self._enough.set()
        self._orders.set()

    def run(self) -> None:
        while True:
            self._orders.wait()
            self._orders.clear()
            if self._closing:
                return
            while not self._enough.is_set():
                self._one()
                self._enough.wait(self._random.expovariate(self._rate))
            self.idle.set()

    def _one(self) -> None:
        dice, mine = self._random.random(), [key for key in self.book.accepted if key[0] == self.company]
        recent = mine[-20:]
        if dice < 0.05:
            self._refused()
        elif dice < 0.15 and recent:
            key = self._random.choice(recent)
            self._settle(key, self.book.accepted[key][-1], "repeated")
        elif dice < 0.25 and recent:
            key = self._random.choice(recent)
            content = f"异响 更正 {len(self.book.accepted[key]) + 1}"
            if self._settle(key, content, "corrected"):
                self.book.accepted[key].append(content)
                self.book.order.append((key, len(self.book.accepted[key])))
        else:
            key = self._key("N")
            if self._random.random() < 0.5:
                self.book.away.add(key)
            if self._settle(key, "异响", "new"):
                self.book.accepted[key] = ["异响"]
                self.book.order.append((key, 1))

    def _key(self, kind: str) -> Key:
        self._number += 1
        return self.company, f"{kind}-{self._round}-{self._number:05d}"

    def _refused(self) -> None:
        key = self._key("R")
        self.book.refused[key] = 0
        self._settle(key, "异响", "refused", mileage="不详")

    def _settle(self, key: Key, content: str, kind: str, **changes: str) -> bool:
        """Send a record until there is an answer; whether it was accepted."""
        body = record(key, content, away=key in self.book.away, **changes)
        while True:
            if key in self.book.refused:
                self.book.refused[key] += 1
            answer = self.send(body)
            if answer is not None:
                break
            self.book.told["unanswered"] += 1
            time.sleep(_PAUSE)
        self.book.told[kind] += 1
        if answer == (kind == "refused"):
            self.book.wrong.append(f"{kind} {key}: {answer}")
        return answer

    def send(self, body: dict) -> bool | None:
        raise NotImplementedError


def record(key: Key, content: str, *, away: bool, mileage: str = "50000") -> dict:
    """A record of the national interface, the same for the same arguments; three in a row are of one vehicle."""
    vehicle = f"{key[1][:-5]}{int(key[1][-5:]) // 3:05d}"
    serial = sum(vehicle.encode()) * 7919 % 90_000 + int(vehicle[-5:])
    head, tail = "LSVAA2180", f"K2{serial % 1_000_000:06d}"
    plain = f"{head[:8]}0{tail}"
    basic = {
        "vehicleplatenumber": ("川A" if away else "粤B") + f"{serial % 100_000:05d}",
        "companyname": "某某汽修",
        "vin": plain[:8] + check_digit(plain) + plain[9:],
        "repairdate": "20261110",
        "repairmileage": mileage,
        "settledate": "20261112",
        "faultdescription": content,
        "costlistcode": key[1],
    }
    parts = [{"partsname": "机油", "partsquantity": "4", "partscode": "P000001"}]
    return {
        "basicInfo": basic,
        "vehiclepartslist": parts,
        "repairprojectlist": [{"repairproject": "更换机油机滤", "workinghours": "1.5"}],
    }


class Shop(Client):
    """A shop at the door."""

    def __init__(self, number: int, door: str, rate: float) -> None:
        self._http = httpx.Client(base_url=door, timeout=TIMEOUT, trust_env=False)
        code = {**SHOP, "companyunifiedsocialcreditidentifier": _CODES[number], "companyname": f"某某汽修{number}"}
        company = self._post("lcipproaccountcompany", code).json()["companycode"]
        given = {"companycode": company, "companypassword": PASSWORD}
        self._token = self._post("lcipprogetaccesstoken", given).json()["access_token"]
        super().__init__(f"shop-{number}", company, rate)

    def _post(self, method: str, body: dict) -> httpx.Response:
        return self._http.post(BASE.format(method), json=body)

    def send(self, body: dict) -> bool | None:
        try:
            answer = self._post("lcipprocarfixrecordadd", {"access_token": self._token, **body})
            said = answer.json()
        except (httpx.HTTPError, ValueError):
            return None
        if answer.status_code >= 500 or answer.status_code == 429:
            return None
        if said["code"] == "1":
            return True
        if "里程" not in said["status"]:
            self.book.wrong.append(answer.text[:200])
        return False


class System(Client):
    """A system that uploads over the broker for a company; accepted is what the broker confirmed."""

    def __init__(self, company: str, url: str, rate: float) -> None:
        self._url = url
        self._connection: pika.BlockingConnection | None = None
        super().__init__("system", company, rate)

    def send(self, body: dict) -> bool | None:
        try:
            if self._connection is None or self._connection.is_closed:
                parameters = pika.URLParameters(self._url)
                parameters.socket_timeout = parameters.blocked_connection_timeout = parameters.stack_timeout = 3
                parameters.heartbeat = 4
                self._connection = pika.BlockingConnection(parameters)
                self._channel = self._connection.channel()
                self._channel.confirm_delivery()
            headers = {"company": self.company, "system": "44"}
            about = pika.BasicProperties(delivery_mode=2, headers=headers, content_type="application/json")
            self._channel.basic_publish("", UPLOADS, orjson.dumps(body), about, mandatory=True)
        except (AMQPError, OSError):
            self._drop()
            return None
        return body["basicInfo"][
            "repairmileage"
        ].isdigit()  # the broker takes everything; what is wrong becomes a letter

    def _drop(self) -> None:
        connection, self._connection = self._connection, None
        try:
            if connection is not None:
                connection.close()
        except (AMQPError, OSError, AttributeError):
            pass
