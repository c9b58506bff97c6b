# Every target does its own set-up. All it needs is Python 3.11 or newer, make and git.

PYTHON ?= $(shell command -v python3.11 || command -v python3)
BIN := .venv/bin
export TF_CPP_MIN_LOG_LEVEL ?= 2

.PHONY: help demo test proof faults soak lint wheel docs check oldest paper paper-runs paper-smoke notebooks bench bench-time clean

help:
	@echo "make demo    a rare class by uniform sampling, by ours and by both controls (4 to 6 minutes on two cores)"
	@echo "make test    all tests and doctests, warnings are errors"
	@echo "make proof   500 random losses of single samples are taken apart, 500 that lean on the batch refused"
	@echo "make faults  1,000 kills at random moments, 100,000 damaged files, full disks (half an hour)"
	@echo "make soak    a million steps: nothing grows (half an hour)"
	@echo "make docs    the documentation as a site in build/docs, warnings are errors"
	@echo "make check   lint, docs, tests, and the package built as a wheel and imported from it"
	@echo "make oldest  all tests with the oldest versions of TensorFlow and Keras that are allowed"
	@echo "make paper   the paper's table and figures from the results files, docs/results.md"
	@echo "make paper-runs   the runs behind them, as far as they are missing: some nights; goes on where it was stopped"
	@echo "make paper-smoke  every experiment, method and figure of the paper for two steps"
	@echo "make notebooks  run the notebooks and keep their outputs"
	@echo "make bench   the cost of a step as a ratio to plain model.fit, of the start, and of many samples"
	@echo "make bench-time   seconds and samples to the result of uniform sampling, with controls: some hours; goes on where it was stopped"

.venv/ready: setup.cfg setup.py pyproject.toml
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --editable '.[dev]'
	touch $@

demo: .venv/ready
	$(BIN)/python -m examples.rare_class

test: .venv/ready
	$(BIN)/python -m pytest -n auto --maxprocesses 4 --dist worksteal

# five hundred random losses of single samples, and as many that lean on the batch
proof: .venv/ready
	RANDOM_LOSSES=500 $(BIN)/python -m pytest tests/model/test_proof.py -n auto --maxprocesses 4

faults: .venv/ready
	$(BIN)/python -m tests.faults.kills --kills 1000
	MUTATIONS=100000 $(BIN)/python -m pytest tests/data/test_state_file.py tests/faults -q

soak: .venv/ready
	$(BIN)/python -m tests.faults.soak --steps 1000000

lint: .venv/ready
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

# imported from an environment of its own, which holds the wheel and none of the checkout
wheel: .venv/ready
	rm -rf build/wheel
	$(BIN)/python -m build --wheel --outdir build/wheel . > build.log || { cat build.log; exit 1; }
	rm build.log
	$(PYTHON) -m venv --without-pip build/wheel/venv
	$(BIN)/python -m pip --python build/wheel/venv/bin/python install --quiet build/wheel/*.whl
	cd build/wheel && venv/bin/python -c "import importance_sampling as i; print('imported', i.__version__, i.__file__)"

# the pages and, from docstrings, the reference
docs: .venv/ready
	$(BIN)/python -m sphinx -W --keep-going -q -b html docs build/docs
	@echo "build/docs/index.html"

check: lint docs test wheel

# the oldest versions that setup.cfg allows, in an environment of their own
oldest:
	$(PYTHON) -m venv .venv-oldest
	.venv-oldest/bin/python -m pip install --quiet --editable '.[test]' tensorflow==2.18.0 keras==3.8.0
	.venv-oldest/bin/python -m pytest -n auto --maxprocesses 4 --dist worksteal

# figures and docs/results.md from the results files
paper: .venv/ready
	$(BIN)/python -m examples.paper.report

# one thread a run and a run for each core: more steps in an hour than one run on all cores, and seconds that can be compared
JOBS ?= $(shell nproc 2>/dev/null || echo 2)
SCALE ?= cpu
paper-runs: .venv/ready
	$(BIN)/python -m examples.paper all --scale $(SCALE) --grid --jobs $(JOBS) --threads 1
	$(BIN)/python -m examples.paper all --scale $(SCALE) --jobs $(JOBS) --threads 1
	$(BIN)/python -m examples.paper.norms all --scale $(SCALE)
	$(BIN)/python -m examples.paper.report --scale $(SCALE)

# every experiment, method and figure, for two steps on a slice of the data
paper-smoke: .venv/ready
	rm -rf build/smoke
	$(BIN)/python -m examples.paper all --methods uniform oracle approx pcg --k 0.5 --seeds 0 --epochs 1 --steps 2 --limit 300 \
		--results build/smoke/results
	$(BIN)/python -m examples.paper.norms all --samples 300 --limit 300 --results build/smoke/results
	$(BIN)/python -m examples.paper.report --epochs 1 --results build/smoke/results --docs build/smoke

# after new results: the notebooks show them
notebooks: .venv/ready
	$(BIN)/python -m examples.notebooks

bench: .venv/ready
	$(BIN)/python -m benchmarks

# seconds and samples to the result of uniform sampling; hours, and goes on where it was stopped
bench-time: .venv/ready
	$(BIN)/python -m benchmarks.time_to_result

clean:
	rm -rf .venv .venv-oldest build *.egg-info mnist_cnn.png rare_class.png
