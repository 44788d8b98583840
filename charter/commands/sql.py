"""`charter sql`: questions to a run's tables, in SQL."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from duckdb import DuckDBPyConnection

CELL = 300
"""Letters of a cell that a terminal is shown."""


@click.command()
@click.argument("run_folder")
@click.argument("query", required=False)
@click.option("--limit", type=click.IntRange(min=1), default=50, show_default=True, help="Rows to show; JSON has all.")
@click.option("--json", "as_json", is_flag=True, help="The rows as JSON, one object a line.")
def sql(run_folder: str, query: str | None, limit: int, *, as_json: bool) -> int:
    """Ask RUN_FOLDER's tables a QUERY, with DuckDB. Needs the extra charter[sql].

    Without a query, list the tables and read queries, each up to a semicolon, from the terminal or from a pipe.
    The tables are views of the run's Parquet files: no query changes the run.
    """
    from charter.tables import connect
    from constitution.faults import BadInput
    from engine.storage import Folder

    connection = connect(Folder(run_folder))
    if query:
        _ask(connection, query, limit, as_json=as_json)
        return 0
    interactive = sys.stdin.isatty()
    if interactive:
        _list_tables(connection)
    for asked in _queries(interactive=interactive):
        try:
            _ask(connection, asked, limit, as_json=as_json)
        except BadInput as error:
            if not interactive:
                raise
            click.echo(f"error: {error}", err=True)
    return 0


def _ask(connection: DuckDBPyConnection, query: str, limit: int, *, as_json: bool) -> None:
    """Raises BadInput where DuckDB does not understand or cannot do what is asked."""
    import json

    import duckdb

    from constitution.faults import BadInput, Fault

    try:
        cursor = connection.execute(query)
        names = [column[0] for column in cursor.description or ()]
        rows = cursor.fetchall() if as_json else cursor.fetchmany(limit + 1)
    except duckdb.Error as error:
        raise BadInput(Fault(str(error).strip(), where="query")) from None
    if as_json:
        for row in rows:
            click.echo(json.dumps(dict(zip(names, row, strict=True)), default=str))
    elif names:
        _show(names, rows[:limit])
        if len(rows) > limit:
            click.echo(f"the first {limit:,} rows; more with --limit, all with --json")


def _show(names: list[str], rows: list[tuple[Any, ...]]) -> None:
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    from charter.showing import printable

    table = Table()
    for name in names:
        table.add_column(Text(printable(name)))
    for row in rows:
        cells = ("" if value is None else f"{value:.6g}" if isinstance(value, float) else str(value) for value in row)
        table.add_row(*(Text(printable(cell if len(cell) <= CELL else f"{cell[:CELL]}…")) for cell in cells))
    Console().print(table)


def _list_tables(connection: DuckDBPyConnection) -> None:
    for name, columns in connection.execute(
        "SELECT table_name, string_agg(column_name, ', ' ORDER BY ordinal_position) "
        "FROM information_schema.columns GROUP BY table_name ORDER BY table_name"
    ).fetchall():
        click.echo(f"{name}: {columns}")
    click.echo("A query ends with a semicolon; Ctrl-D leaves.")


def _queries(*, interactive: bool) -> Iterator[str]:
    """What is typed or piped in, up to each semicolon at the end of a line."""
    waiting = ""
    while True:
        try:
            line = input("sql> " if interactive and not waiting else "")
        except EOFError:
            break
        waiting += f"{line}\n"
        if line.rstrip().endswith(";"):
            yield waiting
            waiting = ""
    if waiting.strip():
        yield waiting
