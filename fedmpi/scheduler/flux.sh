# ---- Flux's part: what this job is, and how it comes back. ----
job=$(flux getattr jobid)
[[ -z $log ]] || exec >>"$log.log" 2>&1
task=${FEDMPI_TASK:-0}
restarts=${FEDMPI_RESTARTS:-0}
nodes=$(flux getattr size)
total=$((nodes * ranks)) nodelist=$(flux getattr hostlist)
scratch=${TMPDIR:-}
one_on_each_node() { timeout 60 flux run --nodes="$nodes" --ntasks="$nodes" "$@"; }
one_for_each_rank=(flux run --nodes="$nodes" --ntasks="$total" --cores-per-task="$cpus")

# Its own clock tells the job that its limit is near: the script of an instance hears no signal.
{
    trap 'kill $!; exit' TERM # or the sleep would outlive the job
    sleep "$warn_after" &
    wait $! && kill -USR1 $$
} &
clock=$!
trap 'kill "$clock" 2>/dev/null || true' EXIT

come_back() {
    if [[ $told == TERM ]]; then
        say "Flux ends this job"
    else
        submit_again
    fi
}

# Flux does not requeue, so the job is followed by another.
submit_again() {
    local number
    number=$(FEDMPI_RESTARTS=$((restarts + 1)) FEDMPI_TASK=$task \
        flux --parent batch --dependency="afterany:$job" "$script" "${arguments[@]}") ||
        { say "cannot be submitted from here; submit it again to go on" >&2; return; }
    submitted_again "$number" -
}
