"""Has a database refuse rows of a table, by a trigger: as where it finds them wrong, or is in trouble itself."""

from sqlalchemy import Connection


def refuse_rows(connection: Connection, table: str, condition: str = "1 = 1") -> None:
    """Refuse rows that are inserted from now on, until `take_rows`.

    Args:
        connection: of a transaction.
        table: its name.
        condition: of a row ``NEW``, in SQL that SQLite and PostgreSQL both know.
    """
    on = f"CREATE TRIGGER no_{table} BEFORE INSERT ON {table}"
    if connection.dialect.name == "sqlite":
        connection.exec_driver_sql(f"{on} WHEN {condition} BEGIN SELECT RAISE(ABORT, 'no'); END")
        return
    connection.exec_driver_sql(
        f"CREATE OR REPLACE FUNCTION no_{table}() RETURNS trigger LANGUAGE plpgsql AS "
        "$$ BEGIN RAISE EXCEPTION 'no'; END $$"
    )
    connection.exec_driver_sql(f"{on} FOR EACH ROW WHEN ({condition}) EXECUTE FUNCTION no_{table}()")


def take_rows(connection: Connection, table: str) -> None:
    """Take rows again."""
    on = "" if connection.dialect.name == "sqlite" else f" ON {table}"
    connection.exec_driver_sql(f"DROP TRIGGER no_{table}{on}")
