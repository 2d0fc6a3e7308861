"""Stories across packages: courses that move, faults, crowds, machines, real CAPA at the doors, upgrades."""
