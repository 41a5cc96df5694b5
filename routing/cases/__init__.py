"""Cases: what is due to whom next, derived from records. Pure.

A derivation looks at all that is known of one subject (a vehicle, a shop, a model) and says which documents follow.
It is a function of a *set*: of each record only its newest version counts, and neither the order in which records came
nor how often changes what follows. So late, doubled and corrected records need no code of their own: whoever runs a
derivation compares what follows now with what followed before, and sends the difference.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import date, datetime
from typing import Literal, NamedTuple, Protocol, runtime_checkable

from mappings.documents import Document
from mappings.records import RepairRow

REPAIR = "repair"


class Fact(NamedTuple):
    """The newest version of one record that a derivation looks at. What was withdrawn is no fact."""

    kind: str
    """`repair`, or the kind of a document."""
    key: str
    """Record key as text: system|issuer|number; unique among facts."""
    version: int
    system: str
    """The system that collected it."""
    received_at: datetime
    record: RepairRow | Document

    @property
    def repair(self) -> RepairRow | None:
        """The repair, where it is one."""
        return self.record if isinstance(self.record, RepairRow) else None


Subject = Literal["vin", "issuer", "model"]
"""What facts are gathered by: vehicle; company or station that issued them; WMI and VDS (the first 8 of a VIN)."""


class Derivation(Protocol):
    """What follows from the facts of one subject."""

    name: str
    by: Subject
    takes: frozenset[str]
    """Kinds that it looks at: facts of no other kind are given."""
    needs: frozenset[str]
    """Kinds without a fact of which nothing follows; where it names none, something may follow from any fact."""
    words: tuple[str, ...]
    """Where `needs` names kinds: a repair of which something follows all the same has one of these texts in its fault
    description or in a project."""
    gives: frozenset[str]
    """Kinds of the documents that it gives."""
    skims: bool
    """Whether it looks at no parts and no projects: repairs are given without them."""
    daily: bool
    """Whether `today` changes what follows: then every subject is looked at again once a day."""

    def derive(self, subject: str, facts: Sequence[Fact], today: date) -> Iterable[Document]:
        """The documents that follow, each key once. Order and repetition of facts change nothing; never raises."""


@runtime_checkable
class Linking(Protocol):
    """A derivation that also looks at records that name no subject.

    It is given them with every subject of which a record shares a link with them, and with the facts of the other
    subjects that do too, so that it can tell whose they are.
    """

    def links(self, record: RepairRow | Document) -> frozenset[str]:
        """Texts that records of one subject may share; empty where a record leads nowhere."""
