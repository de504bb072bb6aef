"""The rows of views as Parquet, and what can be asked of them: as of a time, the newest, statistics."""
