import pickle
import stat

import pytest

from dlq.errors import KeyLost, KeyUnsafe, SealError, Tampered, WrongKey
from dlq.sealing import OVERHEAD, Sealer


@pytest.fixture
def path(tmp_path):
    return tmp_path / "keys" / "letters.key"


def test_first_run_makes_a_key_that_only_its_owner_can_read(path):
    sealer = Sealer.open(path, create=True)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700
    assert [entry.name for entry in path.parent.iterdir()] == ["letters.key"]
    assert Sealer.open(path, create=False).unseal(sealer.seal(b"body", b"c"), b"c") == b"body"


def test_second_run_keeps_the_key(path):
    assert Sealer.open(path, create=True).fingerprint == Sealer.open(path, create=True).fingerprint


def test_missing_key_says_what_is_lost_and_what_is_not(path):
    with pytest.raises(KeyLost, match=r"未丢失.*Not lost: delivered records"):
        Sealer.open(path, create=False)
    assert not path.exists()


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o644, 0o620])
def test_key_that_others_can_reach_is_refused_with_the_remedy(path, mode):
    Sealer.open(path, create=True)
    path.chmod(mode)
    with pytest.raises(KeyUnsafe, match="chmod 600"):
        Sealer.open(path, create=False)


@pytest.mark.parametrize("content", [b"", b"vingate-key-1 abcd\n", b"vingate-key-1 zz\n", b"\xff\xfe", b"0" * 64])
def test_file_without_a_key_is_refused(path, content):
    Sealer.open(path, create=True)
    path.write_bytes(content)
    with pytest.raises(KeyUnsafe, match="holds no key"):
        Sealer.open(path, create=True)


def test_folder_in_the_way_is_an_error_with_words(path):
    path.parent.mkdir()
    path.mkdir()
    with pytest.raises(KeyUnsafe):
        Sealer.open(path, create=True)
    (path.parent / "file").write_text("")
    with pytest.raises(SealError, match="cannot make the key file"):
        Sealer.open(path.parent / "file" / "key", create=True)


def test_nonces_differ_and_overhead_is_as_said(path):
    sealer = Sealer.open(path, create=True)
    first, second = sealer.seal(b"same", b"c"), sealer.seal(b"same", b"c")
    assert first != second
    assert len(first) == len(b"same") + OVERHEAD
    assert b"same" not in first


def test_every_changed_byte_is_noticed():
    sealer = Sealer(b"k" * 32)
    sealed = sealer.seal(b"the original bytes", b"letter:1")
    for place in range(len(sealed)):
        broken = bytearray(sealed)
        broken[place] ^= 1
        with pytest.raises((Tampered, WrongKey)):
            sealer.unseal(bytes(broken), b"letter:1")
    for cut in (0, 1, OVERHEAD - 1, len(sealed) - 1):
        with pytest.raises(Tampered):
            sealer.unseal(sealed[:cut], b"letter:1")
    with pytest.raises(Tampered):
        sealer.unseal(sealed, b"letter:2")


def test_another_key_is_told_apart_from_damage():
    with pytest.raises(WrongKey, match="original key file"):
        Sealer(b"a" * 32).unseal(Sealer(b"b" * 32).seal(b"x", b""), b"")


def test_pickles_by_path_without_the_key_or_with_it_when_carried(path):
    sealer = Sealer.open(path, create=True)
    key = bytes.fromhex(path.read_text().split()[1])
    sealed = sealer.seal(b"x", b"c")
    assert key not in pickle.dumps(sealer)
    assert pickle.loads(pickle.dumps(sealer)).unseal(sealed, b"c") == b"x"  # noqa: S301
    carried = pickle.dumps(sealer.carried())
    path.unlink()
    assert pickle.loads(carried).unseal(sealed, b"c") == b"x"  # noqa: S301
    with pytest.raises(KeyLost):
        pickle.loads(pickle.dumps(sealer))  # noqa: S301


def test_key_stands_in_no_repr(path):
    sealer = Sealer.open(path, create=True)
    text = path.read_text().split()[1]
    assert text not in repr(sealer)
    assert repr(bytes.fromhex(text)) not in repr(sealer)
    assert repr(sealer) == f"Sealer({sealer.fingerprint})"


def test_pseudonyms_are_keyed_and_stable():
    one, two = Sealer(b"a" * 32), Sealer(b"b" * 32)
    assert one.pseudonym("LSVAL41Z882104202") == one.carried().pseudonym("LSVAL41Z882104202")
    assert one.pseudonym("LSVAL41Z882104202") != two.pseudonym("LSVAL41Z882104202")
    assert one.pseudonym("") == ""
    assert len(one.pseudonym("\ud800")) == 32


def test_short_key_is_refused():
    with pytest.raises(KeyUnsafe):
        Sealer(b"short")
