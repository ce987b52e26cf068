# make demo, make demo-davis: install and run a small example; make test; make lint. Needs Python 3.11-3.13, git and make.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin

.PHONY: demo demo-davis test lint format clean

demo: $(VENV)/.installed
	$(BIN)/lightning fit --config configs/demo.yaml

demo-davis: $(VENV)/.installed
	$(BIN)/lightning fit --config configs/demo_davis.yaml
	$(BIN)/lightning validate --config configs/demo_davis.yaml --ckpt_path runs/demo_davis/checkpoints/last.ckpt

test: $(VENV)/.installed-dev
	$(BIN)/python -m pytest --numprocesses 2 --dist loadfile

lint: $(VENV)/.installed-dev .typing/staticdropout
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	MYPYPATH=.typing $(BIN)/mypy -p staticdropout --exclude '/(tests|benchmarks|examples)/'
	MYPYPATH=.typing:tests/support:benchmarks:examples $(BIN)/mypy --explicit-package-bases tests benchmarks examples

format: $(VENV)/.installed-dev
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

$(VENV)/.installed: pyproject.toml
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade pip "setuptools>=77"
	$(BIN)/python -m pip install --editable .
	touch $@

# setuptools in the environment itself: the wheel test builds without a network.
$(VENV)/.installed-dev: $(VENV)/.installed
	$(BIN)/python -m pip install --editable ".[dev]"
	touch $@

# The repository's root is the package, whatever the checkout is called: mypy finds it through this link.
.typing/staticdropout:
	mkdir -p .typing
	ln -sfn .. $@

clean:
	rm -rf $(VENV) .typing build dist *.egg-info .mypy_cache .ruff_cache .pytest_cache
