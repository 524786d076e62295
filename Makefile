# Nine verbs. `make demo` and `make test` need nothing but Python >= 3.11 and make.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
# An environment of its own: the loaders that ours is compared with want an older numpy.
PERF := $(VENV)/perf
# What an installation is made of, besides the modules that it only points to.
SOURCES := pyproject.toml loaders/fetch/_gather.c
FOLDERS := catalog curate packaging loaders benchmark

.PHONY: demo test install install-all lint types perf fuzz check clean

demo: $(VENV)/installed
	$(BIN)/mmearth curate build examples/demo.yaml -o data/demo
	@echo
	@echo '$$ mmearth loaders query data/demo "SELECT task, split, count(*) AS samples FROM samples GROUP BY ALL ORDER BY ALL"'
	@$(BIN)/mmearth loaders query data/demo "SELECT task, split, count(*) AS samples FROM samples GROUP BY ALL ORDER BY ALL"
	@echo
	@echo "Try next:"
	@echo "  $(BIN)/mmearth curate view data/demo -o tile.png          one tile, all modalities"
	@echo "  $(BIN)/mmearth packaging verify data/demo                 every byte, every table"
	@echo "  $(BIN)/mmearth catalog audit data/demo                    what the splits are worth"
	@echo "  docs/quickstart.md                                        SQL, streaming, your own files"

test: install-all
	$(BIN)/python -m pytest -n 2

install: $(VENV)/installed

install-all: $(VENV)/installed-all

lint: install-all
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/codespell

# Twenty times as many random damages as `make test` tries.
fuzz: install-all
	MMEARTH_FUZZ=20 $(BIN)/python -m pytest -n 2 -m fuzz --timeout 0

types: install-all
	@mkdir -p .types && ln -sfn .. .types/mmearth
	cd .types && ../$(BIN)/mypy --config-file ../pyproject.toml -m mmearth.cli -m mmearth.build -m mmearth.build_command -m mmearth.doctor_command -m mmearth.export_command -m mmearth.merge_command -m mmearth.predict_command -m mmearth.verify_command $(foreach f,$(FOLDERS) tests.performance,-p mmearth.$(f))

perf: $(PERF)/installed
	$(PERF)/bin/python -m pytest -m performance -s tests/performance

check: lint types test

clean:
	rm -rf $(VENV) .types build dist *.egg-info .mypy_cache .ruff_cache .pytest_cache .hypothesis

$(VENV)/bin/python:
	$(PYTHON) -c 'import sys; sys.exit(0 if sys.version_info >= (3, 11) else "mmearth needs Python 3.11 or newer; run make PYTHON=python3.12 …")'
	$(PYTHON) -m venv $(VENV)

$(VENV)/installed: $(SOURCES) | $(VENV)/bin/python
	$(BIN)/python -m pip install --quiet --editable '.[curate]'
	@touch $@

$(VENV)/installed-all: $(SOURCES) | $(VENV)/bin/python
	$(BIN)/python -m pip install --quiet --editable '.[all,dev]'
	@touch $@ $(VENV)/installed

$(PERF)/installed: $(SOURCES) | $(VENV)/bin/python
	$(VENV)/bin/python -m venv $(PERF)
	$(PERF)/bin/python -m pip install --quiet --editable '.[perf]'
	@touch $@
