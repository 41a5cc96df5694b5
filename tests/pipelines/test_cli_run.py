"""`vingate run`, `check` and `letters` on the shipped bulk exchange, called as outside checks call them."""

from __future__ import annotations

import json
import stat
import time
from pathlib import Path

import fastavro
import pytest

from pipelines.cli import main
from pipelines.cli.run import _without_secrets
from pipelines.ledger import TOTALS
from pipelines.partners.hosting import hosted
from pipelines.partners.server import Mood
from pipelines.runcounts import RunCounts

ROOT = Path(__file__).parents[2]
BULK = ROOT / "deploy" / "exchanges" / "bulk-files.toml"
GOOD, BAD = "LVSHCAMB1CE054249", "LVSHCAMB2CE054249"


def record(number, vin=GOOD, plate="粤B12345", **basic):
    members = {
        "companycode": "440300000000001",
        "companyname": "某某汽车维修有限公司",
        "vehicleplatenumber": plate,
        "vin": vin,
        "repairdate": "20250605",
        "repairmileage": "52000",
        "settledate": "20250605",
        "faultdescription": "发动机异响",
        "costlistcode": f"JS{number}",
    }
    parts = [{"partsname": "火花塞", "partsquantity": "6", "partscode": "999"}]
    projects = [{"repairproject": "更换火花塞", "workinghours": "2.5"}]
    return {"basicInfo": members | basic, "vehiclepartslist": parts, "repairprojectlist": projects}


@pytest.fixture
def place(tmp_path):
    """A folder with an input of six payloads: three good ones, a repeated one and two bad ones."""
    rows = [
        record(1),
        record(2, plate="沪A12345"),
        record(3),
        record(3),
        record(4, vin=BAD, settledate="20251332"),
        record(5, vin=BAD),
    ]
    text = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
    (tmp_path / "in.ndjson").write_text(text, "utf-8")
    return tmp_path


@pytest.fixture
def vingate(capsys):
    """Call the command line in this process: exit code, the JSON values on stdout, and stderr."""

    def call(*arguments):
        capsys.readouterr()
        code = main([str(argument) for argument in arguments])
        out, err = capsys.readouterr()
        return code, [json.loads(line) for line in out.splitlines()] if "--json" in arguments else out, err

    return call


def bulk(place, *more):
    source, out = f"source.path={place / 'in.ndjson'}", f"sinks.provinces.path={place / 'out'}"
    return ["run", BULK, "--set", source, "--set", out, "--state", place / "state", *more]


def test_run_tells_one_object_whose_totals_add_up(place, vingate):
    code, (told,), err = vingate(*bulk(place, "--json"))
    assert (code, told["balanced"], told["problems"], told["already_done"]) == (0, True, [], False)
    totals = told["totals"]
    assert {name: totals[name] for name in ("received", "delivered", "dead", "duplicate")} == {
        "received": 6,
        "delivered": 3,
        "dead": 2,
        "duplicate": 1,
    }
    ends = ("delivered", "dead", "duplicate", "merged", "filtered", "waiting", "fragments")
    assert totals["received"] == sum(totals[end] for end in ends)
    assert {name: found["delivered"] for name, found in told["destinations"].items()} == {
        "province-44": 2,
        "province-31": 1,
    }
    assert (told["exchange"], told["letters"], told["state"]) == ("bulk-files", 2, str(place / "state"))
    assert "6 条已入账" in err
    found = []
    for path in sorted((place / "out").iterdir()):
        if path.is_file():
            assert path.suffix == ".avro"
            with path.open("rb") as file:
                found += list(fastavro.reader(file))
    assert sorted(one["costlistcode"] for one in found) == ["JS1", "JS2", "JS3"]
    assert {str(one["projects"][0]["hours"]) for one in found} == {"2.5000"}
    assert {one["settledate"].isoformat() for one in found} == {"2025-06-05"}


def test_a_second_run_says_that_nothing_was_new(place, vingate):
    vingate(*bulk(place, "--json"))
    code, (told,), _ = vingate(*bulk(place, "--json"))
    assert (code, told["already_done"], told["run"]) == (0, True, 2)
    assert (told["totals"]["received"], told["totals"]["duplicate"]) == (6, 6)
    code, shown, _ = vingate(*bulk(place))
    assert "nothing was doubled" in " ".join(shown.split())
    assert "vingate letters list" in shown


def test_what_one_destination_knew_and_another_got_is_new():
    totals = dict.fromkeys(TOTALS, 0) | {"received": 12, "duplicate": 12}
    assert RunCounts(1, totals, {}, 0, ()).already_done
    assert not RunCounts(1, totals | {"delivered": 12}, {}, 0, ()).already_done


def test_a_run_says_what_waits_and_when_to_come_again_and_what_went_on(tmp_path, vingate):
    row = {
        "企业代码": "440103000000002", "产生批次编码": "HWCS20240520001", "产生时间": "2024-05-20", "产生量": "2",
        "危险废物名称": "废铅蓄电池", "危险废物类别": "HW31", "危险废物代码": "900-052-31", "计量单位": "只",
    }  # fmt: skip
    (tmp_path / "in.ndjson").write_text(json.dumps(row, ensure_ascii=False), "utf-8")
    (tmp_path / "state/stores").mkdir(parents=True)
    with hosted(["solid-waste"], tmp_path / "stand-ins") as running:
        set_ = f"source.path={tmp_path / 'in.ndjson'}", f"sinks.solid-waste.url={running.urls['solid-waste']}"
        again = ["retry.first_seconds=0.01", "retry.most_seconds=0.01"]
        options = [part for one in (*set_, *again) for part in ("--set", one)]
        call = ("run", ROOT / "deploy/exchanges/outside-in.toml", *options, "--state", tmp_path / "state")
        running.stand_ins["solid-waste"].mood = Mood(down=True)
        code, shown, _ = vingate(*call)
        assert (code, "1 wait for solid-waste" in " ".join(shown.split())) == (0, True)
        assert f"vingate check {call[1]} --set source.path=" in shown, "it says why"
        running.stand_ins["solid-waste"].mood = Mood()
        time.sleep(1)  # the waiting deliveries are due then, by the clock of the machine
        code, shown, _ = vingate(*call)
        assert (code, "1 that had waited went on: solid-waste" in " ".join(shown.split())) == (0, True)
        assert "nothing new" not in " ".join(shown.split())
        assert "nothing new" in " ".join(vingate(*call)[1].split())


@pytest.mark.parametrize(
    ("more", "said"),
    [
        (["--set", "source.pth=x"], "pth"),
        (["--set", "mapping.profle=x"], "mapping.profle"),
        (["--set", "mapping"], "a.b="),
        (["--runner", "direct"], "embedded, prism, portable"),
        (["--runner", "prism", "--prism", "/no/such/prism"], "never downloads it"),
        (["--runner", "portable"], "--job-endpoint"),
        (["--runner", "portable", "--job-endpoint", "here"], "host:port"),
        (["--job-endpoint", "h:1", "--runner", "portable", "--environment-type", "CLOUD"], "LOOPBACK, EXTERNAL"),
        (["--job-endpoint", "h:1", "--runner", "prism", "--environment-type", "EXTERNAL"], "worker pool"),
        (["--job-endpoint", "h:1", "--runner", "prism", "--environment-type", "PROCESS"], '{"command": "/opt/boot"}'),
        (["--set", "source.path=/no/such/place"], "/no/such/place"),
        (["--set", "mapping.dialect=klingon"], "klingon"),
        (["--set", "mapping.profile=mild"], "mild"),
        (["--set", "routing.table=nowhere"], "nowhere"),
    ],
)
def test_settings_that_cannot_work_are_explained_without_a_traceback(place, vingate, more, said):
    code, out, err = vingate(*bulk(place, *more))
    assert code in (2, 3)
    assert out == ""
    assert said in err
    assert "Traceback" not in err
    assert "bug" not in err


def test_nothing_begins_under_settings_that_cannot_work(place, vingate):
    wrong = ("mapping.dialect=klingon", "mapping.profile=mild", "routing.table=nowhere", "source.pth=x", "runner=spark")
    for setting in (*wrong, "sinks.provinces.pth=x", "routing.dealers=/no/such/file"):
        assert vingate(*bulk(place, "--set", setting))[0] == 2, setting
    assert not (place / "state").exists()


def test_a_check_tells_of_a_runner_that_cannot_run(place, vingate):
    where = (f"source.path={place / 'in.ndjson'}", f"sinks.provinces.path={place / 'out'}")
    sets = [word for one in (*where, "runner=prism", "prism=/no/such/prism") for word in ("--set", one)]
    code, (told,), _ = vingate("check", BULK, *sets, "--json")
    assert code == 1
    assert [problem for problem in told["problems"] if "/no/such/prism" in problem]


def test_a_state_in_use_is_left_alone(place, vingate):
    from pipelines.state import State

    with State(place / "state", own=True):
        code, out, err = vingate(*bulk(place))
    assert (code, out) == (3, "")
    assert "another vingate is using" in err


def test_check_shows_what_would_go_where_and_writes_nothing(place, vingate):
    before = sorted(place.rglob("*"))
    arguments = [argument for argument in bulk(place, "--json") if argument not in ("--state", place / "state")]
    code, (told,), _ = vingate("check", *arguments[1:])
    assert (code, told["problems"]) == (0, [])
    dry = told["dry_run"]
    assert (dry["received"], dry["dead"], dry["destinations"]) == (6, 2, {"province-31": 1, "province-44": 3})
    assert dry["findings"] == {"VIN_CHECK_DIGIT": 2, "DATE_FORMAT": 1}
    assert {"files", "avro", "sql"} <= set(told["connectors"]["source"])
    assert sorted(place.rglob("*")) == before
    code, (few,), _ = vingate("check", *arguments[1:], "--first", "2")
    assert few["dry_run"]["received"] == 2


def test_check_names_what_must_be_mended(place, vingate):
    arguments = ["check", BULK, "--set", f"source.path={place / 'nowhere'}", "--json"]
    code, (told,), _ = vingate(*arguments)
    assert code == 1
    assert "nowhere" in told["problems"][0]
    sink = f"sinks.provinces.path={place / 'out'}"
    source = f"source.path={place / 'in.ndjson'}"
    only = ["--set", source, "--set", sink, "--set", "sinks.provinces.for=province-11", "--json"]
    code, (told,), _ = vingate("check", BULK, *only)
    assert code == 1
    assert any("province-44" in problem for problem in told["problems"])


def test_letters_are_listed_each_with_all_its_reasons(place, vingate):
    vingate(*bulk(place))
    state = ["--state", place / "state"]
    code, found, _ = vingate("letters", "list", *state, "--json")
    assert code == 0
    codes = [[reason["code"] for reason in one["reasons"]] for one in found]
    assert codes == [["VIN_CHECK_DIGIT", "DATE_FORMAT"], ["VIN_CHECK_DIGIT"]]
    assert BAD not in json.dumps(found)

    def listed(*filters):
        return len(vingate("letters", "list", *state, *filters, "--json")[1])

    assert listed("--reason", "date_format") == 1
    assert listed("--source", "in.ndjson", "--exchange", "bulk-files", "--stage", "judge", "--in", "open") == 2
    assert listed("--vin", BAD) == 2
    assert listed("--vin", GOOD) == 0
    assert listed("--older-than", "2d") == 0
    assert listed("--newer-than", "2d") == 2
    assert listed("--limit", "1") == 1
    assert listed("--parked") == 0
    code, counts, _ = vingate("letters", "stats", *state, "--json")
    assert [(one["reason"], one["letters"]) for one in counts] == [("VIN_CHECK_DIGIT", 2)]
    assert vingate("letters", "stats", *state, "--json", "--exchange", "bulk-files")[1] == counts
    assert vingate("letters", "stats", *state, "--json", "--exchange", "collect")[1] == []
    _, shown, _ = vingate("letters", "list", *state)
    assert "vingate letters show" in shown


def test_a_letter_is_shown_masked_unless_somebody_says_who_and_why(place, capsysbinary):
    main([str(argument) for argument in bulk(place)])
    state = ["--state", str(place / "state")]
    capsysbinary.readouterr()
    main(["letters", "list", *state, "--json"])
    name = json.loads(capsysbinary.readouterr().out.splitlines()[0])["id"]
    assert main(["letters", "show", name, *state]) == 0
    assert BAD.encode() not in capsysbinary.readouterr().out
    assert main(["letters", "show", name, *state, "--unmask", "--by", "zhang"]) == 2
    assert not (place / "state" / "audit.ndjson").exists()
    capsysbinary.readouterr()
    assert main(["letters", "show", name[:8], *state, "--unmask", "--by", "zhang", "--for", "call back"]) == 0
    line = (place / "in.ndjson").read_bytes().splitlines()[4]
    assert capsysbinary.readouterr().out == line
    audit = place / "state" / "audit.ndjson"
    noted = json.loads(audit.read_text("utf-8"))
    assert (noted["letter"], noted["by"], noted["for"]) == (name, "zhang", "call back")
    assert stat.S_IMODE(audit.stat().st_mode) == 0o600
    assert BAD not in audit.read_text("utf-8")
    assert main(["letters", "show", name, *state, "--unmask", "--by", "a", "--for", "b", "--json"]) == 0
    assert json.loads(capsysbinary.readouterr().out)["original"].encode() == line


def test_letters_are_discarded_beside_a_gateway(place, vingate):
    from pipelines.state import State

    vingate(*bulk(place))
    state = ["--state", place / "state"]
    name = vingate("letters", "list", *state, "--json")[1][0]["id"]
    with State(place / "state", own=True):
        assert vingate("letters", "discard", name, "--note", "测试数据", *state)[0] == 0
        code, (told,), _ = vingate("letters", "replay", name, *state, "--json")
    assert (code, told["letters"][0]["outcome"]) == (1, "skipped")
    assert vingate("letters", "list", *state, "--json")[1][0]["state"] == "discarded"


def test_discard_reopen_and_replay(place, vingate):
    vingate(*bulk(place))
    state = ["--state", place / "state"]
    names = [one["id"] for one in vingate("letters", "list", *state, "--json")[1]]
    assert vingate("letters", "discard", names[0], "--note", " ", *state)[0] == 2
    assert vingate("letters", "discard", names[0], "--note", "测试数据", *state)[0] == 0
    code, (told,), _ = vingate("letters", "replay", names[0], *state, "--json")
    assert (code, told["letters"][0]["outcome"]) == (1, "skipped")
    assert vingate("letters", "reopen", names[0], *state)[0] == 0
    lenient = ["--settings", BULK, "--set", "mapping.profile=lenient"]
    lenient += ["--set", f"sinks.provinces.path={place / 'out'}"]
    code, (told,), _ = vingate("letters", "replay", "--all", *lenient, *state, "--json")
    assert code == 1
    assert (told["resolved"], told["open"]) == (1, 1)
    assert {one["why"] for one in told["letters"] if one["outcome"] == "open"} == {"DATE_FORMAT"}
    code, (told,), _ = vingate("letters", "replay", names[1], *state, "--json")
    assert (code, told["resolved"], told["batches"]) == (0, 1, [])
    code, (nothing,), _ = vingate("letters", "replay", "--all", "--reason", "NO_ROUTE", *state, "--json")
    assert (code, nothing["letters"]) == (0, [])


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        (["list", "--state", "{}/none"], 2),
        (["show", "abcdef", "--state", "{}/state"], 2),
        (["replay", "--state", "{}/state"], 2),
        (["replay", "abcdef", "--all", "--state", "{}/state"], 2),
        (["list", "--in", "lost", "--state", "{}/state"], 2),
        (["list", "--older-than", "2 moons", "--state", "{}/state"], 2),
    ],
)
def test_wrong_use_of_letters_is_explained(place, vingate, arguments, code):
    vingate(*bulk(place))
    found, _, err = vingate("letters", *(argument.format(place) for argument in arguments))
    assert found == code
    assert " / " in err
    assert "Traceback" not in err
    assert "bug" not in err


def test_a_run_without_its_source_leaves_no_state(place, vingate):
    gone = ["--set", f"source.path={place / 'gone.ndjson'}", "--set", f"sinks.provinces.path={place / 'out'}"]

    code, _, said = vingate("run", BULK, *gone, "--state", place / "none")

    assert code == 2
    assert "gone.ndjson" in said
    assert not (place / "none").exists()


@pytest.mark.parametrize(
    ("given", "shown"),
    [
        ("sinks.credit.url=http://127.0.0.1:8090", "sinks.credit.url=http://127.0.0.1:8090"),
        ("sinks.store.url=postgresql://me:hidden@127.0.0.1/db", "sinks.store.url=..."),
        ("sinks.credit.auth.token=hidden", "sinks.credit.auth.token=..."),
        ("sinks.store.password=hidden", "sinks.store.password=..."),
    ],
)
def test_what_is_to_be_called_next_holds_no_secret(given, shown):
    assert _without_secrets(given) == shown
