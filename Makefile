# Everything that a fresh Debian machine needs is installed by these targets.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
TOOLS := apache2-utils chromium curl docker-registry fail2ban logrotate nginx openssl pebble skopeo systemd

.PHONY: demo test check fuzz bench pyz screenshots translations tools clean

demo: $(STAMP)
	$(BIN)/regadmin demo

# One process more than there are cores: many tests wait for servers and browsers.
test: $(STAMP) tools
	$(BIN)/python -m pytest -n $$(($$(nproc) + 1)) --dist loadfile --no-loadscope-reorder $(ARGS)

check: $(STAMP)
	$(BIN)/ruff check .
	$(BIN)/python -m pytest -q tests/test_floors.py tests/test_options.py tests/test_docs.py

# What tries random input, with many times as many examples as `make test`, and other ones each time.
fuzz: $(STAMP) tools
	FUZZ=$${FUZZ:-20} $(BIN)/python -m pytest -n $$(nproc) -m hypothesis $(ARGS)

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

# One file for each kind of machine; it runs on Python 3.11 to 3.13 with nothing installed.
pyz: $(STAMP)
	rm -rf build/lib build/wheel && $(BIN)/pip wheel --quiet --no-deps --wheel-dir build/wheel .
	set -e; for machine in x86_64 aarch64; do $(BIN)/python contrib/pyz/build build/wheel/*.whl $$machine build/regadmin-$$machine.pyz; done
	cp build/regadmin-$$(uname -m).pyz build/regadmin.pyz

# What the tests run beside Python.
tools:
	@contrib/install $(TOOLS)

clean:
	rm -rf $(VENV) build *.egg-info
