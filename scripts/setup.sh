#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
#
# Installs the Debian packages that Cordon needs and that are not there yet.
#
#	scripts/setup.sh GROUP...		installs what is missing
#	scripts/setup.sh --check GROUP...	only says what is missing, and fails if something is
#
# Groups: build (make), run (cordon up, make demo), check (make check), bench (make bench),
# instructions (make bench-instructions), linux (make check-linux), lint (make lint).
# Called by the Makefile.  Nothing is changed on the host but packages.
set -eu

packages_build="gcc libc6-dev make pkgconf python3 libdpdk-dev libyaml-dev libglib2.0-dev libsqlite3-dev libssl-dev
	libcap-ng-dev libxdp-dev libbpf-dev libnuma-dev libpcap0.8-dev libfixbuf-dev libpq-dev
	liburing-dev libseccomp-dev libjansson-dev
	openvswitch-source"
packages_run="python3 openvswitch-common qemu-system-common iproute2 iputils-ping curl procps tzdata"
packages_check="libcmocka-dev libfaketime clang libclang-rt-dev llvm python3-pytest python3-pytest-xdist python3-scapy dpdk-dev iperf3 tcpdump ethtool
	python3-pyftpdlib dnsmasq-base isc-dhcp-client curl tzdata nfdump tshark openssl postgresql chromium
	rsyslog rsyslog-openssl qemu-system-common qemu-utils acpica-tools"
packages_bench="python3 dpdk-dev openvswitch-switch openvswitch-switch-dpdk openvswitch-common iproute2 nftables iperf3
	util-linux"
packages_instructions="valgrind python3"
packages_linux="python3-pytest iperf3 dnsmasq-base curl qemu-system-x86 linux-source-6.1 bc bison flex libelf-dev lz4 xz-utils"
packages_lint="clang-format cppcheck shellcheck python3"

here=$(cd "$(dirname "$0")/.." && pwd)
log=$here/build/setup.log

say() {
	printf 'setup: %s\n' "$*"
}

fail() {
	say "$*" >&2
	exit 1
}

packages_of() {
	for group in "$@"; do
		case $group in
		build) echo "$packages_build" ;;
		run) echo "$packages_run" ;;
		check) echo "$packages_check" ;;
		bench) echo "$packages_bench" ;;
		instructions) echo "$packages_instructions" ;;
		linux) echo "$packages_linux" ;;
		lint) echo "$packages_lint" ;;
		*) fail "there is no group '$group'; groups are build, run, check, bench, instructions, linux, lint" ;;
		esac
	done
}

# Those of the packages named that are not installed, each once.
missing_of() {
	# dpkg-query complains about names that it has never seen; they are as missing as the others.
	# shellcheck disable=SC2016 # dpkg-query's own variables.
	installed=$(dpkg-query -W -f='${db:Status-Status} ${Package}\n' "$@" 2>/dev/null |
		sed -n 's/^installed //p' || true)
	printf '%s\n' "$@" | sort -u | grep -vxF "${installed:-(none)}" || true
}

# Reads what apt says and shows how far it is, in tenths; all that it says goes to $log.
show_progress() {
	total=1 installed=0 shown=0
	while IFS= read -r line; do
		printf '%s\n' "$line" >>"$log"
		case $line in
		"Need to get "*) say "downloading ${line#Need to get }" ;;
		*" newly installed, "*)
			total=${line%% newly installed*}
			total=${total##* }
			;;
		"Setting up "*)
			installed=$((installed + 1))
			if [ $((installed * 10 / total)) -gt "$shown" ]; then
				shown=$((installed * 10 / total))
				say "installed $installed of $total packages"
			fi
			;;
		esac
	done
}

apt() {
	mkdir -p "$(dirname "$log")"
	status_file=$(mktemp)
	{
		status=0
		DEBIAN_FRONTEND=noninteractive apt-get -q -o DPkg::Lock::Timeout=300 -o Dpkg::Use-Pty=0 "$@" \
			</dev/null 2>&1 || status=$?
		echo "$status" >"$status_file"
	} | show_progress
	status=$(cat "$status_file")
	rm -f "$status_file"
	return "$status"
}

only_check=no
if [ "${1:-}" = --check ]; then
	only_check=yes
	shift
fi
[ $# -gt 0 ] || fail "usage: scripts/setup.sh [--check] build|run|check|bench|instructions|linux|lint ..."

# shellcheck disable=SC2046 # A list of words is what is wanted.
set -- $(packages_of "$@")
if ! command -v dpkg-query >/dev/null; then
	[ "$only_check" = no ] || exit 0
	fail "this is not Debian, so nothing was installed; install what corresponds to: $*"
fi
missing=$(missing_of "$@" | tr '\n' ' ')
missing=${missing% }
[ -n "$missing" ] || exit 0

[ "$only_check" = no ] ||
	fail "these packages are missing: $missing. As root, install them with: apt-get install $missing"
[ "$(id -u)" = 0 ] ||
	fail "you are not root, so these packages could not be installed: $missing. Install them with: sudo apt-get install $missing"
command -v apt-get >/dev/null || fail "there is no apt-get here; install these packages by other means: $missing"

say "installing $missing (all of apt's output: $log)"
# shellcheck disable=SC2086 # A list of words is what is wanted.
if ! apt install -y --no-install-recommends $missing; then
	say "apt does not find them all; fetching its package lists"
	apt update || fail "apt could not fetch its package lists: is there a network, and does it reach a Debian mirror? See $log"
	apt install -y --no-install-recommends $missing || {
		tail -n 15 "$log" >&2
		fail "apt could not install them; its last words are above, all of them in $log"
	}
fi

huge_pages=$(cat /proc/sys/vm/nr_hugepages 2>/dev/null || echo 0)
if [ "$huge_pages" = 0 ]; then
	say "no huge pages are reserved: everything works, but vhost ports are slower. To reserve 2 GiB:" \
		"echo 1024 > /proc/sys/vm/nr_hugepages"
fi
