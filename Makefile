# Everything a newcomer needs: `make demo` and `make test`. `make help` lists the rest.
PYTHON ?= python3
VENV   ?= .venv
OUT    ?= demo
BIN    := $(VENV)/bin
# `make TORCH=cpu ...` installs the smaller torch build without GPU libraries.
TORCH  ?= default
JOBS   ?= 2
# mkdocs-material announces its successor at every build
export NO_MKDOCS_2_WARNING := 1

.PHONY: help demo test coverage check docs format bench gpu results lock clean
.DEFAULT_GOAL := help

help: ## list the targets
	@grep -E '^[a-z]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 12

$(VENV)/ready: requirements.lock pyproject.toml
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check "uv>=0.8"
ifeq ($(TORCH),cpu)
	$(BIN)/python tools/without_torch.py < requirements.lock > $(VENV)/requirements.lock
	VIRTUAL_ENV=$(VENV) $(BIN)/uv pip install --quiet --no-deps --require-hashes -r $(VENV)/requirements.lock
	VIRTUAL_ENV=$(VENV) $(BIN)/uv pip install --quiet --no-deps --torch-backend cpu \
		$$($(BIN)/python tools/without_torch.py --torch < requirements.lock)
else
	VIRTUAL_ENV=$(VENV) $(BIN)/uv pip install --quiet --require-hashes -r requirements.lock
endif
	VIRTUAL_ENV=$(VENV) $(BIN)/uv pip install --quiet --no-deps --editable .
	@touch $@

demo: $(VENV)/ready ## the whole system at small scale on synthetic studies, into ./demo
	$(BIN)/lumbargrade demo --out $(OUT)

test: $(VENV)/ready ## run the tests
	$(BIN)/python -m pytest -n $(JOBS) --dist loadfile tests

coverage: $(VENV)/ready ## run the tests and report lines that no test runs
	$(BIN)/python -m pytest -n $(JOBS) --dist loadfile --cov --cov-report term tests

check: $(VENV)/ready ## format, lint, types, import rules, documentation, workflow files
	$(BIN)/ruff format --no-cache --check .
	$(BIN)/ruff check --no-cache .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/check-jsonschema --builtin-schema vendor.github-workflows .github/workflows/*.yml
	$(BIN)/check-jsonschema --builtin-schema vendor.github-issue-forms .github/ISSUE_TEMPLATE/[!c]*.yml
	$(BIN)/check-jsonschema --builtin-schema vendor.dependabot .github/dependabot.yml
	$(BIN)/check-jsonschema --builtin-schema vendor.citation-file-format --default-filetype yaml CITATION.cff
	$(BIN)/mkdocs build --strict

docs: $(VENV)/ready ## build the documentation site into build/site
	$(BIN)/mkdocs build --strict

format: $(VENV)/ready ## format and fix what can be fixed
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

bench: $(VENV)/ready ## run every benchmark and rewrite docs/benchmarks.md
	$(BIN)/python -m benchmarks.run_all

gpu: $(VENV)/ready ## measure the published recipes on a GPU, rewrite docs/gpu.md, run the GPU tests
	code=0; $(BIN)/python -m benchmarks.gpu || code=$$?; \
	$(BIN)/python -m pytest -m gpu tests/training || code=$$?; exit $$code

results: $(VENV)/ready ## train and compare all systems on phantoms and rewrite docs/results.md
	$(BIN)/python -m benchmarks.results

lock: $(VENV)/ready ## renew requirements.lock from pyproject.toml
	$(BIN)/uv pip compile --quiet --group dev pyproject.toml --generate-hashes --no-header \
		--no-annotate --universal --python-version 3.11 --output-file requirements.lock

clean: ## remove the environment and the demo
	rm -rf $(VENV) $(OUT)
