"""The main job, played once: a course goes from legacy to live and back, and every claim is checked."""
