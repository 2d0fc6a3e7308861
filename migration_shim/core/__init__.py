"""The pure core: no Django, no clock, no settings, no I/O. Values in, values out."""
