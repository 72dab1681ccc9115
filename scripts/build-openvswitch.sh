#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
#
# Builds libopenvswitch from Debian's openvswitch-source, once: scripts/build-openvswitch.sh DIRECTORY [CFLAGS]
#
# DIRECTORY/.built is written last, so a tree without it is an interrupted build: it is removed and built anew.
# Two callers at once: the second waits for the first, then finds the tree ready.
set -eu

directory=${1:?usage: build-openvswitch.sh DIRECTORY [CFLAGS]}
flags=${2:--O2 -g}
source=/usr/src/openvswitch/openvswitch.tar.gz
log=$directory.log

say() {
	printf 'openvswitch: %s\n' "$*"
}

fail() {
	say "$*" >&2
	exit 1
}

# Prints "label: n %" as lines of $log that match `pattern` grow towards `total`, until process `pid` is gone.
# On a terminal the line is rewritten; elsewhere every tenth per cent is a line.
show_progress() {
	pid=$1 pattern=$2 total=$3 shown=-1
	while kill -0 "$pid" 2>/dev/null; do
		done_lines=$(grep -cE -- "$pattern" "$log" || true)
		percent=$((done_lines * 100 / total))
		[ "$percent" -gt 99 ] && percent=99
		if [ -t 1 ]; then
			printf '\ropenvswitch: compiling %3d %%' "$percent"
		elif [ $((percent / 10)) -ne "$shown" ]; then
			shown=$((percent / 10))
			say "compiling $((shown * 10)) %"
		fi
		sleep 1
	done
	if [ -t 1 ]; then
		printf '\r'
	fi
}

mkdir -p "$(dirname "$directory")"
exec 9>"$directory.lock"
if ! flock -n 9; then
	say "another build of $directory is under way; waiting for it"
	flock 9
fi
if [ -e "$directory/.built" ]; then
	exit 0
fi
[ -r "$source" ] || fail "$source is missing: install openvswitch-source (as root: make setup)"
if [ -e "$directory" ]; then
	say "$directory was left unfinished; starting over"
	rm -rf "$directory"
fi

say "step 1 of 3: unpacking $source"
mkdir "$directory"
tar -xzf "$source" -C "$directory" --strip-components=1
cd "$directory"
log=$PWD.log

# For clang, its atomics copy what <stdatomic.h> declares and so cannot be included beside it; those that it uses
# with gcc are made from <stdatomic.h>, and do for both.
sed -i 's/#elif __has_extension(c_atomic)/#elif 0/' lib/ovs-atomic.h

say "step 2 of 3: configuring (about half a minute)"
if ! ./configure -q CC=gcc CFLAGS="$flags" PYTHON3=/usr/bin/python3 >"$log" 2>&1; then
	tail -n 20 "$log" >&2
	fail "configure failed; all of its output is in $log, and $PWD/config.log says why"
fi

say "step 3 of 3: compiling (one to two minutes; done once, kept in $PWD)"
total=$(make -n 2>/dev/null | grep -cE -- '(^| )-c( |$)' || true)
[ "$total" -gt 0 ] || total=400
make -j"$(nproc)" >"$log" 2>&1 &
make_pid=$!
trap 'kill "$make_pid" 2>/dev/null || true' INT TERM HUP
show_progress "$make_pid" '^libtool: compile|^gcc .* -c ' "$total"
if ! wait "$make_pid"; then
	grep -E 'error|Error' "$log" | head -n 20 >&2
	fail "the build failed; all of its output is in $log"
fi

# Only the library, its headers and the generator of database access are used; the objects of the rest are not.
dpkg-query -W -f='${Package} ${Version}\n' openvswitch-source >.built 2>/dev/null || date >.built
say "ready"
