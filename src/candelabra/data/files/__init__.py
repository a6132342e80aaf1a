"""Read tables from files: parquet, jsonl, csv and tsv, CoNLL, folder trees."""
