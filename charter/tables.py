"""A run's Parquet data sets as DuckDB tables, for `charter sql`.

prompts, revised, comparisons      the stages, as they are
votes, checks                      one row each, out of comparisons
pairs, removed                     of a pair folder
flags                              one row for each flag of each pair
data_revisions, data_preferences…  what trainers read
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import pyarrow.dataset as ds

from constitution.faults import BadInput, Fault
from engine.filtering import REMOVED_FILE
from engine.flags import FLAGS_FILE
from engine.pairs import is_pair_folder, is_run_folder
from engine.storage import Folder

if TYPE_CHECKING:
    from duckdb import DuckDBPyConnection

STAGES = {"stages/01_prompts": "prompts", "stages/02_revise": "revised", "stages/03_compare": "comparisons"}
VIEWS = {
    "votes": (
        "comparisons",
        "SELECT pair_id, item_id, v.principle_id, v.principle_hash, v.order AS shown_as, v.probability_a, v.mass, "
        "v.log_probabilities, v.fault, v.reasoning FROM (SELECT pair_id, item_id, unnest(votes) AS v FROM comparisons)",
    ),
    "checks": (
        "comparisons",
        "SELECT pair_id, item_id, c.proposition_id, c.response, c.bad, c.mass, c.fault "
        "FROM (SELECT pair_id, item_id, unnest(checks) AS c FROM comparisons)",
    ),
    "flags": (
        "pair_flags",
        "SELECT pair_id, f.name AS flag, f.detail FROM (SELECT pair_id, unnest(flags) AS f FROM pair_flags)",
    ),
}
"""View: the table it is made of, and how."""


def connect(where: Folder) -> DuckDBPyConnection:
    """DuckDB in memory, with a view for each table of a run or pair folder. Raises BadInput."""
    try:
        import duckdb
    except ImportError:
        raise BadInput(Fault("DuckDB is not installed", hint="pip install 'charter[sql]'")) from None
    if not is_run_folder(where) and not is_pair_folder(where):
        hint = "name the folder of a run, or one that charter import or charter filter wrote"
        raise BadInput(Fault("there are no tables", where=where.location, hint=hint))
    connection = duckdb.connect()
    for name, files in _tables(where):
        source = ds.dataset(files, filesystem=where.filesystem, format="parquet")
        connection.register(name, source)
    names = {row[0] for row in connection.sql("SHOW TABLES").fetchall()}
    for view, (needed, query) in VIEWS.items():
        if needed in names:
            connection.execute(f"CREATE VIEW {view} AS {query}")
    return connection


def _tables(where: Folder) -> Iterator[tuple[str, list[str]]]:
    """The tables that are there, and their files."""
    folders = {**STAGES, "pairs": "pairs"}
    for name in where.names("data", ".parquet") if where.exists("data") else ():
        folders.setdefault(f"data/{name.partition('/')[0]}", f"data_{name.partition('/')[0]}")
    for folder, table in folders.items():
        files = [
            name for name in where.names(folder, ".parquet") if name.startswith("_unsealed/rows") or name[0] != "_"
        ]
        if files:
            yield table, [where.path(f"{folder}/{name}") for name in files]
    for file, table in ((FLAGS_FILE, "pair_flags"), (REMOVED_FILE, "removed")):
        if where.exists(file):
            yield table, [where.path(file)]
