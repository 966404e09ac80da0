#!/bin/bash
# The same root file system without a container's tools: debootstrap, then pip from outside.
#   jobs/container/rootfs.sh FOLDER        as root; about 5 minutes; enter it by chroot FOLDER
set -euo pipefail
folder=${1:?FOLDER is missing; see the head of this script}
unset CDPATH
checkout=$(cd "$(dirname "$0")/../.." && pwd)
python=${PYTHON:-python3.11} # of the version that bookworm has

[[ -e $folder/usr/bin/python3 ]] ||
    debootstrap --variant=minbase --include=python3,libgomp1 bookworm "$folder"
"$python" -m pip install --quiet --disable-pip-version-check --only-binary :all: \
    -c "$checkout/constraints.txt" --target "$folder/opt/fedmpi" --upgrade \
    numpy numba torch h5py mpi4py pydantic rich
"$python" -m pip install --quiet --disable-pip-version-check --no-deps \
    --target "$folder/opt/fedmpi" --upgrade "$checkout"
