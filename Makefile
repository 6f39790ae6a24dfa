# Two commands: `make demo` (a real model answers) and `make test` (everything is checked). Both install what is missing,
# build, and fetch the default model; what is done already is not done again.
.PHONY: demo test build build-all dependencies model lint format clean help
.NOTPARALLEL:

BUILD := build/release
JOBS ?= $(shell nproc)
PROMPT ?= Explain in three sentences why the sky is blue.

help:
	@echo "make demo    install what is missing, build, fetch the default model (98 MB) and let it answer a prompt"
	@echo "make test    the same, then build and run every test"
	@echo "make build   build build/release/narae"
	@echo "make lint    check the format and the law of includes"
	@echo "make format  format the C++ files"
	@echo "make clean   remove build/ (the fetched model stays)"

demo: dependencies build model
	@echo
	@echo "> $(PROMPT)"
	@echo
	@$(BUILD)/narae generate default --chat -n 200 --temp 0 -p "$(PROMPT)"

test: dependencies build-all model
	ctest --test-dir $(BUILD) -j $(JOBS) --output-on-failure $(CTEST_FLAGS)

build: $(BUILD)/build.ninja
	@cmake --build $(BUILD) -j $(JOBS) --target narae

build-all: $(BUILD)/build.ninja
	@cmake --build $(BUILD) -j $(JOBS)

$(BUILD)/build.ninja:
	cmake --preset release

dependencies:
	@tools/install_dependencies

model:
	@tools/fetch_default_model

lint:
	@tools/check_format
	@tools/check_layers

format:
	@tools/check_format --fix

clean:
	rm -rf build
