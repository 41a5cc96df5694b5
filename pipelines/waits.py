"""When a waiting delivery is tried again."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from dlq.backoff import next_attempt, seeded
from pipelines.settings import Exchange


def next_try(exchange: Exchange, delivery: str, attempts: int) -> str:
    """The moment of the next attempt, ISO 8601 in UTC."""
    moment = next_attempt(
        attempts,
        datetime.now(UTC),
        seeded(delivery, attempts),
        timedelta(seconds=exchange.retry.first_seconds),
        timedelta(seconds=exchange.retry.most_seconds),
    )
    return moment.isoformat()
