# What a newcomer types. Everything happens in .venv; PYTHON may name another interpreter.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
DOCS ?= docs
Q ?= How is data stored in Milvus?
DEMO_ARGS ?=

.PHONY: demo test test-matrix lint format notebooks bench-quality clean

demo: $(VENV)/.demo
	@$(BIN)/qwen3-rag demo "$(DOCS)" --question "$(Q)" --uri .demo/milvus.db $(DEMO_ARGS)

test: $(VENV)/.dev
	$(BIN)/python -m pytest

# The two sets of dependencies that exist: langchain-milvus 0.4 with pymilvus 3, and 0.3 with pymilvus 2 beside LlamaIndex.
test-matrix: test .venv-pymilvus2/.dev
	.venv-pymilvus2/bin/python -m pytest

lint: $(VENV)/.dev
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy

format: $(VENV)/.dev
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

# Run the notebooks and keep their outputs, without the widgets of progress bars.
notebooks: $(VENV)/.dev
	HF_HUB_DISABLE_PROGRESS_BARS=1 $(BIN)/jupyter execute --inplace notebooks/*.ipynb
	$(BIN)/ruff format --quiet notebooks

# FAQ: site/en/faq of the milvus-docs repository. CISI: the folder of CISI.ALL, CISI.QRY and CISI.REL.
bench-quality: $(VENV)/.bench
	$(BIN)/python benchmarks/quality.py --faq "$(FAQ)" --cisi "$(CISI)"

$(BIN)/python:
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade "pip>=25.1"

# torch first and pinned: a plain `torch` may bring gigabytes of CUDA libraries.
$(VENV)/.demo: pyproject.toml constraints.txt | $(BIN)/python
	$(BIN)/python -m pip install --quiet -c constraints.txt torch
	$(BIN)/python -m pip install --quiet -c constraints.txt -e ".[demo]"
	@mkdir -p .demo
	@touch $@

$(VENV)/.dev: $(VENV)/.demo
	$(BIN)/python -m pip install --quiet -c constraints.txt --group dev
	@touch $@

$(VENV)/.bench: $(VENV)/.dev
	$(BIN)/python -m pip install --quiet -c constraints.txt --group bench
	@touch $@

.venv-pymilvus2/.dev: pyproject.toml constraints-pymilvus2.txt
	$(PYTHON) -m venv .venv-pymilvus2
	.venv-pymilvus2/bin/python -m pip install --quiet --upgrade "pip>=25.1"
	.venv-pymilvus2/bin/python -m pip install --quiet -c constraints-pymilvus2.txt torch
	.venv-pymilvus2/bin/python -m pip install --quiet -c constraints-pymilvus2.txt -e ".[demo]" llama-index-vector-stores-milvus --group test
	@touch $@

clean:
	rm -rf $(VENV) .venv-pymilvus2 .demo .pytest_cache .mypy_cache .ruff_cache
