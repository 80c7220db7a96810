# The two commands of the README: `make demo` and `make test`. Each sets up all it needs.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip install --quiet --disable-pip-version-check

.PHONY: install demo test test-slow lint docs fuzz audit-dependencies clean
.DEFAULT_GOAL := help

FUZZ_SECONDS ?= 60
TARGETS := images manifest checkpoint onnx_file run_folder

help:
	@echo "make demo       search for fair, robust small models on drawn scenes; ends with a report"
	@echo "make test       lint, types, layers, docs and tests"
	@echo "make test-slow  the tests that kill, wait, compile or search for long"
	@echo "make install    only make the virtual environment ($(VENV))"
	@echo "make docs       build the documentation into site/"
	@echo "make fuzz       feed every reader of files strange bytes, FUZZ_SECONDS ($(FUZZ_SECONDS)) each"
	@echo "make audit-dependencies  look for known holes in what is installed (needs the network)"

$(BIN)/python:
	@$(PYTHON) -c 'import sys; sys.version_info >= (3, 11) or sys.exit("MoENAS needs Python 3.11 or newer; choose one with: make PYTHON=python3.12 ...")'
	$(PYTHON) -m venv $(VENV)

$(VENV)/.demo: $(BIN)/python pyproject.toml
	@echo "Installing moenas and its dependencies (PyTorch is large: some minutes) ..."
	$(PIP) -e '.[demo]'
	@touch $@

$(VENV)/.dev: $(BIN)/python pyproject.toml
	@echo "Installing moenas with its development tools (PyTorch is large: some minutes) ..."
	$(PIP) -e '.[dev,docs]'
	@touch $@ $(VENV)/.demo

install: $(VENV)/.demo

demo: $(VENV)/.demo
	$(BIN)/moenas demo

lint: $(VENV)/.dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

docs: $(VENV)/.dev
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict --quiet

test: lint docs
	$(BIN)/pytest -n 2 -m 'not slow'

test-slow: $(VENV)/.dev
	$(BIN)/pytest -n 2 -m slow

fuzz: $(VENV)/.dev
	@mkdir -p build
	@for target in $(TARGETS); do \
		echo "$$target:"; \
		$(BIN)/python fuzz/$$target.py --seconds $(FUZZ_SECONDS) 2> build/fuzz-$$target.log \
			|| { tail -40 build/fuzz-$$target.log; exit 1; }; \
	done

# In an environment of its own, so that it audits what moenas needs and not itself. A build of torch
# (2.8+cpu) counts as its version. What cannot be looked up fails.
$(VENV)-audit/bin/pip-audit: $(BIN)/python
	$(PYTHON) -m venv $(VENV)-audit
	$(VENV)-audit/bin/python -m pip install --quiet --disable-pip-version-check pip-audit

audit-dependencies: $(VENV)/.demo $(VENV)-audit/bin/pip-audit
	$(BIN)/python -m pip freeze --exclude-editable | sed 's/+[^+]*$$//' > $(VENV)-audit/installed.txt
	$(VENV)-audit/bin/pip-audit --requirement $(VENV)-audit/installed.txt --no-deps --disable-pip --strict

clean:
	rm -rf build dist site .pytest_cache .mypy_cache .ruff_cache .import_linter_cache
