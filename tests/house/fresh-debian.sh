#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
# fresh-debian.sh [DIR]: ./demo and ./check on a clean clone, in a Debian 12 that has nothing but its base.
#
# DIR (/var/tmp/spore-debian) keeps the base as debootstrap made it, for the next time; each run works on a copy. The copy
# becomes the root of mount, pid and IPC namespaces of its own, which end with this script, and with them all mounts and processes. (Nobody
# else on the machine then takes a pid that a restore needs, or the number of a terminal, or leaves semaphores about.)
set -eu
top=$(cd "$(dirname "$0")/../.." && pwd)
dir=$(realpath -m "${1:-/var/tmp/spore-debian}")
commands=${COMMANDS:-"./demo ./check"}

if [ "${INSIDE:-}" != yes ]; then
	[ "$(id -u)" -eq 0 ] || { echo "fresh-debian: run this as root" >&2; exit 1; }
	command -v debootstrap >/dev/null || { echo "fresh-debian: skipped: debootstrap is not installed" >&2; exit 77; }
	mkdir -p "$dir"
	if [ ! -e "$dir/base.tar" ]; then
		debootstrap --variant=minbase bookworm "$dir/making" "${MIRROR:-http://deb.debian.org/debian}" >"$dir/log" 2>&1 ||
			{ tail -n 5 "$dir/log" >&2; echo "fresh-debian: skipped: debootstrap failed" >&2; exit 77; }
		tar -C "$dir/making" --one-file-system -cf "$dir/base.tar.new" .
		rm -rf "$dir/making"
		mv "$dir/base.tar.new" "$dir/base.tar"
	fi
	root=$(mktemp -d "$dir/root.XXXXXX")
	trap 'rm -rf --one-file-system "$root"' EXIT
	trap 'exit 143' INT TERM
	tar -C "$root" -xf "$dir/base.tar"
	git clone -q --no-hardlinks "$top" "$root/spore"
	INSIDE=yes unshare --mount --pid --ipc --fork --kill-child --propagation private "$0" "$root" || { echo "fresh-debian: failed" >&2; exit 1; }
	exit 0
fi

mount --bind "$dir" "$dir"
cd "$dir"
mount --bind /dev dev
mount -t devpts -o gid=5,mode=620,ptmxmode=666 devpts dev/pts
mount -t tmpfs -o mode=1777 shm dev/shm
mount --rbind /sys sys
mount -t proc proc proc
mount -t tmpfs tmpfs run
mount -t tmpfs tmpfs tmp
cp --remove-destination /etc/resolv.conf etc/resolv.conf
mkdir -p old
pivot_root . old
cd /spore
umount -l /old
export HOME=/root PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin
for command in $commands; do
	echo "=== $command"
	env -i HOME="$HOME" PATH="$PATH" TERM=dumb $command || { echo "$command: exit $?"; exit 1; }
done
