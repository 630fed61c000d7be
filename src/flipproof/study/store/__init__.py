"""The folder a study lives in: rows in Parquet, pictures, encoded files."""
