#!/bin/sh
# SPDX-License-Identifier: LGPL-2.1-or-later
# resume.sh DIR CMD...: a program that goes on where it was, a second ago at most, after whatever killed it. The first time CMD is started as a container; whenever
# DIR holds an image of it, that is restored instead. Runs until the program ends.
set -eu
spore=${SPORE:-spore} dir=$1
shift
if [ -e "$dir/latest" ]; then
	pid=$("$spore" restore -d "$dir/latest")
else
	pid=$("$spore" run -d -- "$@")
fi
exec "$spore" watch --every "${EVERY:-1s}" "$pid" "$dir"
