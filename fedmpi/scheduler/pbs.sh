# ---- PBS's part: what this job is, and how it comes back. ----
cd "$PBS_O_WORKDIR"
[[ -z $log ]] || exec >>"$log${PBS_ARRAY_INDEX:+-$PBS_ARRAY_INDEX}.log" 2>&1
task=${PBS_ARRAY_INDEX:-${FEDMPI_TASK:-0}}
job=$PBS_JOBID
restarts=${FEDMPI_RESTARTS:-0}
nodes=$(sort -u "$PBS_NODEFILE" | wc -l) total=$(wc -l <"$PBS_NODEFILE")
ranks=$((total / nodes)) cpus=${OMP_NUM_THREADS:-1}
nodelist=$(sort -u "$PBS_NODEFILE" | paste -sd,)
scratch=${TMPDIR:-}
one_on_each_node() { timeout 60 pbsdsh -- "$@"; }
one_for_each_rank=(mpiexec -n "$total")

# PBS does not tell a job that its limit is near, so a clock of the job's does.
{
    trap 'kill $!; exit' TERM # or the sleep would outlive the job
    sleep "$warn_after" &
    wait $! && kill -USR1 $$
} &
clock=$!
trap 'kill "$clock" 2>/dev/null || true' EXIT

come_back() {
    if [[ $told == TERM ]]; then
        say "PBS ends this job" # and runs it again, if it was preempted
    else
        submit_again
    fi
}

# PBS lets only its operators requeue, so the job is followed by another. A task of an array is
# followed by a job, not by all of the array, and by one that need not wait: PBS knows no
# dependency on a task.
submit_again() {
    local number after=(-W "depend=afterany:$job")
    [[ -z ${PBS_ARRAY_INDEX:-} ]] || after=()
    number=$(
        unset PBS_ARRAY_INDEX
        sed -e '/^#PBS -J /d' -e '/^#PBS -o /s/-^array_index^//' "$script" | qsub "${after[@]}" \
            -v "FEDMPI_RESTARTS=$((restarts + 1)),FEDMPI_TASK=$task$carried"
    ) || { say "cannot be submitted from here; submit it again to go on" >&2; return; }
    submitted_again "$number" -
}
