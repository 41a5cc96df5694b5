import io
import json

from letter_samples import BODY, NOW, VIN, letter
from rich.console import Console

from dlq import console
from dlq.letter import BodyRef
from dlq.letters import Count, Replay
from dlq.reasons import reason
from dlq.views import SHOWN_BYTES, view, view_count

COUNTS = [Count("collect", "open", "VIN_LENGTH", 1_200), Count("collect", "resolved", "VIN_LENGTH", 3)]


def printed(renderable):
    out = io.StringIO()
    Console(file=out, width=160, force_terminal=False).print(renderable)
    return out.getvalue()


def test_a_letter_without_its_body_has_stable_members():
    first, second = view(letter(0)), view(letter(1, ref=BodyRef("p", 0, 1)))
    assert {"id", "state", "reason", "reasons", "source", "company", "body_sha256", "generation", "parked"} <= set(
        first
    )
    assert [one["code"] for one in first["reasons"]] == ["VIN_CHECK_DIGIT", "DATE_ORDER"]
    assert all(one["zh"] and one["en"] and one["remedy_zh"] for one in first["reasons"])
    assert (first["body_kept"], second["body_kept"]) == ("sealed", "reference")
    assert "body" not in first
    assert VIN not in json.dumps(first)


def test_a_company_that_the_payload_names_is_masked_and_a_code_is_not():
    named = letter()._replace(company="", record_key="44|王小二 13800000012|R1")
    assert "13800000012" not in json.dumps(view(named), ensure_ascii=False)
    assert view(named)["company"]
    assert view(letter())["company"] == letter().company == "440106000000001"


def test_view_shows_the_body_masked_and_cut():
    shown = view(
        letter(), BODY + b" " * SHOWN_BYTES, [Replay("r1", 0, "open", (reason("NO_ROUTE"),), "t")], "失败 13800000012"
    )
    text = json.dumps(shown, ensure_ascii=False)
    for secret in (VIN, "A12345", "王小二", "13800000012"):
        assert secret not in text
    assert shown["body_cut"] is True
    assert shown["history"][0]["reasons"][0]["code"] == "NO_ROUTE"


def test_list_names_letters_or_says_that_there_are_none():
    text = printed(console.list_table([letter(0), letter(1)._replace(parked=True)]))
    assert letter(0).id[:12] in text
    assert "parked" in text
    assert "VIN_CHECK_DIGIT" in text
    assert "no such letters" in printed(console.list_table([]))


def test_show_has_every_reason_with_its_remedy_and_no_secret():
    replays = [Replay("r1", 0, "open", (reason("NO_ROUTE"),), NOW.isoformat())]
    text = printed(console.show(letter(), BODY, replays, "文件不在"))
    for wanted in ("VIN_CHECK_DIGIT", "DATE_ORDER", "2018-02-01", "send it again", "NO_ROUTE", "文件不在", "sealed"):
        assert wanted in text
    for secret in (VIN, "A12345", "王小二"):
        assert secret not in text


def test_payload_text_is_no_markup_and_no_control_sequence():
    hostile = letter(body=b'{"faultdescription": "[red]x[/red] \x1b[2J [/nothing]"')
    hostile = hostile._replace(source="[bold]a\x1b[2J[/]", note="[/]")
    text = printed(console.show(hostile, b'{"faultdescription": "[red]x[/red] \x1b[2J [/nothing]"'))
    assert "\x1b" not in text
    assert "[red]x[/red]" in text
    assert "[bold]a" in printed(console.list_table([hostile]))


def test_stats():
    text = printed(console.stats(COUNTS))
    assert "1,200" in text
    assert "resolved 3" in text
    assert "no letters" in printed(console.stats([]))
    assert [one["letters"] for one in map(view_count, COUNTS)] == [1_200, 3]
