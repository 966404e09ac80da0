#!/bin/bash
# The runs behind the tables of docs/time.md and docs/stages.md, and the tables.
#   bash jobs/tables.sh OUT TABLE...            (no TABLE: all three)
# Finished runs are skipped, so the same command continues after a stop.
#
#   policies      less work for weak devices: time to accuracy      24 runs, 5 minutes of one core
#   selection     rules of selection: time to accuracy              21 runs, 4 minutes
#   compression   accuracy against bytes                            36 runs, 7 minutes
set -euo pipefail
source "$(dirname "$0")/start.sh"
shift

for name in "${@:-policies selection compression}"; do
    for table in $name; do
        fedmpi sweep "jobs/sweeps/$table.toml" -o "$out/$table"
        python jobs/tables.py "$out/$table"
    done
done
