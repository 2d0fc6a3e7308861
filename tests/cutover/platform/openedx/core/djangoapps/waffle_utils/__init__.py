"""Stands in for the platform's app of this name: only the two models that the shim reads and writes."""
