"""Makes a store's table on PostgreSQL that is divided by months, and takes over one that is not.

What an older vingate made is one table. Its rows are copied into partitions in one transaction, as they are, with their
numbers, by the first sink that opens it: a kill in mid way leaves the old table. Ten million rows take some minutes, in
which the store is *unavailable*, and twice their room. Rights to the table go over to the new one; what others made on
it (views, triggers, foreign keys, columns) would be lost or forbid it, so it is asked for before anything is copied.
"""

# ruff: noqa: S608 - names come from a table's spec, which checks them
from __future__ import annotations

from sqlalchemy import Connection, MetaData, Table, text

from connectors.catalogue import catalogue_of
from connectors.contracts import Misconfigured
from connectors.pgmonths import FIRST_YEAR, LAST_YEAR, digested, keys_of, make_partitions

_KIND = text("SELECT relkind FROM pg_class WHERE oid = to_regclass(:name)")
_PLAIN = "r"


def make_divided(connection: Connection, table: Table, day: str) -> None:
    """Make the table and what belongs to it, where they are not there.

    Args:
        connection: in a transaction that holds off writers.
        table: declared as divided.
        day: the column that tells the month.

    Raises:
        Misconfigured: others made something on the table of before.
    """
    kind = connection.scalar(_KIND, {"name": f'"{table.name}"'})
    if kind == _PLAIN:
        _take_over(connection, table, day)
    elif kind is None:
        table.create(connection)
        keys_of(table.name).create(connection)
        make_partitions(connection, table.name, [0])
    for one in catalogue_of(table.name, MetaData()):
        one.create(connection, checkfirst=True)


def _take_over(connection: Connection, table: Table, day: str) -> None:
    name, before = f'"{table.name}"', f'"{table.name}_before"'
    _refuse_what_others_made(connection, table)
    connection.execute(text("SET LOCAL statement_timeout = 0"))
    connection.execute(text(f"ALTER TABLE {name} RENAME TO {before}"))
    for (index,) in connection.execute(
        text("SELECT relname FROM pg_class JOIN pg_index ON indexrelid = oid WHERE indrelid = to_regclass(:name)"),
        {"name": before},
    ).all():
        connection.execute(text(f'ALTER INDEX "{index}" RENAME TO "{index}_before"'))
    numbers = connection.scalar(text("SELECT pg_get_serial_sequence(:name, 'seq')"), {"name": before})
    connection.execute(text(f'ALTER SEQUENCE {numbers} RENAME TO "{table.name}_seq_before"'))
    table.create(connection)
    for grant in connection.execute(_GRANTS, {"before": before, "name": name}).scalars().all():
        connection.execute(text(grant))
    keys = keys_of(table.name)
    keys.create(connection)
    connection.execute(
        text(
            f'INSERT INTO "{keys.name}" (key, month) SELECT DISTINCT ON (1) {digested("record_key")}, CASE'
            f" WHEN \"{day}\" ~ '^[0-9]{{4}}-(0[1-9]|1[0-2])(-|$)'"
            f' AND left("{day}", 4)::int BETWEEN {FIRST_YEAR} AND {LAST_YEAR}'
            f" THEN replace(left(\"{day}\", 7), '-', '')::int ELSE 0 END FROM {before} ORDER BY 1, seq"
        )
    )
    months = connection.execute(text(f'SELECT DISTINCT month FROM "{keys.name}"')).scalars()
    make_partitions(connection, table.name, [0, *months])
    there = {column for (column,) in connection.execute(_COLUMNS, {"name": before})}
    copied = ", ".join(f'"{column.name}"' for column in table.columns if column.name in there)
    connection.execute(
        text(
            f"INSERT INTO {name} ({copied}, month) SELECT {copied}, k.month FROM {before} b"
            f' JOIN "{keys.name}" k ON k.key = {digested("b.record_key")} ORDER BY k.month, b.seq'
        )
    )
    connection.execute(
        text(
            f"SELECT setval(pg_get_serial_sequence(:name, 'seq'), last_value, is_called)"
            f' FROM "{table.name}_seq_before"'
        ),
        {"name": name},
    )
    connection.execute(text(f"DROP TABLE {before}"))


def _refuse_what_others_made(connection: Connection, table: Table) -> None:
    given = {"name": f'"{table.name}"'}
    columns = {column for (column,) in connection.execute(_COLUMNS, given)} - {one.name for one in table.columns}
    found = [*sorted(columns), *connection.execute(_HANGING, given).scalars()]
    if found:
        message = (
            f"库表 {table.name} 上有他人建立的列、视图、触发器或外键，不能改为按月分区"
            f" / on the table {table.name}, which is to be divided by months, there are columns, views, triggers or"
            f" foreign keys of others: {', '.join(found)}"
        )
        raise Misconfigured(
            message,
            "请先移除并另存其定义，改造完成后再建 / keep how they were made, remove them, make them again afterwards",
        )


_HANGING = text(
    "SELECT DISTINCT c.relname FROM pg_depend d JOIN pg_rewrite r ON d.classid = 'pg_rewrite'::regclass"
    " AND d.objid = r.oid JOIN pg_class c ON c.oid = r.ev_class WHERE d.refobjid = to_regclass(:name)"
    " UNION SELECT tgname FROM pg_trigger WHERE tgrelid = to_regclass(:name) AND NOT tgisinternal"
    " UNION SELECT conname FROM pg_constraint WHERE confrelid = to_regclass(:name) ORDER BY 1"
)
_GRANTS = text(
    "SELECT format('GRANT %s ON %s TO %s%s', a.privilege_type, CAST(:name AS text),"
    " CASE a.grantee WHEN 0 THEN 'PUBLIC' ELSE quote_ident(pg_get_userbyid(a.grantee)) END,"
    " CASE WHEN a.is_grantable THEN ' WITH GRANT OPTION' ELSE '' END)"
    " FROM pg_class c, aclexplode(c.relacl) a WHERE c.oid = to_regclass(:before) AND a.grantee <> c.relowner"
)
_COLUMNS = text(
    "SELECT attname FROM pg_attribute WHERE attrelid = to_regclass(:name) AND attnum > 0 AND NOT attisdropped"
)
