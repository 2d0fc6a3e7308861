"""Five incidents, played on the stand-ins and resolved with the commands of the runbook."""
