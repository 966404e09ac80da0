# ---- Slurm's part: what this job is, and how it comes back. ----
task=${SLURM_ARRAY_TASK_ID:-0}
# The tasks of an array share one number; Slurm would requeue all of them by it.
job=${SLURM_ARRAY_JOB_ID:+${SLURM_ARRAY_JOB_ID}_$SLURM_ARRAY_TASK_ID}
job=${job:-$SLURM_JOB_ID}
restarts=$((${SLURM_RESTART_COUNT:-0} + ${FEDMPI_RESTARTS:-0}))
nodes=${SLURM_JOB_NUM_NODES:-1} ranks=${SLURM_TASKS_PER_NODE:-1} cpus=${SLURM_CPUS_PER_TASK:-1}
ranks=${ranks%%[!0-9]*}
total=$((nodes * ranks)) nodelist=${SLURM_JOB_NODELIST:-}
scratch=${SLURM_TMPDIR:-${TMPDIR:-}}
export SRUN_CPUS_PER_TASK=$cpus # srun no longer takes it from sbatch
one_on_each_node() {
    timeout 60 srun --mpi=none --nodes="$nodes" --ntasks="$nodes" --ntasks-per-node=1 "$@"
}
one_for_each_rank=(srun --mpi=none --kill-on-bad-exit=0 --wait=0)
output=$(readlink "/proc/$$/fd/2" || true) # where Slurm also says why it ends the job

come_back() {
    local facts
    facts=$(scontrol --oneliner show job "$job" || true)
    if [[ -z $facts || $facts == *JobState=RUNNING* ]]; then # or Slurm is too busy to answer
        if scontrol requeue "$job"; then say "requeued"; else submit_again; fi
    elif [[ $facts =~ PreemptTime=[0-9] ]] || said_preempted; then
        submit_again # by a partition that cancels
    else
        say "Slurm ends this job" # and starts it again, unless it was cancelled
    fi
}

# Where jobs are also suspended (PreemptMode=GANG), Slurm notes no time, and only says so.
said_preempted() {
    local since
    since=$(tac "$output" 2>/dev/null | sed "/ job $job: start /q" || true)
    [[ $since == *"JOB $SLURM_JOB_ID ON "*" DUE TO PREEMPTION"* ]]
}

# A job that Slurm does not requeue is followed by another, once this one has ended.
submit_again() {
    local number name
    number=$(
        for name in $(compgen -e SLURM_); do
            [[ $name == SLURM_CONF || $name == SLURM_MPI_TYPE ]] || unset "$name"
        done
        export FEDMPI_RESTARTS=$((restarts + 1))
        sbatch --parsable --dependency="afterany:$job" --nodes="$nodes" \
            --ntasks-per-node="$ranks" --cpus-per-task="$cpus" ${SLURM_ARRAY_JOB_ID:+--array="$task"} \
            "$0" "${arguments[@]}"
    ) || { say "cannot be submitted from here; submit it again to go on" >&2; return; }
    submitted_again "${number%%;*}" "${SLURM_ARRAY_TASK_ID:--}"
}
