"""What the desk takes without a task, and what it leaves to one."""

from __future__ import annotations

import asyncio
import json
from contextlib import contextmanager

from door_kit import ADDED, RECORD, kit, payload
from sqlalchemy.exc import OperationalError

from pipelines.door.app import at_once, make_app
from pipelines.door.desk import IN_LOOP
from pipelines.door.limits import Buckets


async def ask(door, body):
    """What is answered at once: status, body, seconds; or None where nothing is."""
    (endpoint,) = at_once(make_app(door.door)).values()
    told = asyncio.get_running_loop().create_future()
    scope = {"method": "POST", "path": RECORD, "headers": [], "client": ("192.0.2.1", 1)}
    taken = endpoint.at_once(scope, body, lambda status, reply, wait: told.set_result((status, reply.body, wait)))
    return await told if taken else None


async def clean_record(door):
    """A record with nothing to remark, whose token the door does not remember yet; and its company."""
    company = await door.shop()
    body = json.loads(payload("15", await door.token(company)))
    body["basicInfo"]["companycode"] = company
    return json.dumps(body, ensure_ascii=False).encode(), company


def test_a_clean_record_of_a_remembered_token_is_taken_at_once(tmp_path):
    async def story(door):
        body, company = await clean_record(door)
        assert await ask(door, body) is None, "the token must be asked for"
        assert (await door.client.post(RECORD, content=body)).json() == ADDED
        status, said, _ = await ask(door, body)
        assert (status, json.loads(said)) == (200, ADDED)
        first, second = door.rows()
        for name in ("plain", "source", "company", "system", "dialect", "vin", "verdict", "size", "partition"):
            assert getattr(first, name) == getattr(second, name), name
        assert (second.plain, second.company) == (body, company)

    with kit(tmp_path) as door:
        asyncio.run(story(door))


def test_whatever_is_not_plain_is_left_to_a_task_and_nothing_of_it_counts(tmp_path):
    async def story(door):
        body, company = await clean_record(door)
        assert (await door.client.post(RECORD, content=body)).json() == ADDED
        desk = door.door.desk
        desk._companies = Buckets(1, 2, clock=lambda: 0.0)
        other = body.replace(company.encode(), b"330106000000009")
        token = json.loads(body)["access_token"].encode()
        long = body + b" " * IN_LOOP
        for odd in (b"", b"{", other, long, body.replace(b"WP1AG", b"WP2AG"), body.replace(token, b"0" * 64)):
            assert await ask(door, odd) is None
        assert len(door.rows()) == 1
        assert [(await ask(door, body))[0] for _ in range(2)] == [200, 200], "the calls that were left took no rate"
        assert await ask(door, body) is None, "too often: a task says so"
        assert (await door.client.post(RECORD, content=body)).status_code == 429

    with kit(tmp_path) as door:
        asyncio.run(story(door))


def test_what_cannot_be_made_durable_is_said_so(tmp_path, monkeypatch):
    async def story(door):
        body, _ = await clean_record(door)
        assert (await door.client.post(RECORD, content=body)).json() == ADDED

        @contextmanager
        def broken():
            raise OperationalError("commit", {}, OSError())
            yield

        with monkeypatch.context() as patch:
            patch.setattr(door.state, "unit_of_work", broken)
            status, said, wait = await ask(door, body)
            slow = await door.client.post(RECORD, content=body)
        assert (status, wait, said) == (503, 30, slow.content)
        assert slow.status_code == 503
        assert len(door.rows()) == 1

    with kit(tmp_path) as door:
        asyncio.run(story(door))
