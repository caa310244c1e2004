# Everything a newcomer needs: `make demo` and `make test`. `make help` lists the rest.
PYTHON ?= python3
VENV   ?= .venv
BIN    := $(VENV)/bin
# Which torch build: `auto`, `cpu` (small, from PyTorch's own index), `cuda` (of PyPI, with 3 GB of
# CUDA libraries on Linux).
TORCH  ?= auto
JOBS   ?= 2
# mkdocs-material announces its successor at every build
export NO_MKDOCS_2_WARNING := 1

.PHONY: help demo demo-train test programs coverage check docs format bench gpu results lock clean
.DEFAULT_GOAL := help

help: ## list the targets
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 12

UV := VIRTUAL_ENV=$(VENV) $(BIN)/uv pip install --quiet --no-deps

# The hashes of torch.lock are those of PyPI's files; the files of PyTorch's own index have others.
TORCH_cuda := $(UV) --require-hashes -r torch.lock
TORCH_cpu  := $(UV) --no-verify-hashes --torch-backend cpu --constraints torch.lock torch torchvision
TORCH_auto := if [ "$$(uname -s)" != Linux ] || nvidia-smi > /dev/null 2>&1; then $(TORCH_cuda); \
	else $(TORCH_cpu) || { echo "The CPU build of torch cannot be installed (see above)." \
	"Installing the build of PyPI, with its CUDA libraries (3 GB)." >&2; $(TORCH_cuda); }; fi

$(if $(TORCH_$(TORCH)),,$(error TORCH=$(TORCH) is unknown; give auto, cpu or cuda))

# What grading with the starter needs, without torch.
$(VENV)/light: inference.lock pyproject.toml
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check "uv>=0.8"
	$(UV) --require-hashes -r inference.lock
	$(UV) --editable .
	@touch $@

# Everything: training, tests and documentation.
$(VENV)/ready: $(VENV)/light requirements.lock torch.lock
	$(UV) --require-hashes -r requirements.lock
	@$(TORCH_$(TORCH))
	@touch $@

demo: $(VENV)/light ## grade a synthetic study with the starter, into ./demo
	$(BIN)/lumbargrade demo --out demo

demo-train: $(VENV)/ready ## train the whole system at small scale, into ./demo-train
	$(BIN)/lumbargrade demo-train --out demo-train

test: $(VENV)/ready ## run the tests
	$(BIN)/python -m pytest -n $(JOBS) --dist loadfile tests

# A browser for the report, a PACS for `serve`, two validators of DICOM results.
PROGRAMS := chromium dcmtk dicom3tools orthanc orthanc-dicomweb

programs: ## as root, install the Debian packages without which some tests are skipped
	dpkg --status $(PROGRAMS) > /dev/null 2>&1 || { apt-get update --quiet && \
	DEBIAN_FRONTEND=noninteractive apt-get install --quiet --yes --no-install-recommends $(PROGRAMS); }

coverage: $(VENV)/ready ## run the tests and report lines that no test runs
	$(BIN)/python -m pytest -n $(JOBS) --dist loadfile --cov --cov-report term tests

check: $(VENV)/ready ## format, lint, types, import rules, dependencies, documentation, workflow files
	$(BIN)/ruff format --no-cache --check .
	$(BIN)/ruff check --no-cache .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/deptry src
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

bench: $(VENV)/ready ## run every benchmark five times in turns and rewrite docs/benchmarks.md
	$(BIN)/python -m benchmarks.passes

gpu: $(VENV)/ready ## measure the published recipes on a GPU, rewrite docs/gpu.md, run the GPU tests
	code=0; $(BIN)/python -m benchmarks.gpu || code=$$?; \
	$(BIN)/python -m pytest -m gpu tests/training || code=$$?; exit $$code

results: $(VENV)/ready ## train and compare all systems on phantoms and rewrite docs/results.md
	$(BIN)/python -m benchmarks.results

COMPILE := $(BIN)/uv pip compile --quiet pyproject.toml --generate-hashes --no-header --no-annotate \
	--universal --python-version 3.11
ALL     := --extra train --extra openvino --extra ray --extra cloud --extra serve --extra bids --group dev
OF_TORCH := ^(torch|torchvision|triton|cuda-[a-z0-9-]+|nvidia-[a-z0-9-]+)==

# `make lock UPGRADE=--upgrade` takes the newest of everything.
lock: $(VENV)/ready ## renew the four lock files from pyproject.toml
	cat requirements.lock torch.lock > $(VENV)/all.lock
	$(COMPILE) $(ALL) $(UPGRADE) --output-file $(VENV)/all.lock
	$(COMPILE) --constraints $(VENV)/all.lock --output-file inference.lock
	$(COMPILE) --extra serve --constraints $(VENV)/all.lock --output-file serve.lock
	$(COMPILE) $(ALL) --constraints $(VENV)/all.lock --output-file requirements.lock \
		$$(grep -E '$(OF_TORCH)' $(VENV)/all.lock | sed 's/==.*//; s/^/--no-emit-package=/')
	$(COMPILE) $(ALL) --constraints $(VENV)/all.lock --output-file torch.lock \
		$$(grep -E '^[a-z]' $(VENV)/all.lock | grep -vE '$(OF_TORCH)' | sed 's/==.*//; s/^/--no-emit-package=/')

clean: ## remove the environment and the demos
	rm -rf $(VENV) demo demo-train
