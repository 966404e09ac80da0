#!/bin/bash
# The tests and the benchmark of the batched engine on a GPU, as `make test-gpu` runs them.
#   bash tests/gpu.sh [OUT.json]
# Fails on a machine without a GPU. The benchmark's numbers go to OUT.json (default: gpu.json).
set -uo pipefail
unset CDPATH
cd "$(dirname "$0")/.."

python=${PYTHON:-${VENV:-.venv}/bin/python}
out=${1:-gpu.json}
export OMP_NUM_THREADS=1 OPENBLAS_NUM_THREADS=1 MKL_NUM_THREADS=1 NUMBA_NUM_THREADS=1
export CUBLAS_WORKSPACE_CONFIG=:4096:8

if ! $python -c 'import torch, sys; sys.exit(not torch.cuda.is_available())'; then
    echo "make test-gpu: torch finds no GPU here, so nothing was tested;" \
        "fedmpi doctor with run.device = \"cuda\" says why" >&2
    exit 1
fi
failed=0
timeout 240 $python -m pytest -q -p no:cacheprovider tests/gpu || failed=1
timeout 280 $python -m fedmpi bench round --engine batched --device cuda --json "$out" || failed=1
echo "numbers in $out"
exit $failed
