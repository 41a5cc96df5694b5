"""Closures received against closures due: what is missing, differs or is too much, by day and district, and why."""

from __future__ import annotations

import re
from pathlib import Path

import orjson
import pytest
from emission_gate import Loop, corrected, inspection, mistaken
from row_gate import SHOP, record, vin

from pipelines.cli import main
from pipelines.closurebalance import balance, emission_exchanges
from pipelines.picture import write_page

MASKED = """
id = "own"
version = 1
zh = "闭环"
en = "closures"
destinations = ["environment"]
approval = "A-1"
basis = ["-"]
purpose = "test"
from = 2020-01-01
{revoked}
[kinds.closure]
"*" = "pass"
"members.faultdescription" = "mask"
"""


@pytest.fixture
def loop(tmp_path):
    made = Loop(tmp_path / "state")
    made.told()
    made.close("environment-files")
    yield made
    made.state.close()


def told(loop):
    (exchange,) = emission_exchanges(loop.state, loop.state.sealer())
    return balance(loop.state, exchange)


def lists(found):
    """Of each list the settlement codes that stand in it, with what became of them."""
    names = {"missing": [], "differing": [], "unexpected": []}
    for row in found.rows:
        for name, codes in names.items():
            codes += [(one.split()[1].partition("/")[0], found.why[one]) for one in getattr(row, name)]
    return {name: codes for name, codes in names.items() if codes}


def test_what_went_into_the_department_s_own_tables_is_read_back_from_the_store_of_cases(tmp_path):
    made = Loop(tmp_path / "state")
    made.told()
    made.close("environment-sql")
    corrected(made)
    found = told(made)
    assert lists(found) == {"differing": [("J1", "delivered")]}
    made.state.close()


def test_what_was_sent_is_what_is_due(loop):
    found = told(loop)
    assert found.balanced
    assert [(str(row.day), row.area, row.due, row.received) for row in found.rows] == [("2026-09-10", SHOP[:6], 2, 2)]


def test_what_the_exchange_has_not_sent_yet_is_missing_or_differs(loop):
    loop.outside(inspection("110105112609031315501013", serial=3, day="2026-09-03"))
    loop.repaired(record("J4", serial=3, day="20260911", fault="尾气超标"))
    corrected(loop)
    found = told(loop)
    assert lists(found) == {"missing": [("J4", "unsent")], "differing": [("J1", "delivered")]}
    loop.close("environment-files")
    assert told(loop).balanced


def test_what_no_longer_follows_is_too_much_until_it_is_withdrawn(loop):
    mistaken(loop)
    assert lists(told(loop)) == {"unexpected": [("J2", "delivered")]}
    loop.close("environment-files")
    assert told(loop).balanced


def own_terms(loop, revoked=""):
    file = loop.folder / "own.toml"
    file.write_text(MASKED.format(revoked=revoked), "utf-8")
    return f"agreements={orjson.dumps(['own-store', str(file)]).decode()}"


def test_what_was_refused_is_missing_and_says_that_it_is_a_letter(loop):
    corrected(loop)
    loop.close("environment-files", own_terms(loop, "revoked = 2026-01-01T00:00:00+08:00"))
    found = told(loop)
    assert lists(found) == {"differing": [("J1", "dead")]}


def test_what_the_agreement_withholds_cannot_differ(loop):
    """Of J2 only digits of the phone changed that the department never sees; its new version was refused."""
    loop.repaired(record("J2", serial=2, fault="尾气超标 联系 13899995678"))
    loop.close("environment-files", own_terms(loop, "revoked = 2026-01-01T00:00:00+08:00"))
    assert told(loop).balanced


def test_of_a_renewed_agreement_the_one_in_force_counts(loop):
    """The old one masked what the new one lets out, so a text that was corrected and is not sent yet differs."""
    old, new = loop.folder / "old.toml", loop.folder / "new.toml"
    old.write_text(MASKED.format(revoked="until = 2021-12-31"), "utf-8")
    new.write_text(MASKED.format(revoked="").replace('"mask"', '"pass"').replace('"own"', '"renewed"'), "utf-8")
    agreed = f"agreements={orjson.dumps(['own-store', str(old), str(new)]).decode()}"
    loop.close("environment-files", agreed)
    assert told(loop).balanced
    loop.repaired(record("J2", serial=2, fault="尾气超标 联系 13899995678"))
    assert lists(told(loop)) == {"differing": [("J2", "delivered")]}


def test_the_command_lists_what_differs_and_says_so_by_its_exit_code(loop, capsys):
    loop.repaired(record("J4", serial=3, day="20260911", fault="尾气超标"))
    loop.outside(inspection("110105112609031315501013", serial=3, day="2026-09-03"))
    asked = ["cases", "closures", "--state", str(loop.folder)]
    assert main([*asked, "--json"]) == 1
    answer = orjson.loads(capsys.readouterr().out)
    (exchange,) = answer["exchanges"]
    assert (answer["balanced"], exchange["due"], exchange["received"]) == (False, 3, 2)
    assert [(one["day"], one["district"], one["due"], one["received"]) for one in exchange["days"]] == [
        ("2026-09-10", SHOP[:6], 2, 2), ("2026-09-11", SHOP[:6], 1, 0),
    ]  # fmt: skip
    assert exchange["days"][1]["missing"] == [{"closure": f"{SHOP} J4/{vin(3)}", "newest": "unsent"}]
    assert main([*asked, "--day", "2026-09-10"]) == 0
    assert main([*asked, "--district", "33"]) == 0
    capsys.readouterr()
    assert main(asked) == 1
    shown = capsys.readouterr().out
    assert "J4" in shown
    assert vin(3) not in shown


def test_the_page_shows_it_by_district_and_day_without_a_vehicle(loop):
    loop.repaired(record("J4", serial=3, day="20260911", fault="尾气超标"))
    loop.outside(inspection("110105112609031315501013", serial=3, day="2026-09-03"))
    text = Path(write_page(loop.state, [], loop.folder / "page.html")).read_text("utf-8")
    part = re.sub("<[^>]+>", " ", text[text.index("排放闭环：") :])
    assert re.search(rf"{SHOP[:6]}\s+2\s+0/1\s+2/3", part)
    assert not [code for code in ("J4", vin(3)) if code in text]


def test_a_page_is_written_though_a_store_is_gone(loop):
    (loop.folder / "stores/province-11.db").unlink()
    text = Path(write_page(loop.state, [], loop.folder / "page.html")).read_text("utf-8")
    assert "environment-files: " in text


def test_who_has_no_such_exchange_is_told(tmp_path, capsys):
    made = Loop(tmp_path / "state")
    made.repaired(record("J1"))
    made.state.close()
    assert main(["cases", "closures", "--state", str(tmp_path / "state")]) == 2
    assert "closures" in capsys.readouterr().err
