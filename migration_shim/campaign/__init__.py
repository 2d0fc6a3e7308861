"""Campaigns: what an operator wants of many courses, said once, and the rounds that bring it about."""
