"""The catalog: every run, dataset and artifact of a workspace as DuckDB tables, made from the files that are the truth.

`schema` says what the tables are, `sources` reads files into rows, `fold` publishes the file, `query` asks it.
"""
