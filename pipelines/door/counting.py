"""Metrics of the door: how long requests took, and how they were answered, by path and never by caller."""

from __future__ import annotations

from prometheus_client import Counter, Histogram

_TOOK = Histogram(
    "vingate_door_seconds",
    "企业接口应答用时 / seconds until a request was answered",
    ["path"],
    buckets=(0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 3, 10),
)
_ANSWERS = Counter("vingate_door_answers", "企业接口应答 / requests by answer", ["path", "answer"])
FAILED_COMMITS = Counter("vingate_inbox_commits_failed", "收件提交失败次数 / commits of the inbox that failed")
ABANDONED = Counter(
    "vingate_door_abandoned",
    "对方已断开、未收存的请求 / requests that were not kept, since their callers had gone",
)
LOGINS = Counter(
    "vingate_door_logins",
    "令牌申请的结果 / requests for a token by outcome: ok, unknown, wrong, locked, company_pending, company_closed",
    ["outcome"],
)
_took: dict[str, Histogram] = {}
_answers: dict[tuple[str, str], Counter] = {}
_MODERN = "/v1/"


def answered(path: str, answer: str, seconds: float) -> None:
    """Count an answer. Paths of `/v1` hold ids, so they count as one; all others are those of the routes."""
    if path.startswith(_MODERN):
        path = _MODERN
    took = _took.get(path)
    if took is None:
        took = _took[path] = _TOOK.labels(path)
    took.observe(seconds)
    counter = _answers.get((path, answer))
    if counter is None:
        counter = _answers[path, answer] = _ANSWERS.labels(path, answer)
    counter.inc()
