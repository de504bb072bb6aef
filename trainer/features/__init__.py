"""The rows to learn from: the project's own files and the fleet's labelled rows, kept as Parquet, joined by DuckDB.

A model's row is float32 in the order of the project's features: NaN where missing, a category as its index.
"""
