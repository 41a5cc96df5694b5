"""The command line itself: what it loads, how it fails, and the small commands."""

from __future__ import annotations

import errno
import json
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from pipelines.cli import commands, main
from pipelines.cli.commands import COMMANDS, Command
from pipelines.cli.nation import commands as suggested
from pipelines.nation import Outcome

VIN = "LSVAA4180E2184587"


@pytest.fixture
def own_command(monkeypatch):
    """Register a command `own` that does what a test wants."""

    def register(function):
        monkeypatch.setattr(Command, "load", lambda self: function)
        monkeypatch.setattr("pipelines.cli.COMMANDS", (Command("own", "own", "own", "own", commands.WORK),))

    return register


def failing(error):
    def own() -> None:
        raise error

    return own


def test_help_lists_every_command_in_two_languages(capsys):
    assert main(["--help"]) == 0
    shown = capsys.readouterr().out
    assert all(f" {command.name} " in shown for command in COMMANDS)
    assert all(" / " in command.help for command in COMMANDS)
    assert "退出码 / exit codes" in shown
    assert main([]) == 2


@pytest.mark.parametrize("command", [c for c in COMMANDS if c.name != "bench"], ids=lambda c: c.name)
def test_every_command_teaches(command, capsys):
    assert main([command.name, "--help"]) == 0
    shown = capsys.readouterr().out
    assert f"vingate {command.name}" in shown
    assert " / " in shown


def test_an_unknown_command_gets_a_hint(capsys):
    assert main(["jugde"]) == 2
    assert "judge" in capsys.readouterr().err


def test_a_command_whose_module_is_missing_says_so_only_when_called(monkeypatch, capsys):
    gone = Command("gone", "nowhere", "gone", "gone / gone", commands.WORK)
    monkeypatch.setattr("pipelines.cli.COMMANDS", (*COMMANDS, gone))
    assert main(["--help"]) == 0
    assert main(["version"]) == 0
    capsys.readouterr()
    assert main(["gone"]) == 3
    assert "has no command gone" in capsys.readouterr().err


def test_each_command_is_loaded_alone():
    code = (
        "import sys; from pipelines.cli import main; main(['version']);"
        "print(sorted(name for name in sys.modules if name.startswith('pipelines.cli.')), file=sys.stderr);"
        "sys.exit(bool({'apache_beam', 'sqlalchemy', 'rich', 'numpy'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0
    assert done.stderr.strip() == str(["pipelines.cli.commands", "pipelines.cli.out", "pipelines.cli.version"])


def test_version(capsys):
    assert main(["version", "--json"]) == 0
    assert set(json.loads(capsys.readouterr().out)) == {"vingate", "python"}
    assert main(["version"]) == 0
    told = capsys.readouterr().out
    assert told.startswith("vingate ")
    assert main(["--version"]) == 0
    assert capsys.readouterr().out == told


@pytest.mark.parametrize(
    ("error", "code", "said"),
    [
        (OSError(errno.ENOSPC, "No space left on device", "/var/x"), 3, "make room"),
        (PermissionError(errno.EACCES, "Permission denied", "/var/x"), 3, "check the rights"),
        (OSError("odd"), 3, "odd"),
        (KeyError("LSVAA4180E2184587"), 3, "a bug: KeyError at test_cli_commands.py"),
    ],
)
def test_errors_are_one_paragraph_with_a_remedy(own_command, capsys, error, code, said):
    own_command(failing(error))
    assert main(["own"]) == code
    out, err = capsys.readouterr()
    assert out == ""
    assert said in err
    assert "Traceback" not in err
    assert VIN not in err
    assert len(err.strip().splitlines()) == 1


def test_every_error_of_ours_is_known(own_command, capsys):
    from connectors.contracts import Misconfigured, Unavailable
    from dlq.errors import KeyLost, NoSuchLetter
    from mappings.layout import MappingError
    from mappings.profiles import UnknownProfile
    from pipelines.errors import SettingsError, WorkFailed
    from routing.errors import TableError

    for error, code in (
        (Misconfigured("m", "r"), 2),
        (Unavailable("m", "r"), 3),
        (KeyLost("m"), 3),
        (NoSuchLetter("m"), 2),
        (MappingError("m", "r"), 2),
        (UnknownProfile("m", "r"), 2),
        (SettingsError("m"), 2),
        (WorkFailed("m"), 3),
        (TableError("s", 1, "m", "r"), 2),
    ):
        own_command(failing(error))
        assert main(["own"]) == code
        assert capsys.readouterr().err.strip() == str(error)


def test_what_a_runner_wrapped_is_unwrapped(own_command, capsys):
    from connectors.contracts import Unreadable

    def own() -> None:
        try:
            raise Unreadable("changed while it was read", "deliver it again")
        except Unreadable as error:
            message = "bundle failed"
            raise RuntimeError(message) from error

    own_command(own)
    assert main(["own"]) == 3
    assert "deliver it again" in capsys.readouterr().err


def test_a_bug_on_another_worker_is_named_with_its_place_there(own_command, capsys):
    text = """Pipeline job-001 failed in state FAILED: bundle inst002 failed:Traceback (most recent call last):
  File "pipelines/flow.py", line 7, in process
ValueError: the first

During handling of the above exception, another exception occurred:

Traceback (most recent call last):
  File "pipelines/flow.py", line 7, in process
    alive, dead = self._function(self._bench, load)
                  ^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^
  File "pipelines/steps.py", line 42, in judge
ZeroDivisionError: of LSVAL41Z5MD150780 [while running 'judge/ParDo(_Step)']
"""
    own_command(failing(RuntimeError(text)))
    assert main(["own"]) == 3
    err = capsys.readouterr().err
    assert "a bug: ZeroDivisionError at steps.py:42" in err
    assert "LSVAL" not in err


def test_debug_shows_the_traceback(own_command):
    own_command(failing(OSError(errno.ENOSPC, "No space left")))
    with pytest.raises(OSError, match="No space left"):
        main(["own", "--debug"])


def test_an_interrupted_command_says_that_the_state_is_safe(own_command, capsys):
    own_command(failing(KeyboardInterrupt()))
    assert main(["own"]) == 130
    assert "the state is safe" in capsys.readouterr().err


def test_a_damaged_state_is_explained(tmp_path, capsys):
    (tmp_path / "vingate.db").write_bytes(b"no database at all, but long enough to be looked at" * 20)
    assert main(["letters", "list", "--state", str(tmp_path)]) == 3
    assert "no vingate database" in capsys.readouterr().err


def test_a_reader_that_goes_away_ends_it_quietly(tmp_path):
    path = tmp_path / "many.ndjson"
    path.write_bytes(b"{}\n" * 20_000)
    command = f"{sys.executable} -m pipelines judge {path} --json | head -n 1"
    done = subprocess.run(["bash", "-c", command], capture_output=True, text=True, check=False)
    assert json.loads(done.stdout)["item"] == 0
    assert done.stderr == ""


def test_explain_prints_every_rule_and_why(capsys):
    assert main(["explain", "--vin", VIN, "--plate", "粤Z1234港", "--company", "440300000000001", "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert (told["vin"], told["plate"], told["home"]["provinces"]) == (VIN, "粤Z1234港", ["44"])
    assert [table["table"] for table in told["tables"]] == ["collect", "headquarters", "report", "push", "home"]
    assert all(line["verdict"] for table in told["tables"] for line in table["lines"])
    assert main(["explain", "--vin", VIN, "--plate", "粤B12345", "--table", "home"]) == 0
    shown = capsys.readouterr().out
    assert "[home]" in shown
    assert "[push]" not in shown


def test_explain_asks_registers(tmp_path, capsys):
    register = tmp_path / "dealers.csv"
    register.write_text("companycode,oem,from\n440300000000001,SVW,2020-01-01\n", "utf-8")
    oems = tmp_path / "oems.csv"
    oems.write_text("oem,names,wmis,from\nSVW,上汽大众,LSV,2020-01-01\n", "utf-8")
    arguments = ["explain", "--vin", VIN, "--company", "440300000000001", "--on", "2025-06-01", "--json"]
    assert main([*arguments, "--dealers", str(register), "--oems", str(oems)]) == 0
    assert json.loads(capsys.readouterr().out)["dealer_of"] == "SVW"
    for wrong in (["--on", "June"], ["--table", "nowhere"], ["--vin", " "], ["--state", str(tmp_path)]):
        assert main([*arguments, *wrong]) == 2
        assert " / " in capsys.readouterr().err


def test_mappings_are_listed_and_shown(capsys):
    assert main(["mappings", "list", "--json"]) == 0
    listed = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert {"national", "chengdu", "foshan", "shanghai", "csv", "oem"} <= {one["name"] for one in listed}
    assert main(["mappings", "show", "national", "--json"]) == 0
    shapes = json.loads(capsys.readouterr().out)["shapes"]
    assert any(shape["members"].get("vin") == ["basicInfo.vin"] for shape in shapes)
    assert main(["mappings", "list"]) == 0
    assert main(["mappings", "show", "klingon"]) == 2


def test_examples_beside_a_mapping_are_run(tmp_path, capsys):
    assert main(["mappings", "test", "--json"]) == 0
    capsys.readouterr()
    assert main(["mappings", "show", "csv"]) == 0
    (tmp_path / "ours.toml").write_text(capsys.readouterr().out.replace('name = "csv"', 'name = "ours"'), "utf-8")
    examples = tmp_path / "examples" / "ours"
    examples.mkdir(parents=True)
    (examples / "one.in.csv").write_text("结算清单编号,车牌号,VIN\nS1,沪A12345,X\n", "utf-8")
    (examples / "one.expected.json").write_text(json.dumps({"kind": "repair", "dialect": "chengdu"}), "utf-8")
    assert main(["mappings", "test", str(tmp_path / "ours.toml"), "--json"]) == 1
    (told,) = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert (told["passed"], told["differences"]) == (False, ["dialect: 'ours', expected 'chengdu'"])


def test_a_mapping_without_examples_does_not_pass(tmp_path, capsys):
    (tmp_path / "ours.toml").write_text('name = "ours"\nextends = ["national"]\n', "utf-8")
    for more in ([], ["--json"]):
        assert main(["mappings", "test", "csv", str(tmp_path / "ours.toml"), *more]) == 1
        out, err = capsys.readouterr()
        assert "csv" in out
        assert f"no examples: {tmp_path / 'examples' / 'ours'}" in err


def test_a_register_that_is_no_utf_8_is_named_with_the_remedy(tmp_path, capsys):
    register = tmp_path / "dealers.csv"
    register.write_bytes("companycode,oem,from\n440300000000001,上汽大众,2020-01-01\n".encode("gbk"))
    for option in (["--dealers", str(register)], ["--dealers", str(tmp_path / "none.csv")]):
        assert main(["explain", "--vin", VIN, *option]) == 2
        assert option[1] in capsys.readouterr().err
    assert main(["explain", "--vin", VIN, "--dealers", str(register)]) == 2
    assert "save it as UTF-8" in capsys.readouterr().err


@pytest.mark.parametrize(
    "arguments",
    [
        ["letters", "list", "--older-than", "999999d"],
        ["letters", "list", "--newer-than", "0001-01-01T00:00:00+12:00"],
        ["letters", "list", "--older-than", "June"],
        ["reconcile", "--from", "9999-12-31"],
        ["judge", "x.json", "--received-at", "9999-12-31T23:00:00-12:00"],
        ["judge", "x.json", "--received-at", "0001-01-01T00:00:00+12:00"],
        ["judge", "x.json", "--received-at", "2026-13-01"],
        ["explain", "--vin", VIN, "--on", "9999-12-31"],
    ],
)
def test_days_and_moments_beyond_all_records_are_wrong_use(tmp_path, capsys, arguments):
    there = ["--state", str(tmp_path)] if arguments[0] in ("letters", "reconcile") else []
    assert main([*arguments, *there]) == 2
    assert f"{arguments[-2]} {arguments[-1]}: " in capsys.readouterr().err


def test_commands_to_try_next_work_as_they_stand():
    outcome = Outcome(Path("my nation"), 0.0, [], [], 0, 0, 0, Path("my nation/report.html"), "")
    assert [shlex.split(one)[-1] for one in suggested(outcome)] == ["my nation"] * 3


@pytest.mark.parametrize("arguments", [["nation", "--state"], ["demo", "--folder"]], ids=["nation", "demo"])
def test_what_needs_a_checkout_says_so_and_makes_nothing(tmp_path, monkeypatch, capsys, arguments):
    monkeypatch.setattr("pipelines.nation.DEPLOY", tmp_path / "deploy")
    assert main([*arguments, str(tmp_path / "new")]) == 2
    assert "needs a checkout" in capsys.readouterr().err
    assert not (tmp_path / "new").exists()


def test_a_part_that_cannot_be_measured_is_wrong_use():
    assert main(["bench", "--only", "nonsense"]) == 2


def test_the_long_run_is_of_real_time_alone(capsys):
    assert main(["bench", "--soak", "30"]) == 2
    assert "belongs to realtime" in capsys.readouterr().err
