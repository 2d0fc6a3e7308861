"""The runbook's first course, walked on ``make serve`` by somebody who can only read and type."""
