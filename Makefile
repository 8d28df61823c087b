# make demo   from a bare machine to 10,000 proven records
# make test   the tests, on the same machine
# make check  ruff and mypy --strict
VENV := .venv
PYTHON := $(VENV)/bin/python
N := 10000

.PHONY: demo test check clean

demo: $(VENV)/.ready
	$(VENV)/bin/synthgen recipe recipes/bios.yaml --n $(N)
	@echo
	@echo "data:   data/bios/part-*.parquet"
	@echo "report: data/bios/report.html"

test: $(VENV)/.ready-dev
	$(PYTHON) -m pytest

check: $(VENV)/.ready-dev
	$(VENV)/bin/ruff check .
	$(VENV)/bin/ruff format --check .
	$(VENV)/bin/mypy

$(VENV)/.ready: pyproject.toml requirements/cpu.lock requirements/install.sh
	requirements/install.sh $(VENV)
	@touch $@

$(VENV)/.ready-dev: $(VENV)/.ready requirements/dev.lock requirements/ray.lock
	requirements/install.sh $(VENV) dev
	@touch $@

clean:
	rm -rf $(VENV) data build dist
