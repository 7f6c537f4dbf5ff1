"""Queries on what `parley export` wrote: any of `sql/*.sql`, in DuckDB.

The queries name files relative to the export, so that DuckDB's own command line runs them too:

    cd EXPORT && duckdb < …/tests/analytics/sql/groups.sql
"""

from __future__ import annotations

import argparse
import hashlib
import json
import sys
from pathlib import Path
from typing import Any

import duckdb

QUERIES = Path(__file__).resolve().parent / "sql"


class ExportError(Exception):
    """The directory holds no export, or one that isn't what its manifest says."""


def manifest(export: Path) -> dict[str, Any]:
    """The export's manifest. Raises `ExportError` if there is none."""
    try:
        loaded = json.loads((export / "manifest.json").read_text())
    except (OSError, ValueError) as error:
        raise ExportError(f"{export} holds no export: {error}") from error
    return dict(loaded)


def check_files(export: Path) -> int:
    """Every file is what the manifest says, and there is no other; returns their number."""
    listed = {part["path"]: part for part in manifest(export)["files"]}
    there = {str(path.relative_to(export)) for path in export.glob("*/date=*/*.parquet")}
    if there != set(listed):
        raise ExportError(f"not in the manifest, or not there: {sorted(there ^ set(listed))}")
    for path, part in listed.items():
        data = (export / path).read_bytes()
        if (len(data), hashlib.sha256(data).hexdigest()) != (part["bytes"], part["sha256"]):
            raise ExportError(f"{path} isn't what the manifest says")
    return len(listed)


def query(export: Path, name: str) -> tuple[list[str], list[tuple[Any, ...]]]:
    """Runs `sql/NAME.sql`: names of columns, and rows; nothing if the export has no files of the table."""
    with duckdb.connect() as connection:
        connection.execute(f"SET file_search_path = '{str(export.resolve()).replace(chr(39), chr(39) * 2)}'")
        connection.execute("SET TimeZone = 'UTC'")
        try:
            result = connection.execute((QUERIES / f"{name}.sql").read_text())
        except duckdb.IOException as error:
            # A log without acknowledgements gives no files of them.
            if "No files found" in str(error):
                return [], []
            raise
        return [column[0] for column in result.description or []], result.fetchall()


def main() -> int:
    """The command line."""
    names = sorted(path.stem for path in QUERIES.glob("*.sql"))
    parser = argparse.ArgumentParser(description="queries on an export, in DuckDB")
    parser.add_argument("export", type=Path, help="the directory of `parley export --to`")
    parser.add_argument("query", choices=names, nargs="?", default="groups")
    args = parser.parse_args()
    try:
        check_files(args.export)
        columns, rows = query(args.export, args.query)
    except (ExportError, duckdb.Error) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    print("\t".join(columns))
    for row in rows:
        print("\t".join("" if value is None else str(value) for value in row))
    return 0


if __name__ == "__main__":
    sys.exit(main())
