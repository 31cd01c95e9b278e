# The commands of this repository, for people and for CI. Each target sets up what it needs first.
.DEFAULT_GOAL := help
.PHONY: help setup demo test test-oldest lint style bench lock sbom audit soak soak-mongod soak-repeated fuzz docs notebooks clean
UV := $(shell command -v uv || echo .venv/bin/uv)

help: ## Show this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "make %-12s%s\n", $$1, $$2 }' Makefile

setup: ## Install requirements.lock into a private .venv (PYTHON=… chooses the interpreter)
	@.ci/setup $(PYTHON)

demo: setup ## Run the whole loop on a generated dataset, then open the App (ARGS=… for `rsam demo`)
	.venv/bin/rsam demo $(ARGS)

# Waiting threads sleep instead of spinning, because several test processes share the cores.
# Compiled modules are kept, also where the environment forbids it: else each process that a test starts spends seconds
# on compiling torch and FiftyOne.
# One process more than cores: many tests wait for a server, a browser or a process that they kill.
# The files go in the order of tests/conftest.py, the longest first, with mypy beside them.
test: export OMP_WAIT_POLICY = PASSIVE
test: export PYTHONDONTWRITEBYTECODE =
test: PROCESSES = $(shell expr $$(getconf _NPROCESSORS_ONLN) + 1)
test: style ## Run lint, types and all tests; RSAM_DATA names the photographs (ARGS=… for pytest)
	@.venv/bin/mypy & types=$$!; \
	.venv/bin/pytest --numprocesses $(PROCESSES) --maxprocesses 4 --dist loadfile --no-loadscope-reorder $(ARGS); \
	tests=$$?; wait $$types && exit $$tests

# In a .venv of its own: the lowest versions that pyproject.toml promises, without the App's database.
OLDEST = tests/geometry tests/config tests/model/attention tests/cli/test_application.py
test-oldest: ## Run some tests with the lowest versions that pyproject.toml allows (OLDEST=… for which)
	$(UV) venv --quiet --allow-existing --python 3.11 .venv-oldest
	$(UV) pip compile --quiet --resolution lowest-direct --python-version 3.11 --extra all --extra dev \
		--output-file .venv-oldest/requirements.txt pyproject.toml
	$(UV) pip install --quiet --python .venv-oldest/bin/python --requirement .venv-oldest/requirements.txt
	$(UV) pip install --quiet --python .venv-oldest/bin/python --no-deps --editable .
	.venv-oldest/bin/python -m pytest $(OLDEST) $(ARGS)

lint: style ## Format, lint, types and imports between rooms, changing nothing
	.venv/bin/mypy

style: setup # lint without the types
	.venv/bin/ruff format --check .
	.venv/bin/ruff check .
	.venv/bin/lint-imports

soak: setup ## Kill commands at random moments and compare the results (KILLS=100)
	.venv/bin/python tests/faults/soak.py --kills $(or $(KILLS),100) $(ARGS)

soak-mongod: setup ## Kill the database server while decisions are written (KILLS=50)
	.venv/bin/python tests/faults/database_kills.py --kills $(or $(KILLS),50) $(ARGS)

soak-repeated: setup ## Give many commands in one process; nothing may grow (TIMES=200)
	PYTHONPATH=tests .venv/bin/python -m faults.repeated --times $(or $(TIMES),200) $(ARGS)

fuzz: setup ## Give mutated files to every parser (MUTATIONS=2000)
	PYTHONPATH=tests .venv/bin/python -m faults.fuzz --mutations $(or $(MUTATIONS),2000) $(ARGS)

bench: setup ## Run every benchmark in turn
	@for script in benchmarks/*.py; do \
		echo "== $$script"; .venv/bin/python "$$script" $(ARGS) || exit 1; \
	done

lock: ## Resolve pyproject.toml into requirements.lock (ARGS=--upgrade for the newest versions)
	$(UV) pip compile --universal --python-version 3.11 --all-extras --generate-hashes --no-header --no-annotate \
		--no-emit-index-url --quiet $(ARGS) --output-file requirements.lock pyproject.toml

sbom: setup ## Write sbom.json (CycloneDX): every installed package with version and licence
	$(UV) tool run --from cyclonedx-bom==7.5.0 cyclonedx-py environment .venv/bin/python --pyproject pyproject.toml \
		--output-reproducible --output-file sbom.json

audit: setup ## Ask the advisories of PyPI about every version in requirements.lock
	$(UV) tool run pip-audit==2.10.1 --requirement requirements.lock --require-hashes --disable-pip --strict $(ARGS)

docs: export NO_MKDOCS_2_WARNING = 1
docs: setup ## Build the documentation site into site/
	.venv/bin/python -m docs_site build/docs
	$(UV) tool run --from mkdocs==1.6.1 --with mkdocs-material==9.8.2 --with mkdocstrings-python==2.0.11 \
		--with ruff==0.17.6 mkdocs build --strict

notebooks: setup ## Run the notebooks and store their outputs
	.venv/bin/python -m docs_site.notebooks

clean: ## Remove .venv and the caches of tools; keep runs/ and data/
	rm -rf .venv .venv-oldest build dist site *.egg-info .mypy_cache .ruff_cache .pytest_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
