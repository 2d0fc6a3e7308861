"""Where courses stand, their graders, and their queues."""
