import errno
import importlib
import pickle
import pkgutil
import sqlite3

import pytest
from sqlalchemy import create_engine, text
from sqlalchemy.exc import IntegrityError, OperationalError
from sqlalchemy.exc import TimeoutError as PoolTimeout

from connectors.contracts import ConnectorError, Misconfigured, Outcome, Unavailable, Unreadable
from dlq import reasons
from dlq.errors import DlqError, Untranslated
from dlq.reasons import from_error, from_findings, from_outcome, from_text, pack, reason, unpack
from mappings.findings import Finding, catalogue

PACKAGES = ("mappings", "routing", "connectors", "dlq")


def error_classes():
    """Every exception class that a module of the packages below `pipelines` defines."""
    found = {}
    for package in PACKAGES:
        root = importlib.import_module(package)
        for info in pkgutil.walk_packages(root.__path__, f"{package}."):
            module = importlib.import_module(info.name)
            for value in vars(module).values():
                if (
                    isinstance(value, type)
                    and issubclass(value, Exception)
                    and value.__module__ == module.__name__
                    and value.__name__[0] != "_"
                ):
                    found[f"{value.__module__}.{value.__qualname__}"] = value
    return found


def bare(kind):
    """An instance whose constructor's parameters do not matter."""
    return kind.__new__(kind)


def test_every_error_class_of_the_packages_is_translated():
    classes = error_classes()
    assert {"connectors.contracts.Unreadable", "dlq.errors.KeyLost", "routing.errors.NoRoute"} <= set(classes)
    missing = []
    for name, kind in classes.items():
        if kind in {Untranslated, DlqError}:
            continue  # the bug itself, and a base that nothing raises
        try:
            from_error(bare(kind))
        except Untranslated:
            missing.append(name)
    assert not missing, f"give these a line in dlq.reasons.ERRORS: {missing}"


def test_the_walk_sees_a_class_without_translation(monkeypatch):
    monkeypatch.setattr(reasons, "ERRORS", {})
    with pytest.raises(Untranslated):
        from_error(bare(error_classes()["routing.errors.NoRoute"]))


def test_translated_names_exist():
    classes = error_classes()
    assert set(reasons.ERRORS) <= set(classes)


def test_every_code_has_both_languages_and_a_remedy():
    codes = reasons.codes()
    assert set(catalogue()) <= codes
    for code in codes:
        got = reason(code)
        assert got.kind in {"refused", "unavailable", "bug"}
        assert all((got.zh, got.en, got.remedy_zh, got.remedy_en)), code
        assert not got.en.isupper()


def test_every_code_that_is_translated_to_has_a_text():
    targets = {*reasons.ERRORS.values(), *reasons._FACTS.values(), *reasons._ERRNO.values(), *reasons._SQLITE.values()}
    assert targets <= reasons.codes()


def test_nobody_translated_it_stops_loudly_without_its_text():
    with pytest.raises(Untranslated) as caught:
        from_error(KeyError("password=Test1234"))
    assert "KeyError" in str(caught.value)
    assert "Test1234" not in str(caught.value)
    assert isinstance(caught.value.__cause__, KeyError)
    with pytest.raises(Untranslated):
        reason("NO_SUCH_CODE")


@pytest.mark.parametrize(
    ("error", "code", "heals"),
    [
        (Unavailable("no answer"), "UNAVAILABLE", True),
        (Misconfigured("no such folder", "make it"), "MISCONFIGURED", False),
        (Unreadable("cut"), "UNREADABLE", False),
        (ConnectorError("?"), "MISCONFIGURED", False),
        (OSError(errno.ENOSPC, "No space left on device"), "DISK_FULL", True),
        (OSError(errno.EDQUOT, "Quota exceeded"), "DISK_FULL", True),
        (PermissionError(errno.EACCES, "Permission denied", "/x"), "PERMISSION_DENIED", False),
        (FileNotFoundError(errno.ENOENT, "No such file", "/x"), "SOURCE_GONE", False),
        (IsADirectoryError(errno.EISDIR, "Is a directory"), "UNREADABLE", False),
        (ConnectionResetError(errno.ECONNRESET, "reset"), "UNAVAILABLE", True),
        (ConnectionError("gone"), "UNAVAILABLE", True),
        (TimeoutError("late"), "UNAVAILABLE", True),
        (PoolTimeout("pool"), "STORE_BUSY", True),
        (OperationalError("x", {}, Exception("server closed the connection")), "STORE_BUSY", True),
    ],
)
def test_errors_and_their_reasons(error, code, heals):
    got = from_error(error)
    assert (got.code, got.heals) == (code, heals)


def test_subclass_named_for_the_fact_gets_its_own_code():
    class ArchiveBomb(Unreadable):
        pass

    class OddlyCut(Unreadable):
        pass

    assert from_error(ArchiveBomb("x")).code == "ARCHIVE_BOMB"
    assert from_error(OddlyCut("x")).code == "UNREADABLE"


def test_unknown_system_error_is_not_guessed():
    with pytest.raises(Untranslated):
        from_error(OSError("something"))
    with pytest.raises(Untranslated):
        from_error(OSError(errno.ENOEXEC, "Exec format error"))


def test_real_sqlite_errors(tmp_path):
    path = tmp_path / "x.db"
    engine = create_engine(f"sqlite:///{path}", connect_args={"timeout": 0})
    with engine.begin() as conn:
        conn.execute(text("create table t (a text unique)"))
        conn.execute(text("insert into t values ('x')"))
    other = sqlite3.connect(path)
    other.execute("begin exclusive")
    with pytest.raises(OperationalError) as busy, engine.begin() as conn:
        conn.execute(text("insert into t values ('secret-value')"))
    other.close()
    with pytest.raises(OperationalError) as wrong, engine.begin() as conn:
        conn.execute(text("insert into nothing values (1)"))
    with pytest.raises(IntegrityError) as twice, engine.begin() as conn:
        conn.execute(text("insert into t values ('x')"))
    engine.dispose()
    path.write_bytes(b"no database at all" * 100)
    with pytest.raises(Exception, match="not a database") as damaged, engine.begin() as conn:
        conn.execute(text("select * from t"))
    engine.dispose()
    assert from_error(busy.value).code == "STORE_BUSY"
    assert "secret-value" not in str(from_error(busy.value))
    assert from_error(damaged.value).code == "STORE_DAMAGED"
    for bug in (wrong.value, twice.value):
        with pytest.raises(Untranslated):
            from_error(bug)


def test_findings_give_all_that_reject_in_order_and_no_more():
    found = [
        Finding("VIN_MODEL_YEAR", "flag", "vin", "x", "y"),
        Finding("VIN_LENGTH", "reject", "vin", "LSVAL41Z88210", "17"),
        Finding("DATE_ORDER", "reject", "settledate", "2018-01-01", "2018-02-01 or later"),
    ]
    got = from_findings(found)
    assert [r.code for r in got] == ["VIN_LENGTH", "DATE_ORDER"]
    assert got[0].value == "LSV***210"
    assert got[1].value == "2018-01-01"
    assert got[1].expected == "2018-02-01 or later"
    assert from_findings(found[:1]) == ()


@pytest.mark.parametrize(
    ("field", "value", "gone"),
    [
        ("plate", "沪A12345", "A12345"),
        ("faultdescription", "请致电13800000012", "13800000012"),
        ("companylinkmantel", "13800000012", "13800000012"),
        ("access_token", "ABCDEF", "ABCDEF"),
        ("parts[0].name", "x" * 5_000, "x" * 500),
        ("", "token:abc", "abc"),
    ],
)
def test_values_are_masked_and_short(field, value, gone):
    got = reason("TOO_LONG", field=field, value=value)
    assert gone not in got.value
    assert len(got.value) <= reasons.SHOWN


def test_outcomes():
    refused = from_outcome(Outcome("refused", "车牌号错误"), "province-44")
    assert (refused.code, refused.value, refused.field) == ("REFUSED_BY_DESTINATION", "车牌号错误", "province-44")
    assert from_outcome(Outcome("refused", "VERSION_CONFLICT: 2"), "x").code == "VERSION_CONFLICT"
    assert from_outcome(Outcome("unavailable", "timeout"), "x").heals
    # a refused delivery never waits, and an unavailable one never dies, whatever the words say
    assert not from_outcome(Outcome("refused", "UNAVAILABLE: x"), "x").heals
    assert from_outcome(Outcome("unavailable", "VERSION_CONFLICT: x"), "x").heals
    with pytest.raises(Untranslated):
        from_outcome(Outcome("accepted"), "x")


def test_words_of_a_connector():
    assert from_text("ARCHIVE_BOMB: 1 KB became 9 GB").code == "ARCHIVE_BOMB"
    assert from_text("cut in half")[:1] == ("UNREADABLE",)


def test_reasons_survive_keeping_and_an_older_build():
    kept = from_findings([Finding("VIN_LENGTH", "reject", "vin\ud800", "坏\ud800", "17 \ud800")])
    assert unpack(pack(kept)) == kept
    old = unpack('[["GONE_CODE","refused","f","v","e"]]')[0]
    assert (old.code, old.kind, old.zh, old.field) == ("GONE_CODE", "refused", "GONE_CODE", "f")
    assert pickle.loads(pickle.dumps(kept)) == kept  # noqa: S301
