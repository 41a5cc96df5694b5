"""Orders of the three-step interface as they really arrive: steps shuffled over days, some lost, some corrected."""

from __future__ import annotations

from collections.abc import Callable

from pipelines.sample import shanghai
from pipelines.sample.chance import Random, between, odds
from pipelines.sample.content import Content
from pipelines.sample.shops import Shop
from pipelines.sample.tally import COLLECT, FRAGMENT, REJECTED, Tally

UNSETTLED, CORRECTED, SENT_AGAIN = 0.03, 0.04, 0.35

Post = Callable[[int, bytes], None]
"""Puts a line among those of a day."""

_IN_ITEMS = ("quantity-zero", "hours-zero")
"""Faults that show in the second step; all others of this dialect show in the first."""


def tell(rng: Random, shop: Shop, clean: Content, content: Content, day: int, post: Post, tally: Tally) -> bool:
    """Send one order step by step.

    Args:
        rng: chance.
        shop: who sends.
        clean: the content as it should be.
        content: the content as it was typed.
        day: offset of the settle day.
        post: takes each line with its day.
        tally: what is counted.

    Returns:
        Whether the order became whole, by the steps that are no letters.
    """
    lines = shanghai.steps(shop, content)
    at = 1 if content.quirks and content.quirks[0] in _IN_ITEMS else 0
    lost = between(rng, 1, 2) if odds(rng, UNSETTLED) else 0
    whole = not lost
    for step, line in enumerate(lines):
        if step and step == lost:
            continue
        codes = _codes(content, clean, step, at)
        quirks = content.quirks if step == at else ()
        rejected = tally.rejects(codes)
        post(day + (between(rng, 0, 2) if step else 0), line)
        tally.envelope(COLLECT, shop.system, "shanghai", REJECTED if rejected else FRAGMENT, codes, quirks)
        if not rejected:
            continue
        if odds(rng, SENT_AGAIN):
            post(day + 2, shanghai.steps(shop, clean)[step])
            tally.envelope(COLLECT, shop.system, "shanghai", FRAGMENT, clean.codes, ("sent-again",))
        else:
            whole = False
    if whole and odds(rng, CORRECTED):
        post(day + between(rng, 0, 3), shanghai.correction(shop, _corrected(clean)))
        tally.envelope(COLLECT, shop.system, "shanghai", FRAGMENT, clean.codes, ("order-corrected",))
        tally.shanghai["corrected"] += 1
    tally.shanghai["orders"] += 1
    tally.shanghai["whole" if whole else "incomplete"] += 1
    return whole


def _codes(content: Content, clean: Content, step: int, at: int) -> tuple[str, ...]:
    """Codes that show in one step: those of the fault in its own, those of the vehicle in the first."""
    if step == at:
        return content.codes if at == 0 else tuple(code for code in content.codes if code not in clean.codes)
    return clean.codes if step == 0 else ()


def _corrected(clean: Content) -> Content:
    other = clean.twin()
    name, _ = other.projects[0]
    other.projects[0] = (name, "3")
    return other
