# Every target does its own set-up in .venv; Python >= 3.11 and gcc are all that must be there.
# The set-up runs again when pyproject.toml or constraints.txt has changed.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
INSTALL := $(BIN)/python -m pip install --quiet --constraint constraints.txt

.DEFAULT_GOAL := help
.PHONY: help demo train train-tracker draw test test-slow test-full test-aarch64 zoo docs lint format setup setup-dev clean distclean

help:
	@echo "make demo       compile the demonstration model and segment pictures with it"
	@echo "make train      train the demonstration model anew (hours)    make draw  held-out scenes"
	@echo "make train-tracker  its tracker alone, beside the detector that is there (1.5 hours)"
	@echo "make test       ruff, mypy and the tests"
	@echo "make test-slow  the tests that take longest and fail rarely; CI runs them after the others"
	@echo "make test-full  the tests at SAM 3's real size (minutes, gigabytes)"
	@echo "make test-aarch64  artifacts for AArch64 and older x86-64 on emulated CPUs (hours)"
	@echo "make zoo        some 340 models through the importer and TVM's own (an hour or more)"
	@echo "make docs       the API reference, from the docstrings, in out/docs"
	@echo "make lint       ruff and mypy alone        make format  ruff format"
	@echo "make clean      remove what was built      make distclean  and .venv"

# Two stamps: the demo needs no test tools, and the tests need what the demo does.
$(VENV)/.stamp-compile: pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	  { echo "error: $(PYTHON) is older than 3.11; name a newer one: make PYTHON=python3.11"; exit 1; }
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV) || \
	  { echo "error: no venv could be made; install the venv module (Debian: python3-venv)"; exit 1; }
	$(INSTALL) -e '.[compile,video]'
	@touch $@

$(VENV)/.stamp-dev: $(VENV)/.stamp-compile
	$(INSTALL) -e '.[dev]'
	$(BIN)/python -m pip install --quiet --no-deps sam3==0.1.4
	@touch $@

$(VENV)/.stamp-train: $(VENV)/.stamp-compile
	$(INSTALL) -e '.[train]'
	@touch $@

setup: $(VENV)/.stamp-compile

setup-dev: $(VENV)/.stamp-dev

demo: $(VENV)/.stamp-compile
	$(BIN)/sam3-tvm demo -o out

train: $(VENV)/.stamp-train
	$(BIN)/python -m training
	$(BIN)/python -m training tracker

train-tracker: $(VENV)/.stamp-train
	$(BIN)/python -m training tracker

draw: $(VENV)/.stamp-train
	$(BIN)/python -m training draw -o out/held-out

lint: $(VENV)/.stamp-dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

format: $(VENV)/.stamp-dev
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

# A worker for each core, with one thread: more would only get in each other's way. Four take
# some 8 GiB; who is done first takes over what others have left.
PYTEST := TVM_NUM_THREADS=1 OMP_NUM_THREADS=1 $(BIN)/pytest -n logical --maxprocesses 4 --dist worksteal

test: lint
	$(PYTEST)

test-slow: $(VENV)/.stamp-dev
	$(PYTEST) -m slow

test-full: $(VENV)/.stamp-dev
	$(BIN)/pytest -m full

# Debian: qemu-user-static g++-aarch64-linux-gnu mmdebstrap. What is compiled stays in out/emulated.
test-aarch64: $(VENV)/.stamp-compile
	$(BIN)/python -m tests.emulated $(EMULATED)

# Goes on where it was stopped; make clean lets it begin anew.
zoo: $(VENV)/.stamp-dev
	$(BIN)/python -m tests.zoo --stock --dynamic --json out/zoo.json --resume

docs: $(VENV)/.stamp-dev
	$(BIN)/python docs/reference.py out/docs

clean:
	rm -rf out build dist .pytest_cache .mypy_cache .ruff_cache .hypothesis
	find src tests -name __pycache__ -prune -exec rm -rf {} +

distclean: clean
	rm -rf $(VENV) src/*.egg-info
