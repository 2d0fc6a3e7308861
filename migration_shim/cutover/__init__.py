"""The steps of a course: the gate with its evidence, overrides, waves, and the release."""
