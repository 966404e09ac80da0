# ---- From here on every job script of fedmpi is the same. ----

restarts=${SLURM_RESTART_COUNT:-0}
# The tasks of an array share one number; Slurm would requeue all of them by it.
job=${SLURM_ARRAY_JOB_ID:+${SLURM_ARRAY_JOB_ID}_$SLURM_ARRAY_TASK_ID}
job=${job:-$SLURM_JOB_ID}
say() { echo "$(date +%FT%T) job $job: $*"; }

if ((restarts > most_restarts)); then
    say "started $restarts times again, more than $most_restarts: given up" >&2
    exit 1
fi

# The site's modules and environments were not written for strict shells.
if [[ -n $site ]]; then
    [[ -r $site ]] || { say "$site cannot be read" >&2; exit 1; }
    set +eu
    source "$site"
    set -eu
fi

# As many threads a rank as it was given cores, and not more than the node lets this job have.
cores=$(env -u OMP_NUM_THREADS -u OMP_THREAD_LIMIT nproc)
for group in "" "$(sed -n 's/^0:://p' /proc/self/cgroup)"; do
    if read -r quota period 2>/dev/null <"/sys/fs/cgroup$group/cpu.max" && [[ $quota != max ]]; then
        allowed=$((quota / period))
        cores=$((allowed < cores ? allowed : cores))
    fi
done
ranks=${SLURM_TASKS_PER_NODE:-1}
ranks=${ranks%%[!0-9]*}
threads=$((cores / ranks))
threads=$((threads > ${SLURM_CPUS_PER_TASK:-1} ? ${SLURM_CPUS_PER_TASK:-1} : threads))
export OMP_NUM_THREADS=$((threads > 1 ? threads : 1))
export OPENBLAS_NUM_THREADS=$OMP_NUM_THREADS MKL_NUM_THREADS=$OMP_NUM_THREADS
export NUMBA_NUM_THREADS=$OMP_NUM_THREADS
export SRUN_CPUS_PER_TASK=${SLURM_CPUS_PER_TASK:-1} # srun no longer takes it from sbatch

# Scratch on the node's own disk; compiled kernels are kept in it, too.
TMPDIR=${SLURM_TMPDIR:-${TMPDIR:-/tmp}}
[[ -d $TMPDIR && -w $TMPDIR ]] || TMPDIR=/tmp # the submitting machine's may not exist here
export TMPDIR

# Ranks that were killed leave shared memory behind. It stays taken, and MPI may stumble over it in
# a job that comes back under its old number. What no process of ours has mapped is removed.
left_over='for file in $(find /dev/shm -maxdepth 1 -user "$UID" ! -newermt "5 seconds ago" \
    \( -name "mpich_shm_*" -o -name "sm_segment.*" -o -name "vader_segment.*" \)); do
    grep -qsF "$file" /proc/[0-9]*/maps || rm -f "$file"
done'
nodes=${SLURM_JOB_NUM_NODES:-1}
timeout 60 srun --mpi=none --nodes="$nodes" --ntasks="$nodes" --ntasks-per-node=1 \
    bash -c "$left_over" || true

if [[ -e $out ]]; then
    task=(resume --allow-code --progress lines "$out")
else
    task=(run --progress lines "$config" -o "$out")
    for override in "${overrides[@]}"; do task+=(--set "$override"); done
fi
say "start $((restarts + 1)) on $SLURM_JOB_NODELIST: fedmpi ${task[*]}"

# The shell alone hears of the time limit. srun and mpirun pass USR1 on to every rank; to srun
# TERM would mean to kill them, and where Slurm ends a job it tells the ranks itself.
told="" interrupted="" running=""
on_signal() {
    told=$1 interrupted=yes
    if [[ $1 == USR1 && -n $running ]]; then kill -USR1 "$running" 2>/dev/null || true; fi
}
trap 'on_signal USR1' USR1
trap 'on_signal TERM' TERM

"${launch[@]}" "${fedmpi[@]}" "${task[@]}" &
running=$!
[[ -z $told ]] || on_signal USR1 # it came before there were ranks to tell
# A signal ends `wait` but not the ranks.
while code=0; wait "$running" || code=$?; ((code > 128)) && [[ -n $interrupted ]]; do
    interrupted=""
done
say "ended with $code"

# 75 means: stopped early, everything kept. A rank that was told to stop before it could listen
# ends otherwise. Any other failure would only repeat itself.
if ((code == 75)) || [[ $code != 0 && -n $told ]]; then
    state=$(squeue --noheader --jobs="$job" --format=%T || true)
    if [[ -n $state && $state != RUNNING ]]; then
        say "Slurm ends this job ($state)" # and starts it again, unless it was cancelled
    elif ((restarts >= most_restarts)); then
        say "started again $restarts times, which is the limit; go on with another job" >&2
    else
        scontrol requeue "$job" && say "requeued" ||
            say "cannot be requeued; submit it again to go on" >&2
    fi
fi
exit "$code"
