"""The learner's side: whether grades arrive, and what is done where one does not."""
