# Settings that this site needs before fedmpi runs. Each job script sources this file; edit it once.
# jobs/README.md has a page for each common site.

# Modules, if the site has them. The wheel of mpi4py takes the MPI that is loaded.
#   module purge
#   module load python/3.11 openmpi/5.0

submitted_in=${SLURM_SUBMIT_DIR:-${PBS_O_WORKDIR:-$PWD}}

# The Python environment with fedmpi in it; `make` puts one here, with MPICH.
if [[ -f $submitted_in/.venv/bin/activate ]]; then
    source "$submitted_in/.venv/bin/activate"
fi

# The command that starts the ranks. The scripts use `srun`, with Slurm's default for MPI. Others:
#   launch+=(--mpi=pmi2)   MPICH and Intel MPI
#   launch+=(--mpi=pmix)   Open MPI
#   launch=(mpirun)        where Slurm was built with neither; with PBS
# The wheels that `make` installs:
if [[ ${launch[0]} == srun && -x $submitted_in/.venv/bin/mpiexec.hydra ]]; then launch+=(--mpi=pmi2); fi
if [[ ${launch[0]} == srun && -x $submitted_in/.venv/bin/ompi_info ]]; then launch+=(--mpi=pmix); fi
