# make demo   two nodes, one record, one killed process     make test   the tests
# make check  format, lint, types, import rules, tests      make bench  the benchmarks

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin

.PHONY: setup demo test check bench profile proto clean

setup: $(VENV)/.ready

$(VENV)/.ready: pyproject.toml
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "codexdht needs Python 3.11 or later; make PYTHON=python3.x")'
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[test,dev]'
	$(BIN)/python -m compileall -q codexdht
	touch $@

demo: setup
	$(BIN)/python -m codexdht.cli.demo

test: setup
	$(BIN)/python -m pytest

check: setup
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(MAKE) --no-print-directory test

bench: setup
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[bench,plot]'
	failed=0; \
	$(BIN)/python -m benchmarks load wires whole peers || failed=1; \
	$(BIN)/python -m benchmarks.store || failed=1; \
	$(BIN)/python -m benchmarks.store --records 200000 --turnover 10 || failed=1; \
	exit $$failed

profile: setup
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[bench]'
	$(BIN)/python -m benchmarks.profile $(ROW)

proto: setup
	for file in identity/key records/envelope messages/discv5; do \
	  $(BIN)/python -m grpc_tools.protoc -I. --python_out=. codexdht/$$file.proto; done

clean:
	rm -rf $(VENV) data .mypy_cache .ruff_cache .hypothesis dist
