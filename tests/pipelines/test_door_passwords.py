"""Passwords: only the right one fits, whatever form is stored; nothing of them is shown."""

from __future__ import annotations

import hashlib
import pickle

import pytest
from door_samples import CHEAP
from hypothesis import given
from hypothesis import strategies as st

from pipelines.door import passwords
from pipelines.door.passwords import Cost, Given, acceptable, generate, hashed, known_form, outdated

TEXTS = st.text(min_size=1, max_size=40)


@given(TEXTS, TEXTS)
def test_only_the_right_password_fits(right, other):
    stored = hashed(right, CHEAP)
    assert Given(right, CHEAP).fits(stored)
    assert Given(other, CHEAP).fits(stored) == (other == right)
    assert right not in stored or len(right) < 4
    assert known_form(stored)


@given(st.sampled_from(["MD5", "SHA1", "SHA256"]), st.text(max_size=20), st.booleans())
def test_legacy_hashes_fit_and_are_renewed(name, password, upper):
    digest = hashlib.new(name.lower(), password.encode()).hexdigest()
    stored = f"{{{name}}}{digest.upper() if upper else digest}"
    given = Given(password, CHEAP)
    assert known_form(stored)
    assert given.fits(stored)
    assert not Given(password + "x", CHEAP).fits(stored)
    renewed = given.renewed(stored)
    assert renewed.startswith("$scrypt$")
    assert Given(password, CHEAP).fits(renewed)


def test_a_hash_is_renewed_when_the_cost_changed_and_only_then():
    stored = hashed("secret", CHEAP)
    assert Given("secret", CHEAP).renewed(stored) == stored
    dearer = Given("secret", Cost(ln=5))
    assert dearer.fits(stored)
    assert outdated(stored, Cost(ln=5))
    assert "ln=5," in dearer.renewed(stored)


@pytest.mark.parametrize(
    "stored",
    [
        "",
        "plain",
        "{MD5}" + "0" * 31,
        "{MD5}" + "0" * 40,
        "{SHA512}" + "0" * 128,
        "{md5}" + "0" * 32,
        "$argon2id$v=19$m=65536,t=3,p=4$AAAAAAAAAAA$AAAAAAAAAAAAAAAAAAAAAA",
        "$scrypt$ln=20,r=8,p=1$AAAAAAAAAAA$AAAAAAAAAAAAAAAAAAAAAA",
        "$scrypt$ln=4,r=8,p=17$AAAAAAAAAAA$AAAAAAAAAAAAAAAAAAAAAA",
        "$scrypt$ln=0,r=8,p=1$AAAAAAAAAAA$AAAAAAAAAAAAAAAAAAAAAA",
        "$scrypt$ln=4,r=8,p=1$AAAAAAAAAAAAA$AAAAAAAAAAAAAAAAAAAAAAAAA",
        "$scrypt$ln=4,r=8,p=1$AAAA AAAAAA$AAAAAAAAAAAAAAAAAAAAAA",
        "$scrypt$ln=4,r=8,p=1$AAAAAAAAAAAAAAAAAAAAAA$" + "A" * 43 + "\n",
    ],
)
def test_what_is_no_hash_fits_nothing_and_costs_no_memory(stored):
    if stored.startswith("$scrypt$ln=20"):
        assert Cost(20).memory > 256 << 20
    assert not known_form(stored)
    assert not Given("secret", CHEAP).fits(stored)


def test_every_comparison_costs_one_scrypt(monkeypatch):
    done = []
    real = hashlib.scrypt
    monkeypatch.setattr(passwords.hashlib, "scrypt", lambda *a, **k: done.append(k["n"]) or real(*a, **k))
    stored = hashed("secret", CHEAP)
    legacy = "{MD5}" + hashlib.md5(b"secret").hexdigest()  # noqa: S324 - what old platforms have
    for password in ("secret", "wrong", "x" * 300):
        for form in ("", stored, legacy, "junk"):
            done.clear()
            given = Given(password, CHEAP)
            given.fits(form)
            if given.fits(form):
                given.renewed(form)
            assert done == [CHEAP_N], (password, form)
        given = Given(password, Cost(ln=5))
        done.clear()
        if given.fits(stored):
            given.renewed(stored)
        assert done.count(32) == 1


CHEAP_N = 1 << CHEAP.ln


@pytest.mark.parametrize(
    ("password", "fine"),
    [
        ("secret", True),
        ("short", False),
        ("x" * 256, True),
        ("x" * 257, False),
        ("密" * 86, False),
        ("tab\tbed", False),
    ],
)
def test_what_may_be_set(password, fine):
    assert acceptable(password) == fine


def test_too_long_a_password_is_neither_hashed_nor_compared():
    with pytest.raises(ValueError, match="256"):
        hashed("x" * 257, CHEAP)
    assert not Given("x" * 257, CHEAP).fits(hashed("x" * 256, CHEAP))


def test_generated_passwords_are_acceptable_and_differ():
    made = {generate() for _ in range(50)}
    assert len(made) == 50
    assert all(acceptable(one) and len(one) == 16 for one in made)


def test_a_given_password_shows_nowhere_and_is_not_pickled():
    given = Given("hunter2hunter2", CHEAP)
    given.hashed()
    assert "hunter2" not in repr(given)
    with pytest.raises(TypeError):
        pickle.dumps(given)
