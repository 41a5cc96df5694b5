"""Several gateways may write into one folder: each stages for itself and sweeps nothing of the others'."""

from pathlib import Path

from connectors.files import FilesSink


def _sink(path: Path, owner: str) -> FilesSink:
    return FilesSink(FilesSink.Settings(path=path, owner=owner))


def test_an_owner_sweeps_only_what_it_staged(tmp_path: Path) -> None:
    one, other, nobody = (_sink(tmp_path, owner) for owner in ("one", "other", ""))
    mine = one.open("d", "b-1", "i")
    mine.add([b"{}"])
    staged = mine.close()

    assert other.sweep([]) == 0
    assert nobody.sweep([]) == 0
    assert Path(staged.temporary).is_file()
    assert one.sweep([]) == 1
    assert not Path(staged.temporary).exists()


def test_what_owners_stage_gets_the_same_final_names(tmp_path: Path) -> None:
    finals = []
    for owner in ("one", "other"):
        part = _sink(tmp_path, owner).open("d", "b-1", "i")
        part.add([b"{}"])
        finals.append(part.close().final)

    assert finals[0] == finals[1]
