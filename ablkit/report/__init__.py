"""The static site: run what is missing, one page a run, an index with the ledger."""
