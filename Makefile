# Targets install what they need; PYTHON chooses the interpreter, VENV the environment's folder.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check --quiet

.PHONY: serve test test-quick test-systems lint format install vendor clean

serve: $(VENV)/.serve ; $(BIN)/foldnorm-serve
test: $(VENV)/.dev ; $(BIN)/python -m pytest
test-quick: $(VENV)/.dev ; $(BIN)/python -m pytest tests/unit tests/property
test-systems: $(VENV)/.dev ; $(BIN)/python -m pytest -m systems
lint: $(VENV)/.dev ; $(BIN)/ruff check . && $(BIN)/ruff format --check . && $(BIN)/mypy && $(BIN)/lint-imports
format: $(VENV)/.dev ; $(BIN)/ruff check --fix . && $(BIN)/ruff format .
install: $(VENV)/.dev
vendor: $(VENV)/.dev ; $(BIN)/python -m service.api.page.vendoring
clean: ; rm -rf $(VENV) build dist *.egg-info .mypy_cache .pytest_cache .ruff_cache .import_linter_cache

$(BIN)/python: ; $(PYTHON) -m venv $(VENV)
$(VENV)/.serve: pyproject.toml constraints.txt | $(BIN)/python ; $(PIP) install -c constraints.txt -e . && touch $@
$(VENV)/.dev: pyproject.toml constraints.txt | $(BIN)/python ; $(PIP) install -c constraints.txt -e '.[dev]' && touch $@ $(VENV)/.serve
