"""The runbook's first course, command by command, while learners submit and graders work."""
