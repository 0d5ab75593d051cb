# A thin front for meson: everything is built under build/.
BUILD ?= build

all: $(BUILD)/build.ninja
	@ninja -C $(BUILD)

$(BUILD)/build.ninja:
	@meson setup $(BUILD)

check: all
	@meson test -C $(BUILD) --print-errorlogs

install: all
	@meson install -C $(BUILD)

clean:
	@rm -rf $(BUILD)

.PHONY: all check install clean
