PYTHON ?= python3
VENV ?= .venv
PRESET ?= quick
SEEDS ?= 0
DATASET ?= cifar10

INSTALLED = $(VENV)/.installed
PIP = $(VENV)/bin/python -m pip install -q --disable-pip-version-check -c constraints.txt

.DEFAULT_GOAL := help
.PHONY: help report test lab lint clean

help: ## this list
	@awk -F ': .*## ' '/^[a-z]+:.*## / { printf "make %-8s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)
	@echo "Settings: PYTHON=$(PYTHON) VENV=$(VENV) PRESET=$(PRESET) SEEDS=$(SEEDS) DATASET=$(DATASET)"

report: $(INSTALLED) ## run what is missing for PRESET and SEEDS, then build the report
	$(VENV)/bin/ablkit report --preset $(PRESET) --seeds $(SEEDS) $(if $(filter-out cifar10,$(DATASET)),--dataset $(DATASET))

# One thread a process: pytest -n auto already takes every core. Files in the order of their names, as the slowest ones have
# few tests and would else come last, one beside an idle core.
test: $(INSTALLED) ## run all tests in parallel
	OMP_NUM_THREADS=1 $(VENV)/bin/pytest -n auto --dist loadfile --no-loadscope-reorder --durations=25

lab: $(INSTALLED) ## open the notebooks in JupyterLab
	$(VENV)/bin/jupyter lab notebooks

lint: $(INSTALLED) ## check style and format
	$(VENV)/bin/ruff check .
	$(VENV)/bin/ruff format --check .

clean: ## remove the virtual environment and caches; data and runs stay
	rm -rf $(VENV) .pytest_cache .ruff_cache .hypothesis

# torch and torchvision first, pinned as the pair that fits, so that nothing pulls in another build.
$(INSTALLED): pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 13))' 2>/dev/null \
		|| { echo "$(PYTHON) is no Python 3.11, 3.12 or 3.13: name one, as in make PYTHON=python3.12" >&2; exit 1; }
	$(PYTHON) -m venv $(VENV)
	$(PIP) torch==2.13.0 torchvision==0.28.0
	$(PIP) -e ".[lab,test]"
	@touch $@
