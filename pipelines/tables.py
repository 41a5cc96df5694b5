"""The tables of the State, one metadata for all: batches and their ledger, positions, journals, versions, what waits.

Letters are defined by `dlq.tables` in the same metadata, so that one migration history and one transaction hold all.
"""

from __future__ import annotations

from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    Float,
    ForeignKey,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    Table,
    Text,
    Uuid,
    text,
)

from dlq.tables import define as define_letters

metadata = MetaData()

letters = define_letters(metadata)

meta = Table("meta", metadata, Column("name", Text, primary_key=True), Column("value", Text, nullable=False))

runs = Table(
    "runs",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("exchange", Text, nullable=False),
    Column("started_at", Text, nullable=False),
    Column("ended_at", Text),
    Column("first_batch", Integer),
    Column("receipts", Text, nullable=False, default=""),  # destination that gets receipts and no records
    Column("settings", LargeBinary),  # sealed: the exchange's settings, by which its sinks are asked again
)

batches = Table(
    "batches",
    metadata,
    Column("id", Text, primary_key=True),
    Column("exchange", Text, nullable=False),
    Column("number", Integer, nullable=False, unique=True),
    Column("run", Integer, ForeignKey("runs.id"), nullable=False),
    Column("kind", Text, nullable=False),  # source, known, inbox, fragments, letters, registrations
    Column("state", Text, nullable=False),  # open, decided, closed; settling: closed, and what waited is being tried
    Column("received_at", Text, nullable=False),
    Column("items", LargeBinary, nullable=False),  # JSON of the work items
    Column("plan", LargeBinary),  # JSON of what the effects need, from decide to close
    Column("received", BigInteger, nullable=False, default=0),
    Column("decoded", BigInteger, nullable=False, default=0),
    Column("addressed", BigInteger, nullable=False, default=0),
    Column("dead_intake", BigInteger, nullable=False, default=0),
    Column("dead_records", BigInteger, nullable=False, default=0),
    Column("duplicate_intake", BigInteger, nullable=False, default=0),
    Column("duplicate_records", BigInteger, nullable=False, default=0),
    Column("fragments", BigInteger, nullable=False, default=0),
    Column("filtered", BigInteger, nullable=False, default=0),
    Column("unplaced", BigInteger, nullable=False, default=0),
    Column("flagged", BigInteger, nullable=False, default=0),
    Column("letters", BigInteger, nullable=False, default=0),  # how many the letter store must hold
    Column("letters_digest", Text, nullable=False, default="0"),
    Column("member", Text, nullable=False, server_default=""),  # gateway in whose hands it is, where several share
    Index("batches_by_exchange", "exchange", "state"),
)

batch_destinations = Table(
    "batch_destinations",
    metadata,
    Column("batch", Text, ForeignKey("batches.id"), primary_key=True),
    Column("destination", Text, primary_key=True),
    Column("sink", Text, nullable=False),
    Column("addressed", BigInteger, nullable=False, default=0),
    Column("delivered", BigInteger, nullable=False, default=0),
    Column("duplicate", BigInteger, nullable=False, default=0),
    Column("merged", BigInteger, nullable=False, default=0),
    Column("filtered", BigInteger, nullable=False, default=0),
    Column("dead", BigInteger, nullable=False, default=0),
    Column("waiting", BigInteger, nullable=False, default=0),
    Column("in_flight", BigInteger, nullable=False, default=0),
    Column("stands", BigInteger, nullable=False, default=0),  # what verify must count there
    Column("stands_digest", Text, nullable=False, default="0"),
)

parts = Table(
    "parts",
    metadata,
    Column("final", Text, primary_key=True),
    Column("batch", Text, ForeignKey("batches.id"), nullable=False, index=True),
    Column("destination", Text, nullable=False),
    Column("sink", Text, nullable=False),
    Column("temporary", Text, nullable=False),
    Column("sha256", Text, nullable=False),
    Column("count", BigInteger, nullable=False),
    Column("promoted", Boolean, nullable=False, default=False),
)

staged_rows = Table(  # of decided batches, where any gateway must be able to finish them
    "staged_rows",
    metadata,
    Column("batch", Text, ForeignKey("batches.id"), primary_key=True),
    Column("item", Integer, primary_key=True),
    Column("segment", Integer, primary_key=True),
    Column("piece", Integer, primary_key=True),
    Column("body", LargeBinary, nullable=False),  # of the sealed segment, a piece at a time
)

journals = Table(
    "journals",
    metadata,
    Column("batch", Text, ForeignKey("batches.id"), primary_key=True),
    Column("item", Integer, primary_key=True),
    Column("source", Text, nullable=False),
    Column("lines", LargeBinary, nullable=False),
)

vin_journals = Table(  # which journals tell of a vehicle, on PostgreSQL; beside SQLite they are all read
    "vin_journals",
    metadata,
    Column("vin", BigInteger, primary_key=True, autoincrement=False),  # hash
    Column("number", Integer, primary_key=True),  # of the batch
    Column("item", Integer, primary_key=True),
)

items = Table(
    "items",
    metadata,
    Column("exchange", Text, primary_key=True),
    Column("sender", Text, primary_key=True),  # system|company: the same bytes from two shops are two files
    Column("digest", Text, primary_key=True),
    Column("start", BigInteger, primary_key=True),
    Column("stop", BigInteger, nullable=False),  # -1: to the end
    Column("envelopes", BigInteger, nullable=False),
    Column("run", Integer, nullable=False),
    Column("batch", Text, nullable=False),
    Index("items_by_batch", "batch"),
)

positions = Table(
    "positions",
    metadata,
    Column("exchange", Text, primary_key=True),
    Column("path", Text, primary_key=True),
    Column("mark", Text, nullable=False),
)

version_runs = Table(
    "version_runs",
    metadata,
    Column("sequence", Integer, primary_key=True),
    Column("name", Text, nullable=False, unique=True),
    Column("rows", BigInteger, nullable=False),
)

version_front = Table(
    "version_front",
    metadata,
    Column("key", LargeBinary(16), primary_key=True),
    Column("content", BigInteger, nullable=False),
    Column("intake", BigInteger, nullable=False),
    Column("version", Integer, nullable=False),
    Column("held", Integer, nullable=False),
)

versions = Table(  # the version index on PostgreSQL; on SQLite it stays empty: runs of files are the index there
    "versions",
    metadata,
    Column("key", LargeBinary(16).with_variant(Uuid(), "postgresql"), primary_key=True),
    Column("content", BigInteger, nullable=False),
    Column("intake", BigInteger, nullable=False),
    Column("version", Integer, nullable=False),
    Column("held", Integer, nullable=False),
)

leases = Table(  # who owns the state, or a part of it, on PostgreSQL
    "leases",
    metadata,
    Column("name", Text, primary_key=True),
    Column("epoch", BigInteger, nullable=False),  # rises with each owner; proved in each of its commits
    Column("owner", Text, nullable=False),  # host and process, for people
    Column("session", BigInteger, nullable=False),  # the server's number of the owner's session
    Column("expires", Float, nullable=False),  # seconds since 1970 by the server's clock
)

destination_sets = Table(
    "destination_sets",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("names", Text, nullable=False, unique=True),  # JSON list
)

waiting = Table(
    "waiting",
    metadata,
    Column("id", Text, primary_key=True),
    Column("exchange", Text, nullable=False),
    Column("batch", Text, ForeignKey("batches.id"), nullable=False),
    Column("item", Integer, nullable=False),
    Column("ordinal", Integer, nullable=False),
    Column("destination", Text, nullable=False, default=""),  # empty: the home is not known yet
    Column("reason", Text, nullable=False),
    Column("vin", BigInteger, nullable=False),
    Column("version", Integer, nullable=False),
    Column("merged_into", Text, nullable=False, default=""),
    Column("trying", Boolean, nullable=False, default=False),  # an attempt began and has not been closed
    Column("record", LargeBinary, nullable=False),  # sealed canonical record: the reference that is encoded again
    Column("attempts", Integer, nullable=False, default=0),
    Column("next_attempt", Text, nullable=False),
    Index("waiting_by_vin", "exchange", "destination", "vin"),
)

fragments = Table(
    "fragments",
    metadata,
    Column("id", Text, primary_key=True),
    Column("exchange", Text, nullable=False),
    Column("system", Text, nullable=False),
    Column("company", Text, nullable=False),
    Column("order", Text, nullable=False),
    Column("step", Text, nullable=False),
    Column("intake", BigInteger, nullable=False),
    Column("source", Text, nullable=False),
    Column("offset", BigInteger, nullable=False),
    Column("body", LargeBinary, nullable=False),  # sealed
    Column("received_at", Text, nullable=False),
    Column("batch", Text, nullable=False),
    Column("assembled", Integer, nullable=False, default=0),  # number of the batch that took it, 0 while it waits
    Index("fragments_by_order", "exchange", "system", "company", "order"),
    Index("fragments_by_batch", "exchange", "assembled"),
)

visits = Table(
    "visits",
    metadata,
    Column("destination", Text, primary_key=True),
    Column("key", Text, primary_key=True),
    Column("vin", Text, nullable=False),
    Column("company", Text, nullable=False),
    Column("settledate", Text, nullable=False),
    Column("mileage", Text, nullable=False),
    Column("costlistcode", Text, nullable=False),
    Column("system", Text, nullable=False),
    Column("dealer_of", Text, nullable=False),
    Column("partner", Text, nullable=False, default=""),  # key of the other record of the same visit
    Column("stands", Boolean, nullable=False, default=True),  # False: it was merged into its partner
    Index("visits_by_vin", "destination", "vin"),
)

history = Table(
    "history",
    metadata,
    Column("scope", Text, primary_key=True),
    Column("companycode", Text, primary_key=True),
    Column("costlistcode", Text, primary_key=True),
    Column("vin", Text, nullable=False),
    Column("plate", Text, nullable=False),
    Column("repairdate", Text, nullable=False),
    Column("settledate", Text, nullable=False),
    Column("mileage", Text, nullable=False),
    Index("history_by_vin", "scope", "vin"),
    Index("history_by_plate", "scope", "plate"),
)

company_hours = Table(
    "company_hours",
    metadata,
    Column("scope", Text, primary_key=True),
    Column("company", Text, primary_key=True),
    Column("rows", Integer, nullable=False),  # project rows with hours over 0
    Column("tens", Integer, nullable=False),  # of them, whole multiples of ten
)

operators = Table(
    "operators",
    metadata,
    Column("companycode", Text, primary_key=True),
    Column("intake", BigInteger, primary_key=True),  # place of its envelope: what came later replaces
    Column("current", Boolean, nullable=False),
    Column("companyname", Text, nullable=False),
    Column("record", Text, nullable=False),
    Column("delivery_id", Text, nullable=False),
    Column("batch", Text, nullable=False, index=True),
)

registrations = Table(
    "registrations",
    metadata,
    Column("vin", Text, primary_key=True),
    Column("valid_from", Text, primary_key=True),
    Column("intake", BigInteger, primary_key=True),  # place of its envelope: what came later replaces
    Column("current", Boolean, nullable=False),
    Column("valid_to", Text),
    Column("plate", Text),
    Column("home", Text, nullable=False),
    Column("record", Text, nullable=False),
    Column("delivery_id", Text, nullable=False),
    Column("batch", Text, nullable=False, index=True),
    Column("sequence", Integer, nullable=False, index=True),
)

inbox = Table(
    "inbox",
    metadata,
    Column("id", BigInteger().with_variant(Integer(), "sqlite"), primary_key=True, autoincrement=True),
    Column("exchange", Text, nullable=False),
    Column("source", Text, nullable=False),  # door:national, amqp:QUEUE, ...
    Column("key", Text, nullable=False),  # unique at its source; empty where the source names none
    Column("company", Text, nullable=False),  # authenticated company; empty: the payload says
    Column("system", Text, nullable=False),  # authenticated collecting system; empty: the exchange's own
    Column("dialect", Text, nullable=False),
    Column("received_at", Text, nullable=False),
    Column("vin", BigInteger, nullable=False),  # hash; 0: none could be read
    Column("size", BigInteger, nullable=False),  # bytes of the payload
    Column("verdict", Text, nullable=False),  # JSON of what was answered; empty: nothing was
    Column("body", LargeBinary, nullable=False),  # sealed
    Column("batch", Integer),  # number of the batch that took it; null while it waits
    Column("partition", Integer, nullable=False, server_default="0"),  # of its vehicle (pipelines.partitions)
    Index("inbox_by_batch", "exchange", "batch", "id"),
    sqlite_autoincrement=True,
)

# Said otherwise than in other look-ups, so that a planner without statistics takes each index for its own look-up.
_WAITING = text("coalesce(batch, 0) = 0")
Index(
    "inbox_by_partition",
    inbox.c.exchange,
    inbox.c.partition,
    inbox.c.id,
    postgresql_where=_WAITING,
    sqlite_where=_WAITING,
)

inbox_keys = Table(
    "inbox_keys",
    metadata,
    Column("exchange", Text, primary_key=True),
    Column("source", Text, primary_key=True),
    Column("key", Text, primary_key=True),
    Column("inbox", BigInteger, nullable=False),  # the envelope that came under it first
    Column("received_at", Text, nullable=False, index=True),
)

accounts = Table(
    "accounts",
    metadata,
    Column("company", Text, primary_key=True),
    Column("companyname", Text, nullable=False),
    Column("uscc", Text, nullable=False, index=True),
    Column("password", Text, nullable=False),  # salted hash; empty: it must be reset before it can be used
    Column("state", Text, nullable=False),  # active, pending, closed
    Column("failures", Integer, nullable=False, default=0),  # wrong passwords in a row
    Column("locked_until", Text, nullable=False, default=""),
    Column("registered_at", Text, nullable=False),
    Column("changed_at", Text, nullable=False),
)

tokens = Table(
    "tokens",
    metadata,
    Column("digest", LargeBinary(32), primary_key=True),  # SHA-256 of the token
    Column("company", Text, nullable=False, index=True),
    Column("issued_at", Text, nullable=False),
    Column("expires_at", Text, nullable=False, index=True),
)

applications = Table(
    "applications",
    metadata,
    Column("app", Text, primary_key=True),  # appId of the Shanghai interface, companyIdentity of 二级维护
    Column("company", Text, nullable=False),
    Column("secret", LargeBinary, nullable=False),  # sealed: signatures are made with it
    Column("state", Text, nullable=False),  # active, closed
)

nonces = Table(
    "nonces",
    metadata,
    Column("app", Text, primary_key=True),
    Column("nonce", Text, primary_key=True),
    Column("expires_at", Text, nullable=False, index=True),
)

replay_orders = Table(
    "replay_orders",
    metadata,
    Column("letter", Text, primary_key=True),
    Column("exchange", Text, nullable=False),
    Column("asked_at", Text, nullable=False),
    Column("attempts", Integer, nullable=False),  # of the letter when it was ordered: once it has more, it is done
    Column("tries", Integer, nullable=False),  # replays that were begun for this order and not answered
    Column("answered_at", Text, nullable=False),  # empty: it waits
    Column("outcome", Text, nullable=False),
    Column("why", Text, nullable=False),
    Column("batch", Text, nullable=False),  # that replayed it
    Index("replay_orders_waiting", "exchange", "answered_at"),
)

backfill_orders = Table(
    "backfill_orders",
    metadata,
    Column("id", Text, primary_key=True),  # batch/item/ordinal/destination of the delivery that is to be sent again
    Column("exchange", Text, nullable=False),
    Column("asked_at", Text, nullable=False),
    Column("answered_at", Text, nullable=False),  # empty: it waits
    Column("outcome", Text, nullable=False),
    Index("backfill_orders_waiting", "exchange", "answered_at"),
)

budgets = Table(
    "budgets",
    metadata,
    Column("name", Text, primary_key=True),  # of the budget: by default the peer's address
    Column("spent", Text, nullable=False),  # JSON: slot -> calls
)

terms = Table(  # what may leave, and on what ground, of all that was ever disclosed
    "terms",
    metadata,
    Column("digest", Text, primary_key=True),
    Column("agreement", Text, nullable=False),
    Column("version", Integer, nullable=False),
    Column("approval", Text, nullable=False),
    Column("purpose", Text, nullable=False),
    Column("fields", Text, nullable=False),  # JSON: path -> treatment, of what leaves
    Column("packed", Text, nullable=False),  # JSON by which the terms are made again (`routing.agreements.Terms`)
)

disclosures = Table(  # who received what: a row a batch, destination and kind, and one each for what went out later
    "disclosures",
    metadata,
    Column("batch", Text, ForeignKey("batches.id"), primary_key=True),
    Column("destination", Text, primary_key=True),
    Column("kind", Text, primary_key=True),
    Column("delivery", Text, primary_key=True),  # item/ordinal, or a file's final name; empty: what went with the batch
    Column("terms", Text, ForeignKey("terms.digest"), primary_key=True),
    Column("moment", Text, primary_key=True),  # when it was sent
    Column("count", BigInteger, nullable=False),  # records
)

pulls = Table(  # what was disclosed to those who asked: a row a page (`pipelines.pulls`)
    "pulls",
    metadata,
    Column("id", BigInteger().with_variant(Integer(), "sqlite"), primary_key=True, autoincrement=True),
    Column("moment", Text, nullable=False),
    Column("who", Text, nullable=False),  # the account that asked
    Column("destination", Text, nullable=False),  # whom it stands for in agreements
    Column("kind", Text, nullable=False),
    Column("terms", Text, ForeignKey("terms.digest"), nullable=False),
    Column("count", Integer, nullable=False),  # records
    Column("lines", LargeBinary, nullable=False),  # fixed-width: VIN hash, key digest, version of each
)

looks = Table(  # who looked where a vehicle's records went
    "looks",
    metadata,
    Column("id", BigInteger().with_variant(Integer(), "sqlite"), primary_key=True, autoincrement=True),
    Column("moment", Text, nullable=False),
    Column("who", Text, nullable=False),
    Column("purpose", Text, nullable=False),
    Column("vin", Text, nullable=False, index=True),  # keyed hash
    Column("account", Text, nullable=False),  # of the operating system
)
