# `make demo` and `make test` do everything from a bare checkout: virtual environment, packages, run.
#   make demo PYTHON=python3.12          another Python (3.11 or newer)
#   make demo PIP_FLAGS="--extra-index-url https://download.pytorch.org/whl/cpu"    torch without CUDA, a smaller download
#   make test PYTEST_FLAGS="-k replay"   a part of the tests

PYTHON ?= python3
VENV ?= .venv
PIP_FLAGS ?=
PYTEST_FLAGS ?=
JOBS ?= 2
BIN := $(VENV)/bin

.DEFAULT_GOAL := help
.PHONY: help demo demo-short test lint check

help:
	@echo "make demo        the main run: one network learns four games, one after another (10 minutes, 2 cores)"
	@echo "make demo-short  a short form of it"
	@echo "make test        the tests"
	@echo "make lint        ruff and pyright"
	@echo "make check       lint and test"

# One stamp a set of extras: installed again only when what is needed changes. constraints.txt pins every version.
DEMO_EXTRAS := minatar,report
DEV_EXTRAS := atari,benchmarks,box2d,digits,examples,minatar,minigrid,mpe,mujoco,pettingzoo,report,text,dev

define install
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@$(BIN)/python -c "import sys; v = sys.version_info[:2]; v >= (3, 11) or sys.exit('Gurgeh needs Python 3.11 or newer, found %d.%d: make PYTHON=python3.12 VENV=.venv312' % v)"
	$(BIN)/python -m pip install --quiet $(PIP_FLAGS) --constraint constraints.txt --editable ".[$(1)]"
	@touch $@
endef

$(VENV)/.installed-demo: pyproject.toml constraints.txt
	$(call install,$(DEMO_EXTRAS))

$(VENV)/.installed-dev: pyproject.toml constraints.txt
	$(call install,$(DEV_EXTRAS))

# A run directory is never overwritten: without --name each run takes the first free one, demo-1, demo-2 ...
demo: $(VENV)/.installed-demo
	$(BIN)/gurgeh train configs/demo.yaml

demo-short: $(VENV)/.installed-demo
	$(BIN)/gurgeh train configs/demo_short.yaml

# One thread a worker: the machine's cores are shared out once, among the workers.
test: $(VENV)/.installed-dev
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n $(JOBS) $(PYTEST_FLAGS)

lint: $(VENV)/.installed-dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/pyright

check: lint test
