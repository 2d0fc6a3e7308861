"""Importing legacy rows into the target."""
