# The start of papers.sh and tables.sh, which source this file with OUT as its first word.
out=${1:?OUT is missing, the folder of the results; see the head of $0}
unset CDPATH # by which cd may go elsewhere, and prints where
mkdir -p "$out"
out=$(cd "$out" && pwd)
cd "$(dirname "$0")/.."
PATH="$PWD/.venv/bin:$PATH"
export OMP_NUM_THREADS=1
: "${FEDMPI_DATA:?set it to the folder of the data sets}"
