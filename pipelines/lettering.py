"""Replays as people order them: letters of any exchanges, those that may not go left out, and what came of each."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from dlq.letter import RESOLVED, Letter
from dlq.letters import LetterStore
from pipelines.coordinator import Coordinator
from pipelines.errors import SettingsError
from pipelines.keptsettings import kept_exchange, newest_run
from pipelines.progress import Observer, silent
from pipelines.replayorders import (
    FAILED,
    ORDERED,
    SKIPPED,
    Outcome,
    awaited,
    order,
    outcome_of,
    portions,
    refused,
    too_long,
)
from pipelines.settings import Exchange, load
from pipelines.state import State
from pipelines.usable import usable


@dataclass(frozen=True)
class Replayed:
    """What came of a replay."""

    letters: tuple[Outcome, ...]
    batches: tuple[str, ...]

    @property
    def went_through(self) -> bool:
        """Whether nothing died again and nothing had to be left out."""
        return all(one.outcome in (RESOLVED, "waiting") for one in self.letters)

    def as_object(self) -> dict[str, object]:
        """The stable form of `vingate letters replay --json` (docs/json.md)."""
        outcomes = [one.outcome for one in self.letters]
        return {
            "batches": list(self.batches),
            "resolved": outcomes.count(RESOLVED),
            "open": outcomes.count("open"),
            "parked": outcomes.count("parked"),
            "waiting": outcomes.count("waiting"),
            "skipped": outcomes.count(SKIPPED),
            "failed": outcomes.count(FAILED),
            "ordered": outcomes.count(ORDERED),
            "letters": [one._asdict() for one in self.letters],
        }


def replay_letters(
    state: State,
    ids: Sequence[str],
    settings: Path | None = None,
    overrides: Sequence[str] = (),
    observer: Observer = silent,
) -> Replayed:
    """Replay letters, exchange by exchange, by the settings that each exchange last ran with, or by those given.

    A letter that is resolved already counts as such, so that an order given twice does nothing twice.

    Raises:
        SettingsError: the settings given are of another exchange, or an exchange kept none and none are given.
        NoSuchLetter: an id that is not there.
    """
    told: dict[str, Outcome] = {}
    going: dict[str, list[Letter]] = {}
    given = load(settings, overrides) if settings is not None else None
    if overrides and given is None:
        message = "--set 需要 --settings 设置文件 / --set needs a settings file: name it with --settings"
        raise SettingsError(message)
    for letter in _letters(state, ids):
        if (known := refused(letter)) is None:
            going.setdefault(letter.exchange, []).append(letter)
        else:
            told[letter.id] = known
    batches: list[str] = []
    for exchange, letters in going.items():
        chosen = _settings(state, exchange, given)
        usable(chosen.placed(state.path))
        told |= {letter.id: known for letter in letters if (known := too_long(letter, chosen)) is not None}
        readable = sorted((one for one in letters if one.id not in told), key=lambda letter: letter.intake)
        names = [[letter.id for letter in portion] for portion in portions(readable, chosen.batch.bytes)]
        if names:
            batches += Coordinator(state, chosen, observer).replay(*names)
        told |= {letter.id: outcome_of(letter) for letter in _letters(state, [name for one in names for name in one])}
    return Replayed(tuple(told[name] for name in dict.fromkeys(ids)), tuple(batches))


def order_letters(state: State, ids: Sequence[str], seconds: float) -> Replayed:
    """Have whoever runs the exchanges replay letters, and wait so many seconds for what comes of it.

    Raises:
        NoSuchLetter: an id that is not there.
    """
    letters = _letters(state, ids)
    told = {letter.id: known for letter in letters if (known := refused(letter)) is not None}
    ordered = order(state, [letter for letter in letters if letter.id not in told])
    answers, batches = awaited(state, ordered, seconds)
    told |= answers
    return Replayed(tuple(told[name] for name in dict.fromkeys(ids)), tuple(batches))


def _letters(state: State, ids: Sequence[str]) -> list[Letter]:
    with state.reading() as connection:
        store = LetterStore(connection, state.sealer())
        return [store.get(name) for name in dict.fromkeys(ids)]


def _settings(state: State, exchange: str, given: Exchange | None) -> Exchange:
    if given is not None:
        if given.name != exchange:
            message = (
                f"死信属于交换 {exchange}，设置文件是 {given.name}；请给出该交换的设置"
                f" / the letters are of exchange {exchange}, the settings of {given.name}: name those of {exchange}"
            )
            raise SettingsError(message)
        return given
    with state.reading() as connection:
        run = newest_run(connection, exchange)
        kept = kept_exchange(connection, state.sealer(), run) if run is not None else None
    if kept is None:
        message = (
            f"状态中没有交换 {exchange} 的设置；请用 --settings 给出设置文件"
            f" / the state keeps no settings of exchange {exchange}: name its file with --settings"
        )
        raise SettingsError(message)
    return kept
