"""What all tests share: the same generated examples in every run, a clean environment, and places to find things."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings
from servers import postgres as own_postgres

ROOT = Path(__file__).parents[1]

# The same examples in every run and on every machine; `--hypothesis-profile=search` looks for new ones.
settings.register_profile(
    "steady",
    derandomize=True,
    database=None,
    deadline=None,
    max_examples=60,
    suppress_health_check=[HealthCheck.too_slow],
)
settings.register_profile("search", deadline=None, max_examples=2000, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("steady")

# Settings of the gateway that stand in the developer's own shell must not reach into tests or their subprocesses.
for _name in [name for name in os.environ if name.startswith("VINGATE_")]:
    del os.environ[_name]


class _FailuresAtOnce:
    """Says what failed when it fails: a run that is cut short prints no summary."""

    def __init__(self, config: pytest.Config) -> None:
        self._config = config

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        told = self._config.pluginmanager.get_plugin("terminalreporter")
        if report.failed and told is not None:
            told.write_line(f"\nFAILED {report.nodeid} ({report.when}, {report.duration:.0f} s)")


def pytest_configure(config: pytest.Config) -> None:
    """Of several processes, the one that prints."""
    if not hasattr(config, "workerinput"):
        config.pluginmanager.register(_FailuresAtOnce(config))


@pytest.fixture(scope="session")
def root() -> Path:
    """The project's root folder."""
    return ROOT


@pytest.fixture(scope="session")
def payloads() -> Path:
    """The folder of sample payloads, each one request body as a real client sends it."""
    return ROOT / "tests" / "payloads"


@pytest.fixture(scope="session")
def postgres_server(tmp_path_factory):
    """The run's own PostgreSQL, started when it is first wanted; take `postgres` or `postgres_alone` to use it."""
    return own_postgres.start(tmp_path_factory.getbasetemp())


@pytest.fixture
def postgres(postgres_server):
    """The run's own PostgreSQL, used beside others."""
    with postgres_server.shared():
        yield postgres_server


@pytest.fixture
def postgres_alone(postgres_server):
    """The run's own PostgreSQL while nobody else uses it, for who takes it down."""
    with postgres_server.alone():
        yield postgres_server


@pytest.fixture
def postgres_url(postgres):
    """The address of a new database on it."""
    with postgres.database() as url:
        yield url
