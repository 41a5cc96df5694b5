"""deploy/: the unit is one to systemd, every setting of the compose file exists, and the image's steps can be done."""

from __future__ import annotations

import configparser
import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from connectors.confidential import revealed
from pipelines.cli import main
from pipelines.serving.roles import load

ROOT = Path(__file__).parents[1]
DEPLOY = ROOT / "deploy"
UNIT = DEPLOY / "systemd" / "vingate@.service"
COMPOSE = yaml.safe_load((DEPLOY / "compose.yaml").read_text("utf-8"))
OURS = {name: one for name, one in COMPOSE["services"].items() if "build" in one}
ROLES = {name: one for name, one in OURS.items() if "entrypoint" not in one}
KNOWN = {
    "image", "build", "restart", "init", "stop_grace_period", "depends_on", "environment", "configs", "volumes",
    "healthcheck", "hostname", "entrypoint", "command", "ports",
}  # fmt: skip
"""Members of a service in the Compose Specification that the file uses."""


# -- systemd -----------------------------------------------------------------------------------------------------------


def unit():
    """Sections of the unit."""
    read = configparser.RawConfigParser(strict=False, delimiters=("=",), comment_prefixes=("#",))
    read.optionxform = str
    read.read_string(UNIT.read_text("utf-8"))
    return read


def verified(folder, text):
    """What systemd says of a unit, with a command that is there."""
    (folder / UNIT.name).write_text(text.replace("/opt/vingate/bin/vingate", "/bin/true"), "utf-8")
    command = ["systemd-analyze", "verify", "--man=no", folder / "vingate@province.service"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    return done.returncode, done.stdout + done.stderr


@pytest.mark.skipif(not shutil.which("systemd-analyze"), reason="systemd is not installed")
def test_systemd_takes_the_unit_and_says_nothing_against_it(tmp_path):
    text = UNIT.read_text("utf-8")
    assert verified(tmp_path, text) == (0, "")
    _, said = verified(tmp_path, text.replace("TimeoutStopSec", "TimeoutStopSek"))
    assert "TimeoutStopSek" in said, "a wrong line would be told"


def test_the_unit_starts_a_role_as_the_command_line_takes_it_and_lets_it_finish():
    service = unit()["Service"]
    command = service["ExecStart"].replace("%i", "province").replace("${STATE_DIRECTORY}", "/var/lib/vingate/province")
    program, verb, role, option, state = command.split()
    assert (Path(program).name, verb, option, state) == ("vingate", "serve", "--state", "/var/lib/vingate/province")
    assert (DEPLOY / "roles" / Path(role).name).is_file()
    shown = subprocess.run(
        [sys.executable, "-m", "pipelines", "serve", "--help"], cwd=ROOT, capture_output=True, text=True
    )
    assert "--state" in shown.stdout
    for path in (DEPLOY / "roles").glob("*.toml"):
        assert load(path, (), {}).role.stop_seconds < float(service["TimeoutStopSec"])
    assert service["ExecReload"].split()[1:] == ["-HUP", "$MAINPID"]
    assert (service["User"], service["NoNewPrivileges"], service["ProtectSystem"]) == ("vingate", "true", "strict")


# -- compose -----------------------------------------------------------------------------------------------------------


def options(service):
    """State and overrides of a role's command."""
    role, *more = service["command"]
    state = [one.removeprefix("--state=") for one in more if one.startswith("--state=")]
    said = [one.removeprefix("--set=") for one in more if one.startswith("--set=")]
    assert len(state) + len(said) == len(more)
    return role, state, said


def addresses(role):
    """Variables that a role takes from the environment."""
    lines = (ROOT / role).read_text("utf-8").splitlines()
    return {one for line in lines if not line.startswith("#") for one in re.findall(r"env:(\w+)", line)}


def test_the_compose_file_is_of_the_form_that_compose_takes():
    assert set(COMPOSE) <= {"name", "x-vingate", "x-made", "services", "configs", "volumes"}
    for name, service in COMPOSE["services"].items():
        assert set(service) <= KNOWN, name
        assert ("image" in service) != ("build" in service), name
        for other, about in service.get("depends_on", {}).items():
            healthy = about["condition"] == "service_healthy"
            assert not healthy or "healthcheck" in COMPOSE["services"][other], f"{other} never becomes healthy"
        for volume in service.get("volumes", []):
            assert volume.split(":")[0] in COMPOSE["volumes"], volume
        for config in service.get("configs", []):
            assert config["source"] in COMPOSE["configs"]
        for build in (service["build"],) if "build" in service else ():
            assert (DEPLOY / build["context"] / build["dockerfile"]).is_file()


@pytest.mark.parametrize("name", ROLES)
def test_every_setting_of_a_service_exists(name, monkeypatch):
    service = ROLES[name]
    role, state, said = options(service)
    for variable, value in service["environment"].items():
        monkeypatch.setenv(variable, re.sub(r"\$\{(\w+)[^}]*\}", r"\1", value))
    loaded = load(ROOT / role, said, {}).role
    assert state == [volume.split(":")[1] for volume in service["volumes"]]
    named = addresses(role)
    assert named <= set(service["environment"]), "addresses that the role takes from the environment"
    hosts = {re.search(r"@([\w.-]+)", os.environ[one])[1] for one in named}
    assert hosts <= set(COMPOSE["services"]), "hosts are services"
    assert revealed(loaded.state.url, "url").endswith(f"/{name}_state")
    ports = {int(port.split(":")[1]) for port in service["ports"]}
    assert ports == {loaded.health.port, *([loaded.door.port] if loaded.door else [])}
    assert loaded.health.host == "0.0.0.0", "or nobody outside the container could ask"  # noqa: S104
    assert loaded.door is None or loaded.door.host == "0.0.0.0"  # noqa: S104
    grace = float(service["stop_grace_period"].removesuffix("s"))
    assert loaded.stop_seconds < grace


def test_every_database_that_is_named_is_made():
    made = set(re.findall(r"CREATE DATABASE (\w+);", COMPOSE["configs"]["databases"]["content"]))
    named = {
        url.rpartition("/")[2] for one in ROLES.values() for url in one["environment"].values() if "postgres" in url
    }
    assert named == made
    initdb = COMPOSE["services"]["database"]["environment"]["POSTGRES_INITDB_ARGS"]
    assert initdb.split() == ["--encoding=UTF8", "--locale=C"], "what the state asks of its database"


@pytest.mark.parametrize("name", ROLES)
def test_what_a_role_needs_is_made_on_its_own_volume_before_it_starts(name):
    made = COMPOSE["services"][f"{name}-made"]
    assert ROLES[name]["depends_on"][f"{name}-made"] == {"condition": "service_completed_successfully"}
    assert made["entrypoint"] == ["vingate", "check"]
    role, *more = made["command"]
    assert (role, more) == (ROLES[name]["command"][0], ["--declare", "--state=/state"])
    assert made["volumes"] == ROLES[name]["volumes"]
    assert addresses(role) <= set(made["environment"])


@pytest.mark.parametrize("path", sorted((DEPLOY / "roles").glob("*.toml")), ids=lambda path: path.stem)
def test_a_role_can_be_checked_and_declared_on_an_empty_volume(path, tmp_path, monkeypatch, capsys):
    """Its servers are away here: parts of it may not answer, but nothing may be missing in its state."""
    for name in addresses(path):
        nowhere = "amqp://u:p@127.0.0.1:1/" if "AMQP" in name else "postgresql+psycopg://u:p@127.0.0.1:1/none"
        monkeypatch.setenv(name, nowhere)
    there = ["--state", str(tmp_path), "--json"]
    assert main(["check", str(path), "--declare", *there]) in (0, 1), capsys.readouterr().err
    capsys.readouterr()
    assert main(["check", str(path), *there]) in (0, 1), capsys.readouterr().err
    problems = [one["problem"] for one in json.loads(capsys.readouterr().out)["parts"]]
    assert not any(str(tmp_path) in problem for problem in problems), problems


# -- image -------------------------------------------------------------------------------------------------------------


def steps():
    """Instruction and arguments of each step of the Dockerfile."""
    text = (DEPLOY / "Dockerfile").read_text("utf-8").replace("\\\n", " ")
    lines = [line for line in text.splitlines() if line and not line.startswith("#")]
    return [tuple(line.split(None, 1)) for line in lines]


def test_the_image_is_built_from_what_is_there_and_runs_a_role(tmp_path):
    """The steps that need no registry, by hand: copies, the installation without dependencies, the default command."""
    source, site, home = tmp_path / "src", tmp_path / "site", tmp_path / "vingate"
    for word, rest in steps():
        given = rest.split()
        if word == "COPY" and not given[0].startswith("--"):
            *copied, target = given
            place = {"/src": source, "/opt": home}[f"/{target.split('/')[1]}"]
            for one in copied:
                assert (ROOT / one).exists(), one
                ignored = shutil.ignore_patterns("__pycache__")
                if (ROOT / one).is_dir():
                    shutil.copytree(ROOT / one, place / Path(target).name, ignore=ignored)
                else:
                    place.mkdir(exist_ok=True)
                    shutil.copy(ROOT / one, place)
    ((install,),) = [[rest] for word, rest in steps() if word == "RUN" and "--no-deps" in rest]
    program, verb, *more = install.split()
    assert (Path(program).name, verb, more[-1]) == ("pip", "install", "/src")
    command = [sys.executable, "-m", "pip", "install", "--quiet", "--no-index", "--target", site, *more[:-1], source]
    done = subprocess.run(list(map(str, command)), capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    said = {word: json.loads(rest) for word, rest in steps() if word in ("ENTRYPOINT", "CMD")}
    assert said["ENTRYPOINT"] == ["vingate", "serve"]
    role, *more = said["CMD"]
    assert more[-2:] == ["--state", "/state"]
    # The copy must be what runs, not this checkout, which the environment links.
    runs = (
        f"import sys; sys.path.insert(0, {str(site)!r}); import pipelines; print(pipelines.__file__, file=sys.stderr);"
        " from pipelines.cli import main; sys.exit(main(sys.argv[1:]))"
    )
    arguments = ["check", role, *more[:-2], "--state", str(tmp_path / "state"), "--json"]
    checked = subprocess.run(
        [sys.executable, "-c", runs, *arguments], cwd=home, capture_output=True, text=True, timeout=120
    )
    assert checked.returncode == 0, checked.stdout + checked.stderr
    assert json.loads(checked.stdout)["usable"]
    assert checked.stderr.startswith(str(site))


def test_the_image_runs_as_a_user_of_its_own_and_stops_by_sigterm():
    words = dict(steps())
    assert words["USER"] == "vingate"
    assert words["STOPSIGNAL"] == "SIGTERM"
    assert words["VOLUME"] == "/state"
    assert [rest for word, rest in steps() if word == "RUN" and "-r " in rest and "--require-hashes" not in rest] == []
