# `make` lists the targets. Everything runs in .venv, which is made from the lock on first use.

PYTHON ?=
N ?= 5000
LISTINGS ?=
ARGS ?=

.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
.SUFFIXES:

bin := .venv/bin
source := $(if $(LISTINGS),--listings "$(LISTINGS)",--count $(N))
compile = $(bin)/uv pip compile --quiet --universal --generate-hashes --python-version 3.11 \
	--no-emit-index-url --no-emit-find-links --custom-compile-command "make lock"

##@ Run

.PHONY: up
up: .venv/.ready ## The whole stack on this machine, until Ctrl-C
	@$(bin)/graildient up $(source) $(ARGS)

.PHONY: demo
demo: .venv/.ready ## The same, and done once a price was served
	@$(bin)/graildient up --demo $(source) $(ARGS)

##@ Check

.PHONY: test
test: .venv/.ready ## All tests
	$(bin)/pytest $(ARGS)

.PHONY: chart-test
chart-test: .venv/.ready ## The Helm chart alone: lint, templates, schemas, alert rules
	$(bin)/pytest tests/chart $(ARGS)

.PHONY: lint
lint: .venv/.ready ## Style, types, and which room may touch which
	$(bin)/ruff check
	$(bin)/ruff format --check
	$(bin)/mypy
	$(bin)/lint-imports

.PHONY: format
format: .venv/.ready ## Put imports and layout right
	$(bin)/ruff check --fix
	$(bin)/ruff format

bench-%: .venv/.ready ## A benchmark by name (bench-demo): prints a table, writes benchmarks/results/NAME.json
	$(bin)/python -m benchmarks.$* $(ARGS)

##@ Set up

.venv/.ready: requirements/uv.txt requirements/dev.txt pyproject.toml
	@set -e; python=; \
	for candidate in $(or $(PYTHON),python3.11 python3); do \
		if "$$candidate" -c 'import sys; sys.exit(sys.version_info[:2] != (3, 11))' 2>/dev/null; \
		then python=$$candidate; break; fi; \
	done; \
	if [ -z "$$python" ]; then \
		echo "graildient needs Python 3.11; looked for: $(or $(PYTHON),python3.11 python3)." >&2; \
		echo "Install it, or say where it is: make PYTHON=/path/to/python3.11" >&2; exit 1; \
	fi; \
	echo "Setting up .venv (about a minute the first time) …" >&2; \
	$(bin)/python -m pip --version 2>/dev/null | grep -q 'python 3\.11' || "$$python" -m venv --clear .venv; \
	$(bin)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements/uv.txt; \
	$(bin)/uv pip sync --quiet --python $(bin)/python --require-hashes requirements/dev.txt; \
	$(bin)/uv pip install --quiet --python $(bin)/python --no-deps --no-build-isolation -e .
	@touch $@

.PHONY: tools
tools: .venv/.ready ## Programs that some tests use (Helm, an S3 server, …), built or fetched once into a cache
	@$(bin)/python tests/tools/install.py

.PHONY: lock
lock: .venv/.ready ## Resolve again what pyproject.toml asks for (ARGS=--upgrade: to the newest)
	$(compile) $(ARGS) --extra dev pyproject.toml -o requirements/dev.txt
	for room in scraper server trainer app; do \
		$(compile) --extra $$room -c requirements/dev.txt pyproject.toml -o requirements/$$room.txt || exit 1; \
	done
	grep '^uv==' requirements/uv.txt | cut -d' ' -f1 | $(compile) - -o requirements/uv.txt

.PHONY: clean
clean: ## Remove the environment and caches; what was scraped and trained (.graildient) stays
	rm -rf .venv .pytest_cache .mypy_cache .ruff_cache .import_linter_cache .hypothesis *.egg-info catboost_info
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

.PHONY: help
help: ## This list
	@awk 'BEGIN {FS = ":.*## "} \
		/^##@ / {printf "\n%s\n", substr($$0, 5)} \
		/^[a-z%-]+:.*## / {sub("%", "NAME", $$1); printf "  make %-12s %s\n", $$1, $$2}' $(MAKEFILE_LIST)
	@echo
	@echo '  LISTINGS=FILE  sold listings for up and demo (csv, csv.gz, jsonl, parquet); default: N synthetic ones'
	@echo '  N=5000         how many'
	@echo '  ARGS=...       more arguments for the command, such as ARGS="--set trials=16"'
	@echo '  PYTHON=...     the Python 3.11 to set up with'
