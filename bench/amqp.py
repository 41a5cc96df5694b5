"""How fast the AMQP connectors are at a broker of their own on this machine: `.venv/bin/python bench/amqp.py`.

Prints, for 1 and 100 records a message: deliveries confirmed a second (written 2,000 at a time) and arrivals taken and
acknowledged a second (2,000 at a time, with prefetch 1,000). Records are of 2 KB, the queue is a quorum queue. Runs
about ten seconds; the broker works on the same cores.
"""

from __future__ import annotations

import resource
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

ROOT = Path(__file__).parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / "tests")]

from servers import rabbitmq  # noqa: E402

from connectors.amqpfeed import AmqpFeed  # noqa: E402
from connectors.amqpsink import AmqpSink  # noqa: E402
from connectors.contracts import Delivery, Unavailable  # noqa: E402

RECORD = b'{"text":"' + b"x" * 1990 + b'"}'
AT_ONCE = 2_000


def publish(sink: AmqpSink, number: int) -> None:
    given = [Delivery(f"{n:064d}", "d", f"44|company|{n}", 1, "0" * 64, RECORD, "b") for n in range(number)]
    for at in range(0, number, AT_ONCE):
        outcomes = sink.write(given[at : at + AT_ONCE])
        assert {one.status for one in outcomes} == {"accepted"}, outcomes[0]


def consume(feed: AmqpFeed, number: int) -> None:
    found = 0
    while found < number:
        with suppress(Unavailable):  # while it connects
            found += len(feed.take(AT_ONCE, 1.0))
        feed.ack()


def rate(work: Callable[[], None], number: int) -> str:
    began, used = time.perf_counter(), resource.getrusage(resource.RUSAGE_SELF)
    work()
    wall, now = time.perf_counter() - began, resource.getrusage(resource.RUSAGE_SELF)
    own = now.ru_utime + now.ru_stime - used.ru_utime - used.ru_stime
    return f"{number / wall:>9,.0f}/s, {own / number * 1e6:>6.1f} us of our own processor time each"


def main() -> None:
    with tempfile.TemporaryDirectory(prefix="vingate-bench-") as folder:
        measure(rabbitmq.start(Path(folder)))


def measure(broker: rabbitmq.Broker) -> None:
    for per_message, number in ((1, 10_000), (100, 40_000)):
        queue, split = f"bench-{per_message}", "none" if per_message == 1 else "array"
        sink = AmqpSink(AmqpSink.Settings(url=broker.url(), routing_key=queue, per_message=per_message))
        feed = AmqpFeed(AmqpFeed.Settings(url=broker.url(), queue=queue, split=split, prefetch=1000))
        feed.declare()
        sink.check()
        print(f"{per_message:>3} a message  confirmed {rate(lambda s=sink, n=number: publish(s, n), number)}")
        print(f"{per_message:>3} a message  taken     {rate(lambda f=feed, n=number: consume(f, n), number)}")
        sink.close()
        feed.close()


if __name__ == "__main__":
    main()
