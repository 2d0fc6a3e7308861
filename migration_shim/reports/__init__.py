"""Renderers, one for each format: each takes a document (plain data) and returns text, and opens nothing."""
