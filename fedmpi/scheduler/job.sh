# ---- From here on every job script of fedmpi is the same. ----

say() { echo "$(date +%FT%T) job $job: $*" || true; } # the log may be on a full disk

if ((restarts > most_restarts)); then
    say "started $restarts times again, more than $most_restarts: given up" >&2
    exit 1
fi

# The site's modules and environments were not written for strict shells.
set +eu
prepare_site
if [[ -n $site ]]; then
    [[ -r $site ]] || { say "$site cannot be read" >&2; exit 1; }
    source "$site"
fi
set -eu
# Ranks that leave with 75 must not be killed for it; a rank that died ends the others.
[[ ${launch[0]} != srun ]] || launch+=(--kill-on-bad-exit=0 --wait=4)

# Files that were not copied when the job was submitted may have changed since.
[[ -z $digests ]] || sha256sum --check --quiet <<<"$digests" 2>/dev/null ||
    say "warning: a file of yours, named above, has changed since this job was submitted"

# A rank has a thread for each of its cores, but no more than the cores of the job on this node.
cores=$(env -u OMP_NUM_THREADS -u OMP_THREAD_LIMIT nproc)
for group in "" "$(sed -n 's/^0:://p' /proc/self/cgroup)"; do
    if read -r quota period 2>/dev/null <"/sys/fs/cgroup$group/cpu.max" && [[ $quota != max ]]; then
        allowed=$((quota / period))
        cores=$((allowed < cores ? allowed : cores))
    fi
done
threads=$((cores / ranks))
threads=$((threads > cpus ? cpus : threads))
export OMP_NUM_THREADS=$((threads > 1 ? threads : 1))
export OPENBLAS_NUM_THREADS=$OMP_NUM_THREADS MKL_NUM_THREADS=$OMP_NUM_THREADS
export NUMBA_NUM_THREADS=$OMP_NUM_THREADS

# Scratch on the node's own disk; compiled kernels are kept in it, too.
export TMPDIR=${scratch:-/tmp}
[[ -d $TMPDIR && -w $TMPDIR ]] || TMPDIR=/tmp # the submitting machine's may not exist here

# Ranks that were killed leave shared memory behind. It stays taken, and MPI may stumble over it in
# a job that comes back under its old number. Files that no process of ours has mapped are removed.
left_over='for file in $(find /dev/shm -maxdepth 1 -user "$UID" ! -newermt "5 seconds ago" \
    \( -name "mpich_shm_*" -o -name "sm_segment.*" -o -name "vader_segment.*" \)); do
    grep -qsF "$file" /proc/[0-9]*/maps || rm -f "$file"
done'
one_on_each_node bash -c "$left_over" || true

# A table has one line a point: file, then a value for each key, or - where a key is not set.
choose_point() { # LINE
    local keys cells file i
    IFS=$'\t' read -r -a keys <"$points"
    IFS=$'\t' read -r -a cells < <(sed -n "$(($1 + 1))p" "$points") || true
    file=${cells[0]:?no point $1 in $points}
    out=$(dirname "$points")/${file##*/}
    overrides=() changes=()
    for i in "${!keys[@]}"; do
        ((i == 0)) || [[ ${cells[i]} == - ]] || overrides+=("${keys[i]}=${cells[i]}")
    done
}

choose_words() { # the words of fedmpi: run, or resume
    local override
    if [[ -e $out ]]; then
        words=(resume --allow-code --progress lines "$out")
        for override in "${changes[@]}"; do words+=(--set "$override"); done
    else
        words=(run --progress lines "$config" -o "$out")
        for override in "${overrides[@]}"; do words+=(--set "$override"); done
    fi
}

# One of many points that share this allocation: a run of one rank, with its own log.
run_packed() {
    local rank name
    rank=${SLURM_PROCID:-${FLUX_TASK_RANK:-${OMPI_COMM_WORLD_RANK:-${PMI_RANK:-$PALS_RANKID}}}}
    [[ -n ${lines[rank]:-} ]] || exit 0
    choose_point "${lines[rank]}"
    choose_words
    for name in $(compgen -e); do # the run must not look for the others
        [[ ! $name =~ ^(PMI|PMIX|PALS|OMPI|FLUX|SLURM_(STEP|PROCID|LOCALID)) ]] || unset "$name"
    done
    exec >>"${out%.h5}.log" 2>&1
    say "start: fedmpi ${words[*]}"
    exec "${fedmpi[@]}" "${words[@]}"
}

here=- # the lines of the table that run here
if [[ -z $points ]]; then
    choose_words
    start=("${launch[@]}" "${fedmpi[@]}" "${words[@]}")
    say "start $((restarts + 1)) on $nodelist: fedmpi ${words[*]}"
elif ((pack)); then
    lines=("${lines[@]:task * total:total}")
    here="${lines[*]}"
    say "start $((restarts + 1)) on $nodelist: points $here of $points"
    overrides=() changes=()
    FEDMPI_PACKED=$(declare -p job lines fedmpi points config overrides changes
        declare -f say choose_point choose_words run_packed)
    export FEDMPI_PACKED
    start=("${one_for_each_rank[@]}" bash -c 'set -eu; eval "$FEDMPI_PACKED"; run_packed')
else
    here=${lines[task]:-$task}
    choose_point "$here"
    choose_words
    start=("${launch[@]}" "${fedmpi[@]}" "${words[@]}")
    say "start $((restarts + 1)) on $nodelist: fedmpi ${words[*]}"
    exec >>"${out%.h5}.log" 2>&1
    say "start $((restarts + 1)) on $nodelist: fedmpi ${words[*]}"
fi

submitted_again() { # NUMBER TASK
    [[ -z $record ]] || echo "$scheduler $1 $2 ${here// /,}" >>"$record" || true
    say "submitted again as job $1"
}

# The shell alone hears of the time limit. srun and mpirun pass USR1 on to every rank; to srun
# TERM would mean to kill them, and where Slurm ends a job it tells the ranks itself.
told="" interrupted="" running=""
on_signal() {
    told=$1 interrupted=yes
    if [[ $1 == USR1 && -n $running ]]; then kill -USR1 "$running" 2>/dev/null || true; fi
}
trap 'on_signal USR1' USR1
trap 'on_signal TERM' TERM

"${start[@]}" &
running=$!
[[ -z $told ]] || on_signal USR1 # it came before the ranks had started
# A signal ends `wait` but not the ranks.
while code=0; wait "$running" || code=$?; ((code > 128)) && [[ -n $interrupted ]]; do
    interrupted=""
done
say "ended with $code"

# 75 means: stopped early, everything kept. A rank that was told to stop before it could listen
# ends otherwise. Any other failure would only repeat itself.
if ((code == 75)) || [[ $code != 0 && -n $told ]]; then
    if ((restarts >= most_restarts)); then
        say "started again $restarts times, which is the limit; submit again to continue" >&2
    else
        come_back
    fi
fi
exit "$code"
