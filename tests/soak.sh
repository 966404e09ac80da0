#!/bin/bash
# Tests that fail rarely: many kills, many damaged inputs, and the MPI tests over and over.
#   bash tests/soak.sh [--faults] [RANKS ...]              --faults: tests/faults alone
#   KILLS=100 CASES=100000 SECONDS_OF_MPI=600 SEED=today   how much, and which random numbers
#   DRAWN=50                                               experiments drawn for each rank count
#   VENV=.venv                                             the environment, such as one with Open MPI
set -uo pipefail
unset CDPATH
cd "$(dirname "$0")/.."

only=""
if [[ ${1:-} == --faults ]]; then only=faults; shift; KILLS=${KILLS:-20}; fi
(($#)) || set -- 2 3 4
python=${VENV:-.venv}/bin/python
failed=0
export OMP_NUM_THREADS=1 OPENBLAS_NUM_THREADS=1 MKL_NUM_THREADS=1 NUMBA_NUM_THREADS=1
export OMPI_ALLOW_RUN_AS_ROOT=1 OMPI_ALLOW_RUN_AS_ROOT_CONFIRM=1
export PRTE_MCA_rmaps_default_mapping_policy=:oversubscribe OMPI_MCA_osc=sm
export MPIR_CVAR_ENABLE_HEAVY_YIELD=1
export FEDMPI_DRAWN=${DRAWN:-50}
export FEDMPI_KILLS=${KILLS:-100} FEDMPI_FUZZ_CASES=${CASES:-100000} FEDMPI_SEED=${SEED:-$(date +%F)}

printf '== %s kills, seed %s\n' "$FEDMPI_KILLS" "$FEDMPI_SEED"
$python -m pytest -s -p no:cacheprovider tests/faults tests/record/test_torn.py || failed=1
[[ -z $only ]] || exit $failed
printf '\n== %s damaged inputs of each format\n' "$FEDMPI_FUZZ_CASES"
$python -m pytest -p no:cacheprovider --durations=0 tests/fuzz || failed=1
printf '\n== a real Slurm, containers, and what is too slow for make test\n'
alone="tests/jobs/test_slurm.py tests/jobs/test_container.py"
FEDMPI_SOAK=1 $python -m pytest -p no:cacheprovider $alone || failed=1
FEDMPI_SOAK=1 $python -m pytest -p no:cacheprovider -m soak ${alone//tests/--ignore=tests} || failed=1
printf '\n== methods without compiler\n'
NUMBA_DISABLE_JIT=1 $python -m pytest -p no:cacheprovider tests/algorithms || failed=1
printf '\n== MPI tests for %s s\n' "${SECONDS_OF_MPI:-600}"
end=$((SECONDS + ${SECONDS_OF_MPI:-600}))
while ((SECONDS < end)); do bash tests/run.sh --mpi "$@" || { failed=1; break; }; done
exit $failed
