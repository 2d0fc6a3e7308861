"""Backfill: legacy rows are imported into the target as shadows, or moved between the two systems."""
