"""Asks DuckDB.

    python query.py DIRECTORY < QUERIES

QUERIES is a JSON array of SQL texts, in which files of DIRECTORY are named without it. Prints
a JSON array with the rows of each, as arrays.
"""

import json
import os
import sys

import duckdb

queries = json.load(sys.stdin)
os.chdir(sys.argv[1])
json.dump([duckdb.sql(query).fetchall() for query in queries], sys.stdout, default=str)
