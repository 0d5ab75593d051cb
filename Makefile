# A thin front for meson: everything is built under build/.
BUILD ?= build

all: $(BUILD)/build.ninja
	@ninja -C $(BUILD)

$(BUILD)/build.ninja:
	@meson setup $(BUILD)

demo: all
	@./demo

# `./check` installs what this needs first
check: all
	@meson test -C $(BUILD) --print-errorlogs -t 3

bench: all
	@BUILD=$(abspath $(BUILD)) bench/run.py $(ARGS)

bench-descriptors: all
	@BUILD=$(abspath $(BUILD)) bench/descriptors.py $(ARGS)

# T=NAME for one of them; docs/trials.md
trials: all
	@BUILD=$(abspath $(BUILD)) tests/trials/run.py $(T)

install: all
	@meson install -C $(BUILD)

clean:
	@rm -rf $(BUILD)

.PHONY: all demo check bench bench-descriptors trials install clean
