"""The feature repository: market aggregates as of each day, joined point in time and looked up online.

    lake ──► aggregates ──► features/<view>.parquet ──► training_set      (the market when a listing was made)
                                      └──► materialise ──► online store ──► online       (the market now)

Everything heavy (Feast, DuckDB) is imported where it is used, so that importing this package costs nothing.
"""
