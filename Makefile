# A thin front for meson: everything is built under build/.
BUILD ?= build

all: $(BUILD)/build.ninja
	@ninja -C $(BUILD)

$(BUILD)/build.ninja:
	@meson setup $(BUILD)

check: all
	@meson test -C $(BUILD) --print-errorlogs

# T=NAME for one of them; docs/trials.md
trials: all
	@BUILD=$(abspath $(BUILD)) tests/trials/run.py $(T)

install: all
	@meson install -C $(BUILD)

clean:
	@rm -rf $(BUILD)

.PHONY: all check trials install clean
