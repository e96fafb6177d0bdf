# Everything a fresh machine needs is Python 3.11 or later, make and git.
PYTHON ?= python3
SUDO := $(shell test "$$(id -u)" = 0 || command -v sudo)
BIN := .venv/bin
# Not in the lock: its CPU build has another version and place than the one of the package index.
# TORCH='torch==2.13.* --index-url https://download.pytorch.org/whl/cpu' names the place where pip does not know it.
TORCH ?= torch==2.13.*
STAMP := .venv/.ready

.PHONY: setup browser demo test lint types bench lock clean

setup: $(STAMP)

$(STAMP): requirements.lock pyproject.toml
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "fewbits needs Python 3.11 or later: make PYTHON=python3.11")'
	test -x $(BIN)/python || $(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements.lock
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps -e .
	$(BIN)/python -m pip install --quiet --disable-pip-version-check $(TORCH)
	touch $@

# Debian's Chromium, which opens the report in its tests; any other with its chromedriver on the PATH will do.
# Without one these tests are skipped, but never where CI is set.
browser:
	command -v chromedriver >/dev/null || { $(SUDO) apt-get update -qq && $(SUDO) apt-get install -y -qq chromium chromium-driver; }

demo: setup
	$(BIN)/fewbits demo -o fewbits-demo

test: setup
	$(BIN)/python -m pytest

lint: setup
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: setup
	$(BIN)/mypy

bench: setup
	$(BIN)/python -m benchmarks.choose_assets

# The lock is for every platform and Python from 3.11; hashes cover all files of a release.
lock:
	$(PYTHON) -m pip install --quiet uv
	$(PYTHON) -m uv pip compile pyproject.toml --extra test --universal --python-version 3.11 \
		--generate-hashes --no-emit-index-url --no-emit-find-links --quiet -o requirements.lock

clean:
	rm -rf .venv fewbits-demo build dist
