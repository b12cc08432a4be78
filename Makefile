# make train   sets everything up, trains CLIP-ViL on easy-VQA and tests it; an interrupted training
#              goes on, a finished one is tested again
# make tune    tunes a backbone to new question types by every method, and prints a table
# make few     trains on few of easy-VQA's questions, from scratch and pre-trained, and prints a table
# make test    sets everything up, lints, runs the tests
# make rc7-tests   runs MMF rc7's own unit tests on the bridge (MMF_MAIN=... : docs/bridge.md)

PYTHON ?= python3
BIN := .venv/bin
STAMP := .venv/installed

# One half of the tests, those that run MMF as a whole.
RUNS := tests/bridge tests/docs tests/e2e tests/extending

.PHONY: venv train tune few test test-runs test-others rc7-tests lint clean

train: venv
	BIN=$(BIN) scripts/train_easy_vqa.sh

tune: venv
	$(BIN)/python scripts/tune_easy_vqa.py

few: venv
	$(BIN)/python scripts/pretrain_easy_vqa.py

# Side by side, a core each; each prints when it is done.
test-runs test-others: export OMP_NUM_THREADS ?= 1
test: lint
	$(MAKE) --jobs 2 --output-sync=target --keep-going test-runs test-others

test-runs:
	$(BIN)/python -m pytest $(RUNS)

test-others:
	$(BIN)/python -m pytest $(addprefix --ignore=,$(RUNS))

rc7-tests: venv
	PYTHON=$(BIN)/python scripts/rc7_unit_tests.sh

lint: venv
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

venv: $(STAMP)

# One environment, made once; brought up to date when what it was made from changes.
$(STAMP): requirements.lock setup.py pyproject.toml mmf_bridge.pth
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 10))' \
		|| { echo "Python 3.10 or newer is needed: make PYTHON=/path/to/python3"; exit 1; }
	@command -v gcc > /dev/null || { echo "gcc is needed: MMF compiles one C file"; exit 1; }
	test -x $(BIN)/python || $(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --disable-pip-version-check -r requirements.lock
	$(BIN)/python -m pip install --disable-pip-version-check --no-deps mmf==1.0.0rc7
	$(BIN)/python -m pip install --disable-pip-version-check --no-deps --editable .
	touch $@

clean:
	rm -rf .venv build dist *.egg-info .pytest_cache .ruff_cache
