"""All rows, in the order of the table."""

from __future__ import annotations

import callbacks
import connections
import echo
import life
import processes
import tasks
import timers
from measure import Row

ALL: dict[str, Row] = {
    row.name: row
    for group in (callbacks, tasks, timers, echo, connections, processes, life)
    for row in group.ROWS
}
