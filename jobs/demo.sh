#!/bin/bash
# Two methods on 4 ranks on the embedded digits, and the cost of each. About a minute.
#   bash jobs/demo.sh        (or: make demo)
set -euo pipefail
unset CDPATH
cd "$(dirname "$0")/.."
PATH="$PWD/.venv/bin:$PATH"
export OMP_NUM_THREADS=1
export PRTE_MCA_rmaps_default_mapping_policy=:oversubscribe  # Open MPI: more ranks than cores
mkdir -p demo

# A launcher's output is never a terminal, so ask for the bar where there is one.
progress=lines
if [[ -t 1 ]]; then progress=bar; fi

for method in fedavg fedskel; do
    mpiexec -n 4 fedmpi run "jobs/configs/demo-$method.toml" -o "demo/$method.h5" \
        --overwrite --progress $progress
done

echo
fedmpi compare demo/fedavg.h5 demo/fedskel.h5 --target 0.90 --plot demo/comparison.png
fedmpi report demo/fedavg.h5 demo/fedskel.h5 --target 0.90 -o demo/report.html --overwrite
echo
echo "Look into a result with:  .venv/bin/fedmpi info demo/fedskel.h5"
echo "The page to read, open it in a browser:  $PWD/demo/report.html"
