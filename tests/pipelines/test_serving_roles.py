"""Settings of a role: exchanges by file and in place, overrides, errors with line and remedy, frozen files."""

import json
import re
from datetime import UTC, datetime
from pathlib import Path

import pytest

from pipelines.errors import SettingsError
from pipelines.serving.reloading import change
from pipelines.serving.roles import Role, frozen, load
from pipelines.serving.schedules import Schedule, schedule, seconds
from pipelines.serving.trial import usable_role

ROLES = sorted((Path(__file__).parents[2] / "deploy/roles").glob("*.toml"))

EXCHANGE = """
name = "collect"
description = "from its file"

[source]
connector = "files"
path = "in"

[mapping]
profile = "{here}/our.toml"

[sinks.out]
connector = "memory"
for = "province-*"
"""
ROLE = """
name = "province"

[health]
port = 0

[exchanges.collect]
file = "{here}/collect.toml"
every = "5s"
records = 50
mapping.dialect = "national"

[exchanges.collect.feeds.queue]
connector = "memory"
hub = "arrivals"

[exchanges.inline]
description = "fed by the door alone"
sinks.out = { connector = "memory" }
"""


@pytest.fixture
def role(tmp_path):
    (tmp_path / "collect.toml").write_text(EXCHANGE, "utf-8")
    (tmp_path / "our.toml").write_text('extends = "lenient"\n', "utf-8")
    path = tmp_path / "role.toml"
    path.write_text(ROLE, "utf-8")
    return path


def failure(path, *overrides, text=None):
    if text is not None:
        path.write_text(text, "utf-8")
    with pytest.raises(SettingsError) as caught:
        load(path, overrides, {})
    assert " / " in str(caught.value)
    return str(caught.value)


def test_an_exchange_comes_from_its_file_with_what_the_role_says_over_it(role):
    loaded = load(role, (), {})
    collect, inline = loaded.role.exchanges["collect"], loaded.role.exchanges["inline"]
    assert collect.settings.description == "from its file"
    assert collect.settings.mapping.dialect == "national"
    assert collect.settings.mapping.profile == f"{role.parent.as_posix()}/our.toml"
    assert (collect.records, collect.schedule) == (50, Schedule(every=5))
    assert collect.feeds["queue"].options == {"hub": "arrivals"}
    assert (inline.settings.name, inline.settings.source.connector) == ("inline", "memory")
    assert loaded.files == (role, role.parent / "collect.toml")
    assert Role.model_validate(loaded.data) == loaded.role


def test_overrides_reach_into_exchanges(role):
    said = ["exchanges.collect.batch.workers=2", "exchanges.inline.records=7", 'exchanges.inline.cron="0 2 * * *"']
    environment = {"VINGATE__HEALTH__PORT": "9000", "VINGATE__EXCHANGES__INLINE__RECORDS": "8"}
    made = load(role, said, environment).role
    assert made.exchanges["collect"].settings.batch.workers == 2
    assert (made.exchanges["inline"].records, made.health.port) == (7, 9000)
    assert made.exchanges["inline"].schedule == Schedule(cron="0 2 * * *")


@pytest.mark.parametrize(
    ("wrong", "line", "said"),
    [
        (ROLE.replace("every", "evry"), 9, "exchanges.collect.evry"),
        (ROLE.replace('"5s"', '"soon"'), 7, "exchanges.collect"),
        (ROLE.replace('hub = "arrivals"', 'hup = "arrivals"'), 15, "exchanges.collect.feeds.queue.hup"),
        (ROLE.replace('connector = "memory"\nhub', 'connector = "carrier-pigeon"\nhub'), 14, "installed: "),
        (ROLE.replace("port = 0", "port = 99999"), 5, "health.port"),
        (ROLE.replace("name =", "nane ="), 2, "nane"),
        (ROLE + "\n[door]\nexchange = 'nowhere'\n", 0, "'nowhere'"),
        (ROLE + "\n[logging]\nformat = 'xml'\n", 22, "logging.format"),
        (ROLE + "\nexchanges = 1\n", 21, "exchanges.inline.exchanges"),
        ("name = 'x'\nexchanges = 1\n", 2, "exchanges"),
        ('name = "empty"\n', 0, "exchanges"),
    ],
)
def test_what_is_wrong_is_named_with_its_line(role, wrong, line, said):
    told = failure(role, text=wrong)
    assert said in told
    if line:
        shown = wrong.splitlines()
        assert f"line {line}" in told, (told, shown[line - 1])


def test_what_is_wrong_in_the_file_of_an_exchange_is_named_there(role):
    file = role.parent / "collect.toml"
    file.write_text(EXCHANGE.replace("path =", "pth ="), "utf-8")
    told = failure(role)
    assert str(file) in told
    assert "source.pth（第 7 行 / line 7）" in told


def test_a_file_that_is_not_there_is_named(role):
    assert "no such settings file" in failure(role, text=ROLE.replace("collect.toml", "gone.toml"))


def test_a_secret_is_in_no_message_and_no_repr(role):
    secret = "hunter2"  # noqa: S105 - not one
    told = failure(role, text=f'{ROLE}\n[state]\nurl = "postgresql://u:{secret}@h/d"\nurll = "{secret}"\n')
    assert secret not in told
    role.write_text(f'{ROLE}\n[state]\nurl = "postgresql://u:{secret}@h/d"\n', "utf-8")
    assert secret not in repr(load(role, (), {}).role)


def test_what_runs_is_a_copy_of_what_was_validated(role, tmp_path):
    state = tmp_path / "state"
    state.mkdir()
    first = frozen(load(role, (), {}), state)
    copied = Path(first.role.exchanges["collect"].settings.mapping.profile)
    assert copied.is_relative_to(state)
    assert copied.read_text() == 'extends = "lenient"\n'
    assert role.parent / "our.toml" in first.files
    assert frozen(load(role, (), {}), state).role == first.role
    (role.parent / "our.toml").write_text('extends = "strict"\n', "utf-8")
    second = frozen(load(role, (), {}), state)
    assert second.role != first.role
    assert copied.read_text() == 'extends = "lenient"\n'
    assert change(first.role, second.role) == (False, False, True, ())


def test_what_a_change_takes(role):
    old = load(role, (), {}).role
    assert change(old, load(role, ["exchanges.inline.every=3s"], {}).role) == (False, False, True, ())
    assert change(old, load(role, ["exchanges.inline.records=3"], {}).role).gateway
    assert change(old, load(role, ["exchanges.collect.feeds.queue.hub=x"], {}).role) == (False, True, True, ())
    assert change(old, load(role, ["exchanges.more.description=x"], {}).role).gateway
    assert change(old, load(role, ["health.port=1"], {}).role) == (False, False, False, ("health",))
    door = ["door.operators=", "door.exchange=inline"]
    opened = load(role, door, {}).role
    assert change(old, opened).unmoved == ("door",)
    assert change(opened, load(role, [*door, "door.token_hours=1"], {}).role) == (True, False, False, ())
    assert change(opened, load(role, [*door, "door.port=1"], {}).role).unmoved == ("door.port",)
    assert change(opened, load(role, [*door, "exchanges.inline.mapping.dialect=national"], {}).role).door


@pytest.mark.parametrize("path", ROLES, ids=[path.stem for path in ROLES])
def test_every_shipped_role_can_be_used(path, tmp_path, monkeypatch):
    for name in re.findall(r"env:(\w+)", path.read_text("utf-8")):
        broker, database = "amqp://u:p@127.0.0.1:1/v", "postgresql+psycopg://u@127.0.0.1:1/d"
        monkeypatch.setenv(name, broker if "AMQP" in name else database if "URL" in name else "said")
    register = tmp_path / "reference/dealers.toml"
    register.parent.mkdir()
    register.write_text('[[dealer]]\ncompanycode = "440300000000001"\noem = "SVW"\nfrom = 2020-01-01\n', "utf-8")
    loaded = frozen(load(path, (), {}), tmp_path)
    assert loaded.role.name == path.stem
    usable_role(loaded.role, tmp_path)


def test_schedules():
    noon = datetime(2026, 1, 1, 4, 0, tzinfo=UTC)  # noon in China
    assert Schedule().after(noon) is None
    assert Schedule(every=5).after(noon) == datetime(2026, 1, 1, 4, 0, 5, tzinfo=UTC)
    assert Schedule(cron="0 2 * * *").after(noon) == datetime(2026, 1, 1, 18, 0, tzinfo=UTC)
    assert [seconds(text) for text in ("500ms", "5s", "1.5m", "2h", "1d")] == [0.5, 5, 90, 7200, 86400]
    assert schedule("", "") == Schedule()
    for every, cron in (("5s", "0 2 * * *"), ("0s", ""), ("five", ""), ("", "0 2 * *"), ("", "99 2 * * *")):
        with pytest.raises(ValueError, match=" / "):
            schedule(every, cron)


def test_a_store_in_the_folder_of_a_state_that_is_new_is_no_problem(role, tmp_path, capsys):
    from pipelines.cli import main

    sink = '\n[exchanges.inline.sinks.kept]\nconnector = "sql"\nurl = "sqlite:///{state}/stores/kept.db"\n'
    role.write_text(ROLE.replace('every = "5s"\n', "") + sink, "utf-8")
    state = tmp_path / "new" / "state"
    for declare, said in ([], "will be made"), (["--declare"], "0 current"), ([], "0 current"):
        main(["check", str(role), "--state", str(state), *declare, "--json"])
        parts = json.loads(capsys.readouterr().out)["parts"]
        (kept,) = [one for one in parts if (one["exchange"], one["part"]) == ("inline", "sinks.kept")]
        assert (kept["problem"], said in kept["said"][0]) == ("", True)
    assert (state / "stores/kept.db").exists()


def test_a_role_is_checked_part_by_part(role, tmp_path, capsys):
    from pipelines.cli import main

    role.write_text(ROLE.replace('every = "5s"\n', ""), "utf-8")
    assert main(["check", str(role), "--state", str(tmp_path), "--declare", "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert (told["role"], told["usable"]) == ("province", True)
    assert [(one["exchange"], one["part"]) for one in told["parts"]] == [
        ("collect", "feeds.queue"),
        ("collect", "sinks.out"),
        ("inline", "sinks.out"),
    ]
    broken = '\n[exchanges.broken.sinks.out]\nconnector = "sql"\nurl = "sqlite:////nowhere/at/all.db"\n'
    role.write_text(ROLE + broken, "utf-8")
    assert main(["check", str(role), "--state", str(tmp_path)]) == 1
    assert "✗ broken sinks.out" in capsys.readouterr().out
    assert main(["check", str(role.parent / "collect.toml"), "--declare"]) == 2
