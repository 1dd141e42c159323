//! Someone else's Parquet, read only.
