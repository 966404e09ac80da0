#!/bin/bash
# The runs behind REPRODUCTION.md: experiments of jobs/configs/papers, each with three seeds.
#   bash jobs/papers.sh OUT STUDY...            (no STUDY: the first seven)
#   python jobs/reproduction.py OUT             the tables of the runs that exist
# Finished runs are skipped, so the same command continues after a stop.
#
#   dirichlet      fashion-mnist/*.toml, as they are              45 minutes of one core
#   pathological   fashion-mnist/*.toml, two classes a client     45 minutes
#   long           the methods with a bar, for 200 rounds         15 minutes
#   decay          the same with a learning rate that falls       15 minutes
#   rate           FedAvg and SCAFFOLD at half the learning rate  4 minutes
#   digits         digits/*.toml, ResNet-20                       8 minutes
#   skeletons      skeletonization/*.toml                         3 minutes
#   rescaled       SNIP and ERK with rescaled first weights       8 minutes
#   traffic        cifar-10/*.toml with 5 samples a client: the table's communication   20 minutes
#   cifar-10       cifar-10/*.toml on the table's three splits    9 configurations, see there
#   fedskel-mnist  fedskel-mnist/*.toml, FedSkel's own setting    5 hours a seed
#   fedskel-cifar  fedskel-cifar/*.toml, the same on CIFAR-10     5 hours a seed
#   feddip         feddip/*.toml, FedDIP's own setting            7 hours a seed
#   adp-cifar      adp-cifar/*.toml, ResNet-20 on CIFAR-10        1 hour a seed
#   adp-resnet32   the same with ResNet-32                        2 hours a seed
#   authors        authors/*.toml, methods with published keys    days
#   newer          newer/*.toml, methods of later years           20 minutes
#
# JOBS=N runs N at a time (default: all cores but one), one rank and thread each; SEEDS="1 2 3".
# ROUNDS=N ends cifar-10 after N of the 200 rounds, evaluated every second one. ONLY="a b" runs
# these experiments of a folder alone.
set -euo pipefail
source "$(dirname "$0")/start.sh"
shift
configs=jobs/configs/papers
cores=$(env -u OMP_NUM_THREADS -u OMP_THREAD_LIMIT nproc)
JOBS=${JOBS:-$((cores > 1 ? cores - 1 : 1))}
SEEDS=${SEEDS:-1 2 3}
short=(${ROUNDS:+"run.rounds=$ROUNDS" "run.eval_every=2"})
few=(clients.number=10000 clients.per_round=10 clients.local_epochs=1)
few+=(run.rounds=100 run.eval_every=100 run.checkpoint_every=100)

# points STUDY FOLDER [a.b=v ...]: a line for each experiment of FOLDER and seed.
points() {
    local study=$1 folder=$2 config seed
    shift 2
    for seed in $SEEDS; do
        for config in "$configs/$folder"/*.toml; do
            [[ -z ${ONLY:-} || " $ONLY " == *" $(basename "$config" .toml) "* ]] || continue
            point "$study" "$config" "$seed" "$@"
        done
    done
}

# point STUDY CONFIG SEED [a.b=v ...]: OUT, CONFIG and overrides, quoted, on one line.
point() {
    local study=$1 config=$2 seed=$3
    shift 3
    mkdir -p "$out/$study"
    printf '%q %q' "$out/$study/$(basename "$config" .toml)_seed=$seed.h5" "$config"
    printf ' --set %q' "run.seed=$seed" "$@"
    printf '\n'
}

# bars STUDY [a.b=v ...]: the methods that are measured against a bar, for 200 rounds.
bars() {
    local study=$1 seed name
    shift
    for seed in $SEEDS; do
        for name in fedavg feddip-0.9{,-released} fedskel-0.1-{activation,random,relevance}; do
            point "$study" "$configs/fashion-mnist/$name.toml" "$seed" run.rounds=200 "$@"
        done
    done
}

rate() {
    local seed name
    for seed in $SEEDS; do
        for name in fedavg scaffold; do
            point rate "$configs/fashion-mnist/$name.toml" "$seed" optimizer.lr=0.05
            point rate-pathological "$configs/fashion-mnist/$name.toml" "$seed" \
                optimizer.lr=0.05 data.partition=pathological
        done
    done
}

rescaled() {
    local seed name
    for seed in $SEEDS; do
        for name in {erk,snip}-0.{8,9,95,99}; do
            point rescaled "$configs/fashion-mnist/$name.toml" "$seed" algorithm.rescale=true
        done
    done
}

lines_of() {
    case $1 in
        dirichlet) points "$1" fashion-mnist ;;
        pathological) points "$1" fashion-mnist data.partition=pathological ;;
        long) bars long ;;
        decay) bars decay optimizer.lr_decay=0.985 ;;
        rate) rate ;;
        rescaled) rescaled ;;
        fedskel-mnist | fedskel-cifar | feddip | adp-cifar | authors | newer) points "$1" "$1" ;;
        adp-resnet32) points "$1" adp-cifar model.name=resnet32 ;;
        digits) points "$1" digits ;;
        skeletons) points "$1" skeletonization ;;
        traffic) points "$1" cifar-10 "${few[@]}" ;;
        cifar-10)
            points cifar-10-iid cifar-10 "${short[@]}"
            points cifar-10-d-niid cifar-10 data.partition=dirichlet data.alpha=1.0 "${short[@]}"
            points cifar-10-m-niid cifar-10 data.partition=mixed "${short[@]}"
            ;;
        *) echo "papers.sh: no study $1; see the head of the file" >&2; exit 2 ;;
    esac
}

one() {
    if [[ ! -e $1 ]]; then
        fedmpi run "$2" -o "$1" --quiet "${@:3}" && echo "$1"
    elif ! fedmpi info "$1" --json | grep -q '"status": "finished"'; then
        fedmpi resume "$1" --quiet && echo "$1"
    fi
}
export -f one

for study in "${@:-dirichlet pathological long decay rate digits skeletons}"; do
    for name in $study; do
        lines_of "$name"
    done
done | xargs -d '\n' -P "$JOBS" -I '{}' bash -c 'one {}'
