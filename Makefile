# calmstorm. `make demo` and `make test` set everything up themselves, on a machine with Python 3.11+ and make.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
VLLM_VENV := .venv-vllm
VLLM_STAMP := $(VLLM_VENV)/.installed
VLLM_PINS := tests/engines/vllm.txt
VERL_VENV := .venv-verl
VERL_STAMP := $(VERL_VENV)/.installed
export HF_HUB_DISABLE_TELEMETRY := 1
export TOKENIZERS_PARALLELISM := false
# more than one thread is slower for a model this small
export OMP_NUM_THREADS ?= 1

.PHONY: setup demo test vllm verl test-engines coverage mutation wheel lint format docs bench bench-interpreter bench-curation bench-nodes bench-steps bench-carft bench-training bench-memory clean

setup: $(STAMP)

# torch comes first and alone, at its pin: any other torch that a package would pull is gigabytes larger.
$(STAMP): pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
		{ echo "Python 3.11 or newer is needed; this is $$($(PYTHON) --version). Set PYTHON=/path/to/python3.11" >&2; exit 2; }
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade pip
	$(BIN)/python -m pip install --quiet torch==2.13.0
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[dev]'
	touch $@

demo: setup
	$(BIN)/calm demo --run runs/demo
	@echo "Report: runs/demo/report.html"

test: setup
	$(BIN)/python -m pytest -m "not engines"

vllm: $(VLLM_STAMP)

# torchvision, torchaudio and torchcodec come along, do not fit this torch and are needed by nothing here.
$(VLLM_STAMP): $(VLLM_PINS)
	test -x $(VLLM_VENV)/bin/python || $(PYTHON) -m venv $(VLLM_VENV)
	$(VLLM_VENV)/bin/python -m pip install --quiet $$(grep '^torch==' $(VLLM_PINS))
	$(VLLM_VENV)/bin/python -m pip install --quiet --requirement $(VLLM_PINS)
	$(VLLM_VENV)/bin/python -m pip uninstall --quiet --yes torchvision torchaudio torchcodec
	touch $@

verl: $(VERL_STAMP)

# verl and TRL exclude each other, and verl needs older packages than constraints.txt has: an environment of its own, whose
# pins are those of the extra. torch first and alone, as everywhere.
$(VERL_STAMP): pyproject.toml
	test -x $(VERL_VENV)/bin/python || $(PYTHON) -m venv $(VERL_VENV)
	$(VERL_VENV)/bin/python -m pip install --quiet --upgrade pip
	$(VERL_VENV)/bin/python -m pip install --quiet torch==2.13.0
	$(VERL_VENV)/bin/python -m pip install --quiet --editable '.[verl]' 'pytest>=9,<10' 'pytest-timeout>=2.4,<3'
	touch $@

# dashscope: for the Qwen vocabulary that lies in it; what it depends on is not needed. CALM_VLLM_PYTHON names the
# Python of a vLLM that is installed elsewhere, CALM_VERL_PYTHON that of a verl. What cannot be installed here is skipped,
# and pytest says so.
test-engines: setup
	@test -n "$$CALM_VLLM_PYTHON" || $(MAKE) vllm || echo "vLLM cannot be installed here: see the log above" >&2
	@test -n "$$CALM_VERL_PYTHON" || $(MAKE) verl || echo "verl cannot be installed here: see the log above" >&2
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[dev,cluster]'
	@DS_BUILD_OPS=0 $(BIN)/python -m pip install --quiet --no-build-isolation --constraint constraints.txt \
		deepspeed==0.19.8 || echo "DeepSpeed cannot be installed here" >&2
	@$(BIN)/python -m pip install --quiet --no-deps dashscope==2.0.2 || echo "there is no Qwen vocabulary" >&2
	$(BIN)/python -m pytest -m engines -rs

coverage: setup
	$(BIN)/python -m pytest -m "not engines" --cov --cov-report=term

# MUTATE=calmstorm.grading.* takes a part; .venv/bin/mutmut results and show NAME say what survived
MUTATE ?= *
mutation: setup
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[mutation]'
	$(BIN)/mutmut run --max-children 1 '$(MUTATE)'

wheel:
	PYTHON=$(PYTHON) .ci/wheel

lint: setup
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/python docs/generate.py --check

format: setup
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

docs: setup
	$(BIN)/python docs/generate.py

bench: setup
	$(BIN)/python benchmarks/decoding.py

bench-interpreter: setup
	mkdir -p runs
	$(BIN)/python benchmarks/interpreter.py --json runs/bench-interpreter.json --plot runs/bench-interpreter.html

bench-curation: setup
	mkdir -p runs
	$(BIN)/python benchmarks/curation.py --json runs/bench-curation.json

bench-nodes: setup
	mkdir -p runs
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[dev,cluster]'
	$(BIN)/python benchmarks/curation_nodes.py --json runs/bench-nodes.json

bench-steps: setup
	OMP_NUM_THREADS=1 $(BIN)/python benchmarks/step_review.py

# goes on where it was; ARGS=--report makes table and page of what there is
bench-carft: setup
	$(BIN)/python benchmarks/carft.py --out runs/bench-carft $(ARGS)

bench-training: setup
	mkdir -p runs
	OMP_NUM_THREADS=1 $(BIN)/python benchmarks/training.py --json runs/bench-training.json

bench-memory: setup
	mkdir -p runs
	$(BIN)/python benchmarks/training_memory.py --json runs/bench-memory.json

clean:
	rm -rf build dist *.egg-info src/*.egg-info .mypy_cache mutants .coverage .ruff_cache .pytest_cache .import_linter_cache
