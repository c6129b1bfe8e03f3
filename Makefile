# make app | test | test-more | test-all | lint | bench | label-studio | lock | install | clean
# Needs Python >= 3.11, make and git. Variables: PY, VENV, TORCH=cuda|cpu.
PY    ?= python3
VENV  ?= .venv
TORCH ?= cuda
# The CPU wheel index, as the selector on pytorch.org ("Get started", compute platform CPU) names it; needed on Linux with TORCH=cpu.
TORCH_CPU_INDEX ?=
BIN   := $(VENV)/bin
STAMP := $(VENV)/.stamp-$(TORCH)
LABEL_STUDIO := .venv-label-studio
PIP   := $(BIN)/python -m pip --disable-pip-version-check
PYTEST := $(BIN)/python -m pytest

.DEFAULT_GOAL := help
.PHONY: help install app test test-more test-all lint bench label-studio lock clean

help:
	@sed -n '1,2s/^# //p' Makefile

install: $(STAMP)

# The mark goes in before the venv and out after the last step: whatever interrupts a set-up, the next `make` starts it again.
$(STAMP): requirements.lock requirements-torch.lock pyproject.toml
	@$(PY) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "TruGrade needs Python 3.11 or newer; '$(PY)' is $$($(PY) -V 2>&1). Try: make PY=python3.12"; exit 1; }
	@case "$(TORCH)" in cuda) echo "Setting up $(VENV): about 4 GB of downloads (CUDA build of torch). For a small CPU build: make TORCH=cpu";; \
	  cpu) if [ "$$(uname -s)" = Linux ] && [ -z "$(TORCH_CPU_INDEX)" ]; then echo "TORCH=cpu on Linux needs the CPU wheel index: make $(MAKECMDGOALS) TORCH=cpu TORCH_CPU_INDEX=<the --index-url that pytorch.org's selector shows for CPU>"; exit 1; fi; \
	    echo "Setting up $(VENV): about 1 GB of downloads (CPU build of torch).";; \
	  *) echo "TORCH=$(TORCH) is unknown: use cuda or cpu"; exit 1;; esac
	@if [ -e $(VENV)/.incomplete ]; then echo "The last set-up was interrupted: starting again"; rm -rf $(VENV); fi
	@mkdir -p $(VENV) && touch $(VENV)/.incomplete && rm -f $(VENV)/.stamp-*
	$(PY) -m venv $(VENV)
ifeq ($(TORCH),cpu)
	$(PIP) install --quiet --no-deps $(if $(TORCH_CPU_INDEX),--index-url $(TORCH_CPU_INDEX)) $$(sed -n 's/^\(torch\(vision\)\{0,1\}==[^ ;]*\).*/\1/p' requirements-torch.lock)
else
	$(PIP) install --quiet --no-deps --require-hashes -r requirements-torch.lock
endif
	$(PIP) install --quiet --no-deps --require-hashes -r requirements.lock
	$(PIP) install --quiet --no-deps --no-build-isolation -e .
	$(PIP) check
	@rm -f $(VENV)/.incomplete && touch $(STAMP)

app: $(STAMP)
	$(BIN)/streamlit run app/Home.py

test: $(STAMP)
	$(PYTEST) -m "not slow and not browser and not labelstudio"

test-more: $(STAMP) label-studio
	$(PYTEST) -m "slow or browser"
	$(PYTEST) -m labelstudio -n 0

test-all: test test-more

lint: $(STAMP)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy trugrade_core
	$(BIN)/lint-imports

bench: $(STAMP)
	$(BIN)/python -m benchmarks

# Label Studio's server in an environment of its own: it pins other packages than the lab. About 1 GB.
label-studio: $(LABEL_STUDIO)/.stamp

$(LABEL_STUDIO)/.stamp: $(STAMP) requirements-label-studio.lock
	rm -rf $(LABEL_STUDIO)
	$(PY) -m venv $(LABEL_STUDIO)
	$(BIN)/python -m uv pip install --quiet --python $(LABEL_STUDIO)/bin/python --no-deps --require-hashes -r requirements-label-studio.lock
	@touch $@

lock: $(STAMP)
	$(BIN)/python .ci/lock.py

clean:
	rm -rf $(VENV) $(LABEL_STUDIO) .mypy_cache .ruff_cache .pytest_cache .hypothesis
