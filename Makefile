# make demo    real photographs through several codecs and a channel that flips bits; report in out/quick
# make test    lint, types and all tests
# make TORCH=torch==VERSION ...   another PyTorch, such as a GPU build that pip can find

PYTHON ?= python3
VENV ?= .venv
TORCH ?= torch==2.13.0
BIN := $(VENV)/bin

.PHONY: demo test install clean

demo: install
	$(BIN)/flipproof study run quick

test: install
	-scripts/browser
	PYTHON=$(BIN)/python scripts/check

install: $(VENV)/.installed

$(VENV)/.installed: pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	echo "$(TORCH)" | cat constraints.txt - > $(VENV)/constraints.txt
	$(BIN)/python -m pip install --quiet --constraint $(VENV)/constraints.txt --editable '.[dev]'
	touch $@

clean:
	rm -rf $(VENV) out .mypy_cache .ruff_cache .pytest_cache
