"""Two `vingate serve` on one state and one queue, under load, one of them cut off from the database or the broker.

What it had is taken over, it does no harm when it comes back, and nothing is lost, doubled or out of order.
`PYTHONPATH=.:tests python tests/pipelines/test_sharing_cuts.py ROUNDS SEED` is the long run.
"""

from __future__ import annotations

import json
import sys
import time
from contextlib import ExitStack
from pathlib import Path

import pika
import pytest
from realtime.links import CUT, FAULTS, HALF, PASS, STALL, Links
from servers import rabbitmq
from sharing_kit import SHOP
from test_sharing_processes import Pair, wait_for

from connectors.amqpfeed import AmqpFeed

DATABASE, BROKER = "database", "broker"
_FEED = """
[exchanges.collect.feeds.uploads]
connector = "amqp"
url = "{url}"
queue = "{queue}"
company_header = "company"
system_header = "system"
prefetch = 25
heartbeat_seconds = 4
backoff_limit_seconds = 1
"""


class LinkedPair(Pair):
    """Both members reach database and broker by links of their own; a system uploads by the queue beside the door."""

    def __init__(self, folder, server, url, broker, seed):
        self.links, self.broker = Links(), broker
        self.queue = f"{folder.parent.name}.{folder.name}"
        for name in ("one", "two"):
            self.links.add(f"{name} {DATABASE}", server.port, self.gate_of(name))
            self.links.add(f"{name} {BROKER}", broker.port, self.gate_of(name))
        AmqpFeed(AmqpFeed.Settings(url=broker.url(), queue=self.queue)).declare()
        self.connection = pika.BlockingConnection(pika.URLParameters(f"{broker.url()}?heartbeat=0"))
        self.channel = self.connection.channel()
        self.channel.confirm_delivery()
        self.published = 0
        super().__init__(folder, server, url, seed)

    def database_of(self, name):
        ours, port = f"127.0.0.1:{self.server.port}/", self.links.by_name[f"{name} {DATABASE}"].port
        assert ours in self.url
        return self.url.replace(ours, f"{self.gate_of(name)}:{port}/")

    def feeds_of(self, name):
        port = self.links.by_name[f"{name} {BROKER}"].port
        url = self.broker.url(port=port).replace("127.0.0.1", self.gate_of(name))
        return _FEED.format(url=url, queue=self.queue)

    def gate_of(self, _name):
        """The address at which a member reaches its links."""
        return "127.0.0.1"

    def burst(self):
        super().burst()
        for body in self.some("Q", 5, 20):
            self.published += 1
            about = pika.BasicProperties(
                message_id=f"m{self.published}", delivery_mode=2, headers={"company": SHOP, "system": "11"}
            )
            self.channel.basic_publish("", self.queue, json.dumps(body, ensure_ascii=False).encode(), about)

    def left(self):
        ready = self.channel.queue_declare(self.queue, passive=True).method.message_count
        queued = (
            ready + self.published - self.taken()
        )  # asked first: what leaves the queue meanwhile is seen in the inbox
        return {"queue": queued, **super().left()}

    def taken(self):
        """Messages that came to the inbox."""
        return self.rows("SELECT count(*) FROM inbox_keys WHERE exchange = 'collect'")[0][0]

    def leader(self):
        return wait_for(
            lambda: next((one for one in (self.one, self.two) if one.share().get("leads")), None), self.logs
        )

    def other(self, service):
        return self.two if service is self.one else self.one

    def shares(self):
        return sorted(len(one.share().get("partitions", ())) for one in (self.one, self.two))

    def cut_off(self, service, server, fault):
        """A round: a member cannot reach a server, or is not reached by it, while load goes on; then it can again."""
        wait_for(lambda: self.shares() == [16, 16], self.logs)
        name, _ = self.member(service)
        self.load(3)
        link = f"{service.folder.name} {server}"
        self.links.set(link, fault)
        try:
            self.load(6)
            if server == DATABASE:
                wait_for(lambda: len(self.other(service).share().get("partitions", ())) == 32, self.logs)
                assert self.rows(f"SELECT 1 FROM leases WHERE name = '{name}'") == []
                assert self.other(service).share()["leads"]
                self.load(3)
        finally:
            self.links.set(link, PASS)
        self.load(3)
        self.rest()
        self.proved()

    def end(self):
        self.links.heal()
        super().end()
        self.channel.queue_delete(self.queue)
        self.connection.close()


@pytest.fixture
def pair(tmp_path, tmp_path_factory, postgres, postgres_url):
    with ExitStack() as stack:
        broker = stack.enter_context(rabbitmq.start(tmp_path_factory.getbasetemp()).shared())
        made = LinkedPair(tmp_path, postgres, postgres_url, broker, 20261129)
        stack.callback(made.end)
        yield made


def test_a_member_that_is_cut_off_is_taken_over_and_does_no_harm_when_it_is_back(pair):
    pair.cut_off(pair.leader(), DATABASE, STALL)  # the worst: it knows of nothing, and its messages are not given back
    pair.cut_off(pair.other(pair.leader()), DATABASE, CUT)
    pair.cut_off(pair.leader(), BROKER, HALF)


def main(rounds, seed):
    """The long run."""
    import tempfile

    from servers import postgres as own

    with tempfile.TemporaryDirectory() as folder, ExitStack() as stack:
        base = Path(folder)
        server = stack.enter_context(own.start(base).shared())
        broker = stack.enter_context(rabbitmq.start(base).shared())
        url = stack.enter_context(server.database())
        (base / "pair").mkdir()
        pair = LinkedPair(base / "pair", server, url, broker, seed)
        stack.callback(pair.end)
        for number in range(rounds):
            began = time.monotonic()
            service = pair.rnd.choice((pair.one, pair.two))
            what = pair.rnd.choice((DATABASE, DATABASE, BROKER)), pair.rnd.choice(FAULTS)
            leads = bool(service.share().get("leads"))
            sys.stdout.write(json.dumps({"round": number, "leader": leads, "cut": what}) + "\n")
            sys.stdout.flush()
            pair.cut_off(service, *what)
            told = {"keys": len(pair.sent), "messages": pair.published, "seconds": round(time.monotonic() - began, 1)}
            sys.stdout.write(json.dumps({"round": number, **told}) + "\n")
            sys.stdout.flush()


if __name__ == "__main__":
    main(int(sys.argv[1]), int(sys.argv[2]))
