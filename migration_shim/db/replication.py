"""The statements that ask a server of MySQL or MariaDB what it replicates."""

from __future__ import annotations

#: MariaDB's for connections of all names, then by the age of the server: MySQL 8.0.22 on, then all before.
REPLICA_STATUS = ("SHOW ALL SLAVES STATUS", "SHOW REPLICA STATUS", "SHOW SLAVE STATUS")
