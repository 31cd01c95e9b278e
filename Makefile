# Everything that a person or CI does in this repository. Each target makes what it needs first.
.DEFAULT_GOAL := help
.PHONY: help setup demo test lint bench lock clean
UV := $(shell command -v uv || echo .venv/bin/uv)

help: ## Show this list
	@awk -F ':.*## ' '/^[a-z]+:.*## / { printf "make %-8s%s\n", $$1, $$2 }' Makefile

setup: ## Make the private .venv with everything in it, as requirements.lock says (PYTHON=… to choose)
	@.ci/setup $(PYTHON)

demo: setup ## The whole loop on a generated data set, then the FiftyOne App (ARGS=… for `rsam demo`)
	.venv/bin/rsam demo $(ARGS)

# Threads that wait do not spin: several test processes share the cores, and would wait for each other's spinning.
# There is one process more than cores, since many tests wait for a server, a browser or a process that they kill.
test: export OMP_WAIT_POLICY = PASSIVE
test: PROCESSES = $(shell expr $$(getconf _NPROCESSORS_ONLN) + 1)
test: lint ## Lint, types and all tests; photographs are taken from RSAM_DATA (ARGS=… for pytest)
	.venv/bin/pytest --numprocesses $(PROCESSES) --maxprocesses 4 --dist loadfile $(ARGS)

lint: setup ## Format, lint and types, changing nothing
	.venv/bin/ruff format --check .
	.venv/bin/ruff check .
	.venv/bin/mypy

bench: setup ## Run every benchmark, one after the other
	@for script in benchmarks/*.py; do \
		[ -e "$$script" ] || { echo "there is no benchmark in benchmarks/ yet"; break; }; \
		echo "== $$script"; .venv/bin/python "$$script" $(ARGS) || exit 1; \
	done

lock: ## Resolve pyproject.toml anew into requirements.lock (ARGS=--upgrade for the newest versions)
	$(UV) pip compile --universal --python-version 3.11 --all-extras --generate-hashes --no-header --no-annotate \
		--no-emit-index-url --quiet $(ARGS) --output-file requirements.lock pyproject.toml

clean: ## Remove .venv and everything that tools left behind; runs/ and data/ stay
	rm -rf .venv build dist *.egg-info .mypy_cache .ruff_cache .pytest_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
