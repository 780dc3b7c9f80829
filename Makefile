# Everything that a fresh Debian machine needs is installed by these targets.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
TOOLS := chromium docker-registry skopeo

.PHONY: demo test check bench screenshots translations tools clean

demo: $(STAMP)
	$(BIN)/regadmin demo

test: $(STAMP) tools
	$(BIN)/python -m pytest -n auto --dist loadfile $(ARGS)

check: $(STAMP)
	$(BIN)/ruff check .
	$(BIN)/python -m pytest -q tests/test_floors.py tests/test_options.py tests/test_docs.py

$(STAMP): setup.cfg pyproject.toml
	$(PYTHON) -m venv $(VENV) || { contrib/install python3-venv && $(PYTHON) -m venv $(VENV); }
	$(BIN)/pip install --quiet --disable-pip-version-check --editable '.[test]'
	@touch $@

bench: $(STAMP)
	@contrib/install wrk
	$(BIN)/python -m tests.bench $(ARGS)

# The pictures in docs/screenshots, from the demo.
screenshots: $(STAMP) tools
	$(BIN)/python -m tests.screenshots

# Bring the catalogues of all languages up to date with the texts in the code; then translate what is new and run it again.
translations: $(STAMP)
	$(BIN)/python -m tests.catalogues

# What the tests run beside Python.
tools:
	@contrib/install $(TOOLS)

clean:
	rm -rf $(VENV) build *.egg-info
