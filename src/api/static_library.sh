#!/bin/sh
# static_library.sh OUTPUT ARCHIVE [LD OBJCOPY AR]: one object of an archive's members, in which only spore_* is global, so that nothing else of the
# library can clash with a name of the program.
set -e
out=$1 in=$2
trap 'rm -f "$out.o"' EXIT
"${LD:-ld}" -r --whole-archive "$in" -o "$out.o"
"${OBJCOPY:-objcopy}" --wildcard --keep-global-symbol='spore_*' "$out.o"
rm -f "$out"
"${AR:-ar}" rcs "$out" "$out.o"
