# The commands of Fieldloop. They need make and Python 3.11 or newer; everything else they install themselves,
# into folders of this checkout. People and CI run the same ones.

PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
VENV_TFLITE ?= .venv-tflite
VENV_TRITON ?= .venv-triton
VENV_MLSERVER ?= .venv-mlserver
VENV_FEAST ?= .venv-feast

# The play that has to mend a loss in time has the machine for itself.
ALONE := tests/e2e/test_drift.py
# Everything else runs on every core, whole files at a time: what a file or a folder sets up serves all its tests.
EVERYTHING_ELSE := -n auto --dist loadfile --no-loadscope-reorder $(ALONE:%=--ignore=%)

.DEFAULT_GOAL := help
.PHONY: help demo test test-arm properties check bench bench-trainer crash power-cuts deb fix lock clean packages venv-demo venv-dev venv-tflite venv-triton venv-mlserver venv-feast
.NOTPARALLEL:

help:
	@echo 'make demo      the whole loop on this machine: DEVICES=5 SEED=1 DATA=digits ARGS=--keep'
	@echo 'make test      every test: TESTS="tests/unit -k spool" runs a part'
	@echo 'make test-arm  the tests on emulated ARM, with a Debian for each architecture made from nothing'
	@echo 'make properties  the property tests with new examples, again and again until one fails: RUNS=10'
	@echo 'make check     ruff, mypy, import-linter'
	@echo 'make bench     every benchmark, results in build/bench; make bench-AREA runs one'
	@echo 'make deb       the Debian package of the agent, for arm64, armhf and amd64, in build/deb: ARGS=arm64 for one'
	@echo 'make crash     cut 10,000 times the power of a device, kill it, fill its disk; report in build/crash: ARGS="--cuts 500"'
	@echo 'make power-cuts  cut 100 times the power of an emulated board in the midst of updates; report in build/power-cuts: ARGS="--cuts 20"'
	@echo 'make fix       let ruff format and mend'
	@echo 'make lock      compile requirements/*.txt from pyproject.toml: UPGRADE=1 takes newer versions'
	@echo 'make clean     remove environments and everything that the commands wrote'
	@echo 'PYTHON=python3.12 chooses the interpreter.'

demo: venv-demo
	@$(BIN)/fieldloop demo $(if $(DEVICES),--devices $(DEVICES)) $(if $(SEED),--seed $(SEED)) \
	    $(if $(DATA),--data $(DATA)) $(ARGS)

# tflite-runtime ends at Python 3.11: elsewhere the tests that need it are skipped, and say so.
test: packages venv-dev venv-tflite venv-triton
	@if [ -x $(VENV_TFLITE)/bin/python ]; then \
	    FIELDLOOP_TFLITE_PYTHON="$(abspath $(VENV_TFLITE))/bin/python"; export FIELDLOOP_TFLITE_PYTHON; \
	fi; \
	if [ -x $(VENV_TRITON)/bin/python ]; then \
	    FIELDLOOP_TRITON_PYTHON="$(abspath $(VENV_TRITON))/bin/python"; export FIELDLOOP_TRITON_PYTHON; \
	fi; \
	PATH="$$PATH:/usr/local/sbin:/usr/sbin"; export PATH; \
	$(if $(TESTS),$(BIN)/pytest $(TESTS),$(BIN)/pytest $(EVERYTHING_ELSE) && $(BIN)/pytest $(ALONE))

# `make test` keeps what is emulated in ~/.cache/fieldloop: here it is made anew. What pip and the compiler fetched stays.
ARM_CACHE := $(abspath build)/test-arm
test-arm:
	@rm -rf $(ARM_CACHE)
	@export PIP_CACHE_DIR="$${PIP_CACHE_DIR:-$${XDG_CACHE_HOME:-$$HOME/.cache}/pip}"; \
	export ZIG_GLOBAL_CACHE_DIR="$${ZIG_GLOBAL_CACHE_DIR:-$${XDG_CACHE_HOME:-$$HOME/.cache}/zig}"; \
	FIELDLOOP_ALL_CARDS=1 XDG_CACHE_HOME=$(ARM_CACHE) $(MAKE) --no-print-directory test TESTS="$(or $(TESTS),tests/arm)"

properties: venv-dev
	@for run in $$(seq $(or $(RUNS),10)); do \
	    $(BIN)/pytest -q -n auto --hypothesis-profile=search tests/properties || exit; \
	done

check: venv-dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

bench: venv-dev
	@$(BIN)/pytest benchmarks

# Its figures come from several files, which name this area.
bench-trainer: venv-dev venv-mlserver venv-feast
	@$(BIN)/pytest benchmarks/bench_trainer.py benchmarks/bench_serving.py

bench-%: venv-dev
	@$(BIN)/pytest benchmarks/bench_$*.py

deb: venv-dev
	@$(BIN)/python -m scripts.deb.build $(ARGS)

crash: packages venv-dev
	@PATH="$$PATH:/usr/local/sbin:/usr/sbin" $(BIN)/python -m tests.crash.campaign $(ARGS)

power-cuts: packages venv-dev
	@PATH="$$PATH:/usr/local/sbin:/usr/sbin" $(BIN)/python -m tests.arm.system.campaign $(ARGS)

fix: venv-dev
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

lock:
	@[ -x build/lock/bin/uv ] || { sh scripts/make-venv.sh $(PYTHON) build/lock && build/lock/bin/pip install --quiet uv; }
	@sh scripts/lock.sh build/lock/bin/uv $(if $(UPGRADE),--upgrade)

clean:
	rm -rf $(VENV) $(VENV_TFLITE) $(VENV_TRITON) $(VENV_MLSERVER) $(VENV_FEAST) build demo dist
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
	rm -rf .mypy_cache .pytest_cache .ruff_cache .import_linter_cache .hypothesis

packages:
	@sh scripts/debian-packages.sh packages/debian-test.txt $(PYTHON)
	@sh scripts/enable-emulation.sh

venv-demo:
	@sh scripts/install.sh $(PYTHON) $(VENV) demo
	@$(BIN)/python -m edge_agent.engine.compile --quiet || true

venv-dev:
	@sh scripts/install.sh $(PYTHON) $(VENV) dev
	@$(BIN)/python -m edge_agent.engine.compile --quiet || true

venv-tflite:
	@if $(PYTHON) -c 'import sys; sys.exit(sys.version_info[:2] != (3, 11))'; then \
	    sh scripts/install.sh $(PYTHON) $(VENV_TFLITE) agent-tflite build; \
	fi

# Its client wants an older ml-dtypes than onnx.
venv-triton:
	@if [ -f requirements/triton.txt ]; then sh scripts/install.sh $(PYTHON) $(VENV_TRITON) triton build; fi

# A peer for measurements: it wants older versions of what we serve with.
venv-mlserver:
	@if [ -f requirements/mlserver.txt ]; then sh scripts/install.sh $(PYTHON) $(VENV_MLSERVER) mlserver; fi

# It wants other versions of what the feature store uses.
venv-feast:
	@if [ -f requirements/feast.txt ]; then sh scripts/install.sh $(PYTHON) $(VENV_FEAST) feast; fi
