"""What is on record: the ledger's entries, counters over them, permits, hosts and the log."""
