# Steelyard. `make` alone prints what there is. Variables of the README's table may be given as NAME=value.

PYTHON := /usr/bin/python3 # the interpreter that Kamailio embeds
VENV := .venv/.complete
RUN := PYTHONPATH=kemi:. .venv/bin/python
PACKAGES := kamailio kamailio-python3-modules redis-server redis-tools sip-tester python3-venv

# Only what is set is passed on: an empty variable would hide a default.
PASSED_ON := STEELYARD_LISTEN STEELYARD_REDIS_URL STEELYARD_SET STEELYARD_WORKERS STEELYARD_RUN_DIR STEELYARD_HTTP \
  DEMO_SECONDS SIM SIM_ONLY SIM_SEED \
  DEMO_SECONDS BENCH_SECONDS BENCH_HOLDS BENCH_SEED BENCH_CALLS BENCH_ONLY BENCH_RESULTS OPENSIPS OPENSIPS_MODULES
$(foreach name,$(PASSED_ON),$(if $($(name)),$(eval export $(name))))

.PHONY: help demo test run bench sim lint check clean packages
.DEFAULT_GOAL := help

help: ## print this list
	@sed -n 's/^\([a-z]*\):.*## /  make \1\t/p' Makefile | expand -t 18

demo: $(VENV) ## unequal proxies, SIPp calls, weights moving live; about a minute, ends by itself
	@$(RUN) -m lab.demo

test: $(VENV) ## every test
	@.venv/bin/pytest

run: $(VENV) ## the control node in the foreground, with a Redis of its own unless STEELYARD_REDIS_URL is set
	@$(RUN) -m steelyard.edge.launch

bench: $(VENV) ## the same calls through Steelyard and through others, faults, overload, cost; about an hour
	@for name in compare faults overload pick cpu rate; do $(RUN) -m bench.$$name || exit; done

sim: $(VENV) ## the same core over simulated queues, beside the rules of others; two minutes (SIM=full: the long set)
	@$(RUN) -m sim

lint: $(VENV) ## style, mistakes, types
	@.venv/bin/ruff check . && .venv/bin/ruff format --check . && .venv/bin/mypy

check: lint test ## all that CI runs, and the linters

clean: ## remove what was installed and written inside this folder
	rm -rf .venv var bench/results sim/results .pytest_cache .ruff_cache .mypy_cache .hypothesis .coverage
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

packages:
	@missing=; for p in $(PACKAGES); do \
	  dpkg-query -W -f '$${Status}' $$p 2>/dev/null | grep -q 'ok installed' || missing="$$missing $$p"; \
	done; \
	if [ -n "$$missing" ]; then \
	  as_root=; if [ "$$(id -u)" != 0 ]; then \
	    as_root=sudo; command -v sudo >/dev/null || { echo "run as root, or install by hand:$$missing" >&2; exit 1; }; fi; \
	  echo "installing Debian packages:$$missing"; \
	  $$as_root apt-get update -q && \
	  $$as_root env DEBIAN_FRONTEND=noninteractive apt-get install -q -y --no-install-recommends $$missing; \
	fi

# Order-only: the packages are looked at every time, the environment is made again only when its pins change.
$(VENV): requirements.txt | packages
	@echo "making .venv"
	@rm -rf .venv && $(PYTHON) -m venv .venv
	@.venv/bin/pip install --quiet --disable-pip-version-check --no-deps -r requirements.txt
	@touch $@
