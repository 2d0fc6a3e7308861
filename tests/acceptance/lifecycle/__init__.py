"""Installed, upgraded, removed."""
