"""Settings of an exchange: overrides, environment, errors with line and remedy, placeholders."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from connectors.contracts import Misconfigured
from pipelines import sources
from pipelines.errors import SettingsError
from pipelines.settings import Connector, Exchange, load

TEXT = """
name = "collect"
description = "test"

[source]
connector = "files"
path = "{here}/in"

[batch]
workers = 1

[sinks.out]
connector = "avro"
path = "{state}/out"
for = "province-*"
"""


@pytest.fixture
def file(tmp_path):
    path = tmp_path / "a.toml"
    path.write_text(TEXT, "utf-8")
    return path


def failure(path, *overrides, environment=None):
    with pytest.raises(SettingsError) as caught:
        load(path, overrides, environment or {})
    return str(caught.value)


def test_a_file_is_read_with_defaults(file):
    made = load(file, (), {})
    assert (made.name, made.scope, made.runner) == ("collect", "collect", "embedded")
    assert (made.mapping.profile, made.rules.history, made.batch.workers) == ("strict", (), 1)
    assert made.sinks["out"].for_ == "province-*"
    assert made.sinks["out"].options == {"path": "{state}/out"}


def test_placeholders_stand_for_the_file_and_the_state(file):
    made = load(file, (), {})
    assert made.source.options["path"] == f"{file.parent.as_posix()}/in"
    placed = made.placed(Path("/var/gate"))
    assert placed.sinks["out"].options["path"] == "/var/gate/out"
    assert placed.sinks["out"].for_ == "province-*"
    assert made.sinks["out"].options["path"] == "{state}/out"


@pytest.mark.parametrize(
    ("override", "place", "value"),
    [
        ("batch.workers=2", ("batch", "workers"), 2),
        ("batch.workers= 2", ("batch", "workers"), 2),
        ("rules.history=[\"SETTLED_LATE\"]", ("rules", "history"), ("SETTLED_LATE",)),
        ("routing.registrations=true", ("routing", "registrations"), True),
        ("retry.first_seconds=0.5", ("retry", "first_seconds"), 0.5),
        ("versions.system=44", ("versions", "system"), "44"),
        ("versions.system=044", ("versions", "system"), "044"),
        ("versions.system=1.50", ("versions", "system"), "1.50"),
        ("versions.system=true", ("versions", "system"), "true"),
        ('versions.system="bt"', ("versions", "system"), "bt"),
        ("versions.system=a=b", ("versions", "system"), "a=b"),
        ("versions.system=", ("versions", "system"), ""),
        ("description=[not a list", ("description",), "[not a list"),
    ],
)  # fmt: skip
def test_overrides_mean_what_the_option_is(file, override, place, value):
    for made in (
        load(file, [override], {}),
        load(
            file, (), {"VINGATE__" + override.partition("=")[0].replace(".", "__").upper(): override.partition("=")[2]}
        ),
    ):
        found = made
        for name in place:
            found = getattr(found, name)
        assert found == value


def test_options_of_connectors_are_overridden_too(file):
    made = load(file, ["source.path=IN", "sinks.out.path=OUT", "sinks.more.connector=memory"], {})
    assert (made.source.options, made.sinks["out"].options) == ({"path": "IN"}, {"path": "OUT"})
    assert made.sinks["more"].connector == "memory"


def test_set_goes_over_the_environment_and_other_variables_are_left_alone(file):
    environment = {"VINGATE__SOURCE__PATH": "/env", "VINGATE_OTHER": "x", "PATH": "/bin"}
    assert load(file, (), environment).source.options["path"] == "/env"
    assert load(file, ["source.path=/set"], environment).source.options["path"] == "/set"


def test_an_unknown_option_is_named_with_line_and_remedy(file):
    file.write_text(TEXT.replace("workers = 1", "workers = 1\nworkerz = 2"), "utf-8")
    told = failure(file)
    assert "batch.workerz" in told
    assert "第 11 行 / line 11" in told
    assert "check its spelling" in told


def test_an_option_that_the_connector_does_not_know_is_named_with_line_and_remedy(file):
    file.write_text(TEXT.replace('path = "{here}/in"', 'path = "in"\ncolour = "s3cret"'), "utf-8")
    told = failure(file, 'sinks.out.password="s3cret"')
    assert "source.colour（第 8 行 / line 8）" in told
    assert "check its spelling" in told
    assert "stable_seconds" in told
    assert "sinks.out.password：" in told
    assert "s3cret" not in told
    file.write_text(TEXT.replace('path = "{here}/in"', 'path = "in"\nfinished = "burn"'), "utf-8")
    assert "source.finished（第 8 行 / line 8）" in failure(file)
    assert load(file, ["source.connector=unheard-of"], {}).source.connector == "unheard-of"


def test_wrong_values_and_missing_ones_are_named(file):
    assert "batch.workers" in failure(file, "batch.workers=many")
    file.write_text('name = "collect"\n', "utf-8")
    told = failure(file)
    assert "source" in told
    assert "add it" in told


def test_a_moment_needs_its_zone(file):
    assert "time zone" in failure(file, "received_at=2026-09-30T20:00:00")
    assert "1950-2200" in failure(file, "received_at=9999-12-31T23:00:00-12:00")
    assert load(file, ["received_at=2026-09-30T20:00:00+08:00"], {}).received_at.utcoffset().seconds == 8 * 3600


def test_what_is_no_settings_file_is_said(tmp_path, file):
    assert "no such settings file" in failure(tmp_path / "none.toml")
    assert "cannot be read" in failure(tmp_path)
    file.write_bytes(b"\xff\xfe\x00")
    assert "cannot be read" in failure(file)
    file.write_text("name = ", "utf-8")
    assert "not TOML" in failure(file)


@pytest.mark.parametrize(
    ("override", "words"), [("batch", "a.b=value"), ("=1", "a.b=value"), ("name.first=1", "no section")]
)
def test_an_override_that_cannot_be_meant_is_refused(file, override, words):
    assert words in failure(file, override)


@pytest.mark.parametrize("name", ["", "Collect", "1a", "a b", "a" * 32, "../x"])
def test_names_are_fit_for_folders(file, name):
    assert "name" in failure(file, f'name="{name}"')


def test_shipped_settings_are_valid(root):
    files = sorted((root / "deploy/exchanges").glob("*.toml"))
    assert {load(path, (), {}).name for path in files} >= {"bulk-files", "collect", "headquarters", "report", "push"}


def test_settings_travel_as_plain_data(file):
    made = load(file, (), {})
    assert Exchange.model_validate(made.model_dump(mode="json", by_alias=True)) == made


@given(st.text(max_size=30), st.text(max_size=30))
def test_no_override_ends_in_anything_but_settings_or_their_error(key, value):
    path = Path(__file__).parents[2] / "deploy/exchanges/bulk-files.toml"
    try:
        assert load(path, [f"{key}={value}"], {}).name
    except SettingsError as error:
        assert str(error)  # noqa: PT017 - either end is right


def test_stores_that_a_pattern_names_alike_are_refused_and_never_passed_over(tmp_path):
    for place in ("a/repairs.db", "b/repairs.db", "c/others.db"):
        (tmp_path / place).parent.mkdir()
        (tmp_path / place).touch()
    alike = Connector(connector="sql", url=f"sqlite:///{tmp_path}/*/*.db")
    with pytest.raises(Misconfigured, match="repairs") as told:
        sources.stores(alike)
    assert "others.db" not in str(told.value)
    assert sources.stores(Connector(connector="sql", url=f"sqlite:///{tmp_path}/[bc]/*.db")) == ["repairs", "others"]
