#!/bin/bash
# The whole suite, as `make test` runs it. Every step runs, even after one that failed.
#   bash tests/run.sh [--mpi] [RANKS ...]        --mpi: the MPI tests alone
set -uo pipefail
unset CDPATH
cd "$(dirname "$0")/.."

only=""
if [[ ${1:-} == --mpi ]]; then only=mpi; shift; fi
(($#)) || set -- 2 3 4
venv=${VENV:-.venv}
python=$venv/bin/python
mpiexec=$venv/bin/mpiexec  # of a wheel, else from PATH
[[ -x $mpiexec ]] || mpiexec=mpiexec

cores=$(env -u OMP_NUM_THREADS -u OMP_THREAD_LIMIT nproc)  # not the number of threads
# Or each of the many processes would compile all of Python's code again.
unset PYTHONDONTWRITEBYTECODE
# One thread for each process: ranks would otherwise fight for the cores.
export OMP_NUM_THREADS=1 OPENBLAS_NUM_THREADS=1 MKL_NUM_THREADS=1 NUMBA_NUM_THREADS=1
# Open MPI would refuse root, and more ranks than cores; its UCX warns of shared windows.
export OMPI_ALLOW_RUN_AS_ROOT=1 OMPI_ALLOW_RUN_AS_ROOT_CONFIRM=1
export PRTE_MCA_rmaps_default_mapping_policy=:oversubscribe
export OMPI_MCA_osc=sm
# Ranks of MPICH that wait would keep the cores from those that work.
export MPIR_CVAR_ENABLE_HEAVY_YIELD=1
if [[ -z ${FEDMPI_DATA:-} && -d ../shared/data ]]; then FEDMPI_DATA=$(realpath ../shared/data); fi
[[ -n ${FEDMPI_DATA:-} ]] && export FEDMPI_DATA

summary=()
failed=0

step() {  # step NAME COMMAND...
    local name=$1 began=$SECONDS result=ok
    shift
    printf '\n== %s\n' "$name"
    "$@" || { result="FAILED ($?)"; failed=1; }
    summary+=("$(printf '%-28s %-12s %4d s' "$name" "$result" $((SECONDS - began)))")
}

if [[ -z $only ]]; then
    step "style" $python -m ruff check .
    # Otherwise test processes that need the same kernels would wait for each other.
    step "compile" "$mpiexec" -n "$cores" $python -m fedmpi warmup
    # Test files are dealt out, longest first, to one process more than cores, since some wait.
    deal="-n ${JOBS:-$((cores + 1))} --dist loadfile --no-loadscope-reorder --durations=20"
    # Jobs of a real Slurm run alone: on busy cores its PMI2 loses messages of MPICH.
    alone="tests/jobs/test_slurm.py tests/jobs/test_doctor.py"
    step "plain" $python -m pytest $deal ${alone//tests/--ignore=tests}
    step "jobs of a real Slurm" $python -m pytest $alone
    # Each kernel, and each method once through its rounds; make soak runs all tests of methods so.
    rounds=tests/algorithms/test_contract.py::test_messages_or_work_really_shrink
    bodies="-n ${JOBS:-$cores} --dist worksteal tests/kernels $rounds"
    step "kernels without compiler" env NUMBA_DISABLE_JIT=1 $python -m pytest $bodies
fi
# Other plugins of pytest would take each rank a second to load.
few="PYTEST_DISABLE_PLUGIN_AUTOLOAD=1"
for n in "$@"; do
    step "MPI, $n ranks" env FEDMPI_RANKS="$n" $few timeout --kill-after=10 600 \
        "$mpiexec" -n "$n" $python -m pytest -p pytest_timeout -p no:cacheprovider tests/mpi
done

# Killed ranks leave MPI's shared memory behind, which job scripts remove, too.
eval "$(sed -n "/^left_over='/,/^done'/p" fedmpi/scheduler/job.sh)"
bash -c "${left_over:?is no longer in fedmpi/scheduler/job.sh}"

printf '\n== summary\n'
printf '%s\n' "${summary[@]}"
exit $failed
