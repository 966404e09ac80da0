#!/bin/bash
# One experiment under the MPIs of several virtual environments: the weights must have the same bits.
#   bash tests/two_mpis.sh VENV VENV...
set -euo pipefail
unset CDPATH
cd "$(dirname "$0")/.."

export OMP_NUM_THREADS=1 OPENBLAS_NUM_THREADS=1 MKL_NUM_THREADS=1 NUMBA_NUM_THREADS=1
export OMPI_ALLOW_RUN_AS_ROOT=1 OMPI_ALLOW_RUN_AS_ROOT_CONFIRM=1 OMPI_MCA_osc=sm
export PRTE_MCA_rmaps_default_mapping_policy=:oversubscribe
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cat > "$folder/exp.toml" <<'END'
[run]
rounds = 6
[clients]
number = 12
[algorithm]
name = "fedskel"
END

for venv in "$@"; do
    for ranks in 2 3; do
        for algorithm in auto halving; do
            name=$(basename "$venv")-$ranks-$algorithm
            "$venv/bin/mpiexec" -n "$ranks" "$venv/bin/python" -m fedmpi run "$folder/exp.toml" \
                -o "$folder/$name.h5" --set collective.algorithm=$algorithm > /dev/null
            sum=$("$venv/bin/python" -c 'import fedmpi, sys
print(fedmpi.open(sys.argv[1]).weights_sha256)' "$folder/$name.h5")
            printf '%-36s %s\n' "$name" "$sum"
            echo "$sum" >> "$folder/sums"
        done
    done
done
different=$(sort -u "$folder/sums" | wc -l)
((different == 1)) || { echo "the weights differ" >&2; exit 1; }
echo "the same weights under $# MPIs"
