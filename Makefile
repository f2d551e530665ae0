# `make demo` and `make test` are the commands to begin with. Both run the set-up first, which takes seconds once it is
# complete.
# Family of packages: openmmlab or onedl. Default: OpenMMLab's, and OneDL's where those cannot be built.
STACK ?= auto
VENV ?= .venv$(if $(filter onedl,$(STACK)),-onedl)
# The Python of the environment, once there is one.
PYTHON ?= $(or $(wildcard $(VENV)/bin/python),python3)
# To install another build of torch, for example CUDA 12.8 wheels:
#   make TORCH_SPEC='torch==2.11.0 torchvision==0.26.0 --index-url https://download.pytorch.org/whl/cu128' demo
TORCH_SPEC ?= torch==2.11.0 torchvision==0.26.0
# Not empty: a Python that the packages are not known to run on is tried all the same.
ANY_PYTHON ?=
# Not empty: only files whose SHA-256 is in constraints/*.lock are installed.
LOCKED ?=

# Environment of `make docs`.
DOCS_VENV ?= .venv-docs

RUN = $(VENV)/bin/python
DEMO_CONFIG = configs/mask_rcnn_fishnet_demo.py
DEMO_DIR = work_dirs/demo
CHAIN_CONFIG = configs/mask_rcnn_fishnet_demo_pretrained.py
CHAIN_DIR = work_dirs/demo_chain
# Two processes of one thread each: on feature maps as small as the demo's, a second thread does not make a process
# faster.
# On the CPU also where there is a GPU: two processes cannot share one.
TWO = CUDA_VISIBLE_DEVICES= OMP_NUM_THREADS=1 $(RUN) -m torch.distributed.run --standalone --nproc_per_node=2

.PHONY: setup doctor demo demo-chain lint format test test-long docs pins matrix

setup:
	@command -v '$(firstword $(PYTHON))' > /dev/null || { echo 'set-up failed: there is no $(PYTHON) here; name another Python: make PYTHON=python3.12'; exit 1; }
	@$(PYTHON) tools/setup_env.py $(VENV) --torch '$(TORCH_SPEC)' --stack $(or $(STACK),auto) $(if $(ANY_PYTHON),--any-python) $(if $(LOCKED),--locked)

doctor: setup
	@$(RUN) fishnet_mmdet/doctor

demo: setup
	$(RUN) tools/make_demo_data.py --out data/demo
	$(TWO) tools/train.py $(DEMO_CONFIG) --launcher pytorch --work-dir $(DEMO_DIR)
	$(RUN) tools/test.py $(DEMO_CONFIG) $$(cat $(DEMO_DIR)/last_checkpoint) --work-dir $(DEMO_DIR) --show-dir ../pictures
	@echo 'AP table: $(DEMO_DIR)/ap_test.md   pictures (annotations left, predictions right): $(DEMO_DIR)/pictures'

demo-chain: setup
	$(RUN) tools/make_demo_data.py --classes --out data/demo_classes
	$(RUN) tools/make_demo_data.py --out data/demo
	$(TWO) tools/train.py configs/classifier_fishnet_demo.py --launcher pytorch --work-dir work_dirs/demo_classifier
	$(TWO) tools/train.py $(CHAIN_CONFIG) --launcher pytorch --work-dir $(CHAIN_DIR) --cfg-options \
	    model.backbone.init_cfg.checkpoint=$$(cat work_dirs/demo_classifier/last_checkpoint)
	$(RUN) tools/test.py $(CHAIN_CONFIG) $$(cat $(CHAIN_DIR)/last_checkpoint) --work-dir $(CHAIN_DIR) --show-dir ../pictures
	@echo 'accuracy: work_dirs/demo_classifier/accuracy_val.md   AP: $(CHAIN_DIR)/ap_test.md   pictures: $(CHAIN_DIR)/pictures'

lint: setup
	$(RUN) -m ruff check .
	$(RUN) -m ruff format --check .
	$(RUN) -m codespell_lib .

format: setup
	$(RUN) -m ruff check --fix .
	$(RUN) -m ruff format .

# Two workers of one thread each; see tests/conftest.py.
test: lint
	$(RUN) -m pytest

test-long: lint
	$(RUN) -m pytest -m 'long or not long'

# The documentation as a site, in an environment without torch: what constraints/docs.lock names, with its SHA-256.
docs: $(DOCS_VENV)/ready
	@PATH=$(abspath $(DOCS_VENV))/bin:$$PATH NO_MKDOCS_2_WARNING=1 $(DOCS_VENV)/bin/python -m mkdocs build --strict --quiet
	@echo 'open $(CURDIR)/site/index.html'

$(DOCS_VENV)/ready: constraints/docs.lock
	@$(PYTHON) -c 'import sys; sys.version_info >= (3, 10) or sys.exit("make docs needs Python 3.10 or newer: make docs PYTHON=python3.12")'
	@echo '-- creating $(DOCS_VENV): about 200 MB'
	@$(PYTHON) -m venv --clear $(DOCS_VENV)
	@$(DOCS_VENV)/bin/python -m pip install --quiet --no-input --disable-pip-version-check --require-hashes --no-deps --only-binary :all: -r $<
	@touch $@

# Writes constraints/*.txt from pyproject.toml; UPGRADE=1 takes the newest versions.
pins:
	@$(PYTHON) tools/pin_versions.py --torch '$(TORCH_SPEC)' $(if $(UPGRADE),--upgrade)

# Sets up, tests and trains on every Python and family: hours. ROWS='3.13-onedl ...' chooses; what is done is kept.
matrix:
	@$(PYTHON) tools/try_matrix.py $(ROWS)
