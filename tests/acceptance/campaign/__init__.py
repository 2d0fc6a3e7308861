"""Twelve courses on their way through a campaign."""
