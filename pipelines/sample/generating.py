"""The nation written to a folder: shops' uploads, headquarters' feeds, reference data, and what is known about them."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from dataclasses import asdict, dataclass
from datetime import date, datetime, timedelta, timezone
from pathlib import Path
from typing import Any

from pipelines.errors import PipelineError
from pipelines.sample import reference
from pipelines.sample.chance import stream
from pipelines.sample.content import Content, Visit
from pipelines.sample.fleet import Fleet
from pipelines.sample.headquarters import Feed, Told, order
from pipelines.sample.registry import register
from pipelines.sample.schedule import schedule
from pipelines.sample.shops import OEMS, Shop, build_shops
from pipelines.sample.tally import COLLECT, HEADQUARTERS, Tally
from pipelines.sample.uploads import Desk, Upload
from pipelines.sample.wire import DIALECT_OF

FIRST_DAY = date(2026, 9, 1)
EXPECTED = "expected.json"
FOLDERS = ("shops", "headquarters", "reference", "later")
_MADE_BY = "vingate sample"
_UNFINISHED = "vingate-sample.unfinished"
"""Stands in the folder while it is being written: what an interrupted call left is replaced like a whole sample."""
_SHANGHAI = timezone(timedelta(hours=8), "Asia/Shanghai")
_REPEATED_EVERY, _HALF_WRITTEN_EVERY = 5, 90

Progress = Callable[[str, int, int], None]
"""Called with the stage (`visits`, `shops`, `headquarters`, `reference`), what is done of it, and all of it."""


class NotOurs(PipelineError):
    """The folder holds something that the generator did not write; it is left alone."""

    exit_code = 2

    def __init__(self, out: Path) -> None:
        self.out = out
        super().__init__(
            f"目录不为空，且不是 vingate sample 写的；请另选一个空目录：{out}"
            f" / not empty, and not written by vingate sample: {out}; choose an empty folder"
        )

    def __reduce__(self) -> tuple[type[NotOurs], tuple[Path]]:
        return NotOurs, (self.out,)


@dataclass(frozen=True, slots=True)
class Summary:
    """What was written where."""

    out: str
    seed: int
    scale: float
    first_day: str
    last_day: str
    received_at: str
    """The moment to give to a run as its receipt (ISO 8601): the evening after the last day."""
    shops: int
    """Shops that upload."""
    systems: int
    vehicles: int
    files: int
    """Upload and feed files that hold payloads."""
    bytes: int
    envelopes: int
    collect: int
    """Envelopes in shops' uploads."""
    headquarters: int
    """Envelopes in headquarters' feeds."""
    expected: str
    """Path of what the generator knows, for tests."""

    def as_dict(self) -> dict[str, Any]:
        """The summary as one JSON-able object."""
        return asdict(self)


def generate(
    out: Path,
    seed: int = 7,
    scale: float = 1.0,
    days: int = 21,
    progress: Progress | None = None,
    first_day: date = FIRST_DAY,
    judged_by: str = "lenient",
) -> Summary:
    """Write what partners would send for some weeks. The same arguments write the same bytes.

    Args:
        out: folder to write to: empty, new, or holding an earlier sample, which is replaced.
        seed: of all chance.
        scale: 1.0 gives 240 shops and 54,440 envelopes; both grow with it.
        days: days of visits, from `first_day` on; at least 7.
        progress: told how far it is.
        first_day: the first day of visits.
        judged_by: profile by which the run will judge: a shipped name, or a profile file. What is expected follows it.

    Raises:
        NotOurs: `out` holds something else.
        ValueError: `scale` is not above 0 or `days` below 7.
    """
    if scale <= 0 or days < 7:
        message = "scale 须大于 0，days 至少为 7 / scale must be above 0 and days at least 7"
        raise ValueError(message)
    _make_room(out)
    return _Nation(out, seed, scale, days, first_day, progress or _silent, Tally(judged_by)).write()


def _silent(stage: str, done: int, of: int) -> None:
    """Tell nobody."""


def _make_room(out: Path) -> None:
    """Remove an earlier sample, whole or not; refuse a folder with anything else in it."""
    if out.exists() and (not out.is_dir() or (any(out.iterdir()) and not _is_ours(out))):
        raise NotOurs(out)
    out.mkdir(parents=True, exist_ok=True)
    (out / _UNFINISHED).touch()
    (out / EXPECTED).unlink(missing_ok=True)
    for name in FOLDERS:
        shutil.rmtree(out / name, ignore_errors=True)


def _is_ours(out: Path) -> bool:
    """Whether a sample was written to a folder, or was begun."""
    expected = out / EXPECTED
    whole = expected.is_file() and f'"made_by": "{_MADE_BY}"' in expected.read_text("utf-8", "replace")
    return whole or (out / _UNFINISHED).is_file()


class _Nation:
    """One writing of the sample."""

    def __init__(
        self, out: Path, seed: int, scale: float, days: int, first_day: date, progress: Progress, tally: Tally
    ) -> None:
        self._out, self._seed, self._scale, self._days = out, seed, scale, days
        self._first_day, self._progress = first_day, progress
        self._tally = tally
        self._files = self._bytes = 0
        self._unknown: dict[str, str] = {}

    def write(self) -> Summary:
        shops = build_shops(self._seed, self._scale)
        visits, fleet = schedule(
            stream(self._seed, "visits"), shops, self._scale, self._days, lambda n, of: self._progress("visits", n, of)
        )
        vehicles = [vehicle for vehicle in fleet.all() if vehicle.visits]
        kinds = register(stream(self._seed, "registrations"), vehicles, self._days)
        told = self._shops(shops, visits)
        self._headquarters(told)
        later = self._reference(shops, fleet)
        return self._finish(shops, len(vehicles), kinds, later)

    def _shops(self, shops: list[Shop], visits: dict[str, list[Visit]]) -> dict[str, list[Told]]:
        """Write the shops' uploads; answers per OEM what its dealers did."""
        told: dict[str, list[Told]] = {oem: [] for oem in OEMS}
        for number, shop in enumerate(shops):
            own: dict[int, Content] = {}
            clean: dict[int, Content] = {}
            if shop.uploads:
                desk = Desk(self._seed, shop, self._first_day, self._days, self._tally)
                desk.take(visits[shop.code])
                self._uploads(shop, number, list(desk.files()))
                own, clean = desk.accepted, desk.clean
                self._unknown |= desk.unknown
            if shop.oem:
                told[shop.oem] += [Told(v, own.get(i), clean.get(i)) for i, v in enumerate(visits[shop.code])]
            self._progress("shops", number + 1, len(shops))
        return told

    def _uploads(self, shop: Shop, number: int, uploads: list[Upload]) -> None:
        folder = self._out / "shops" / shop.system / shop.code
        folder.mkdir(parents=True)
        for upload in uploads:
            self._put(folder / upload.name, upload.body)
        if number % _REPEATED_EVERY == 1:
            self._repeat(shop, folder, uploads)
        if number % _HALF_WRITTEN_EVERY == 3 and uploads:
            body = uploads[-1].body
            (folder / f"{uploads[-1].name}.part").write_bytes(body[: len(body) // 2])
            self._tally.files["half-written"] += 1
        if number == 5:
            (folder / "00000000.ndjson").write_bytes(b"")
            self._tally.files["empty"] += 1

    def _repeat(self, shop: Shop, folder: Path, uploads: list[Upload]) -> None:
        """Upload a whole file once more under another name."""
        for upload in uploads:
            if upload.sound:
                stem, _, ending = upload.name.partition(".")
                name = f"{stem}.again.{ending}"
                self._put(folder / name, upload.body)
                path = f"{shop.system}/{shop.code}/{name}"
                self._tally.repeat_file(shop.system, DIALECT_OF[shop.software], path, upload.codes)
                return

    def _headquarters(self, told: dict[str, list[Told]]) -> None:
        for number, (oem, visits) in enumerate(told.items()):
            feed = Feed(self._seed, oem, self._first_day, self._days, self._tally)
            for one in order(stream(self._seed, f"order:{oem}"), visits):
                feed.take(one)
            folder = self._out / "headquarters" / oem
            folder.mkdir(parents=True)
            for name, body in feed.files():
                self._put(folder / name, body)
            self._progress("headquarters", number + 1, len(told))

    def _reference(self, shops: list[Shop], fleet: Fleet) -> dict[str, int]:
        vehicles = fleet.all()
        later, counts = reference.later_registrations(self._seed, vehicles, self._unknown, self._first_day, self._days)
        files = {
            "reference/operators.ndjson": reference.operators(self._seed, shops),
            "reference/registrations.ndjson": reference.registrations(vehicles, self._first_day),
            "reference/dealers.toml": reference.dealers(shops, self._first_day),
            "reference/oems.toml": reference.oems(),
            "later/registrations-2.ndjson": later,
        }
        for number, (name, body) in enumerate(files.items()):
            place = self._out / name
            place.parent.mkdir(exist_ok=True)
            place.write_bytes(body)
            self._progress("reference", number + 1, len(files))
        return counts

    def _put(self, place: Path, body: bytes) -> None:
        place.write_bytes(body)
        self._files += 1
        self._bytes += len(body)

    def _finish(self, shops: list[Shop], vehicles: int, kinds: dict[str, int], later: dict[str, int]) -> Summary:
        report = self._tally.report()
        last_day = self._first_day + timedelta(days=self._days - 1)
        collect = report["exchanges"][COLLECT]["envelopes"]
        headquarters = report["exchanges"][HEADQUARTERS]["envelopes"]
        summary = Summary(
            out=str(self._out),
            seed=self._seed,
            scale=self._scale,
            first_day=self._first_day.isoformat(),
            last_day=last_day.isoformat(),
            received_at=datetime(last_day.year, last_day.month, last_day.day, 21, 30, tzinfo=_SHANGHAI).isoformat(),
            shops=sum(shop.uploads for shop in shops),
            systems=len({shop.system for shop in shops if shop.uploads}),
            vehicles=vehicles,
            files=self._files,
            bytes=self._bytes,
            envelopes=collect + headquarters,
            collect=collect,
            headquarters=headquarters,
            expected=str(self._out / EXPECTED),
        )
        known = {
            "made_by": _MADE_BY,
            **{name: value for name, value in summary.as_dict().items() if name not in ("out", "expected")},
            "registrations": kinds,
            "later": later,
            "software": _software(shops),
            "dealers": sum(bool(shop.oem) for shop in shops),
            **report,
        }
        (self._out / EXPECTED).write_text(json.dumps(known, ensure_ascii=False, indent=1) + "\n", "utf-8")
        (self._out / _UNFINISHED).unlink()
        return summary


def _software(shops: list[Shop]) -> dict[str, int]:
    counts: dict[str, int] = {}
    for shop in shops:
        if shop.uploads:
            counts[shop.software] = counts.get(shop.software, 0) + 1
    return dict(sorted(counts.items()))
