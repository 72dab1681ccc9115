#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
#
# The demonstration: scripts/demo.sh [DIRECTORY]   (where the programs are; build/ unless told)
#
#	  web            app            db         internet
#	10.10.0.11     10.10.0.12     10.10.0.13   198.51.100.7, gateway 10.10.0.254
#	    |              |              |            |
#	 ---+--------------+--------------+------------+---   cordon-switchd, VLAN 10
#
# Four network namespaces are attached to a switch that this script starts on a directory of its own, so any number
# of demonstrations can run at once.  examples/policy.yaml is applied, real traffic is sent, and each connection is
# compared with what the policy says: what the client saw, and what the log wrote.  Everything is taken down again,
# whatever happens.  The exit status is 0 only if every connection was treated as the policy says.
set -euo pipefail

top=$(cd "$(dirname "$0")/.." && pwd)
programs=$(cd "${1:-$top/build}" && pwd)
policy=$top/examples/policy.yaml
export PATH=$programs:$PATH

# Who there is: name, last octet of its address and of its MAC.
guests=(web:11 app:12 db:13)
outside=198.51.100.7
file_bytes=4000000

# What must happen: from, to, what, allow or deny, the rule that must be named for it in the log.
expectations=(
	"web app HTTP allow web-to-app"
	"app db HTTP allow app-to-db"
	"web db HTTP deny web->db"
	"db internet HTTP deny no-internet"
	"web app ping allow ping-app"
	"web app ping6 allow ping-app6"
	"web db ping deny web->db"
	"db web HTTP deny db->web"
)

fail() {
	printf 'demo: %s\n' "$*" >&2
	exit 1
}

step=0
step() {
	step=$((step + 1))
	printf '\n[%d/7] %s\n' "$step" "$*"
}

# --- Setting up and taking down ----------------------------------------------------------------------------

# A name that no other demonstration has; network devices may have 15 characters.
tag=cd$$
run_directory=$(mktemp -d "${TMPDIR:-/tmp}/cordon-demo.XXXXXX")
namespaces=()
processes=()
switch_was_started=no
succeeded=no

namespace() {
	echo "$tag-$1"
}

inside() {
	local name=$1
	shift
	ip netns exec "$(namespace "$name")" "$@"
}

take_down() {
	trap - EXIT INT TERM HUP
	set +e
	for process in "${processes[@]}"; do
		kill "$process" 2>/dev/null
	done
	wait 2>/dev/null
	if [ "$switch_was_started" = yes ]; then
		cordon down >"$run_directory/down" 2>&1 || cat "$run_directory/down" >&2
	fi
	for name in "${namespaces[@]}"; do
		ip netns delete "$name"
	done
	if [ "$succeeded" = no ]; then
		for log in "$run_directory"/*.log; do
			[ -f "$log" ] && echo "demo: the end of ${log##*/}:" && tail -n 20 "$log"
		done >&2
	fi
	rm -rf "$run_directory"
}

mac_of() {
	printf '02:00:00:00:00:%02x' "$1"
}

# A namespace whose device eth0 has its other end, `device`, in ours.
add_namespace() {
	local name=$1 octet=$2 device=$tag$1
	ip netns add "$(namespace "$name")"
	namespaces+=("$(namespace "$name")")
	ip link add "$device" type veth peer name eth0 address "$(mac_of "$octet")" netns "$(namespace "$name")"
	sysctl -qw "net.ipv6.conf.$device.disable_ipv6=1"
	ip link set "$device" up
	inside "$name" sysctl -qw net.ipv6.conf.eth0.accept_dad=0
	inside "$name" ip link set lo up
	inside "$name" ip link set eth0 up
	inside "$name" ip address add "10.10.0.$octet/24" dev eth0
	inside "$name" ip address add "fd00:10::$octet/64" dev eth0 nodad
}

add_guest() {
	local name=$1 octet=$2
	add_namespace "$name" "$octet"
	inside "$name" ip route add default via 10.10.0.254
	cordon port add "$name" --type kernel --device "$tag$name" --role vnic --network lan \
		--mac "$(mac_of "$octet")" --address "10.10.0.$octet,fd00:10::$octet" --tag "tier=$name" --vm-name "$name"
}

# The outside is reached through a port that is no endpoint itself.
add_outside() {
	add_namespace internet 254
	inside internet ip address add "$outside/32" dev lo
	cordon port add internet --type kernel --device "${tag}internet" --role uplink --network lan
}

serve_http() {
	local name=$1 directory=$run_directory/www-$1
	mkdir "$directory"
	head -c "$file_bytes" /dev/zero >"$directory/file"
	inside "$name" /usr/bin/python3 -m http.server 80 --bind :: --directory "$directory" \
		>"$run_directory/http-$name.log" 2>&1 &
	processes+=($!)
	for _ in $(seq 50); do
		inside "$name" curl -s -o /dev/null --max-time 1 http://127.0.0.1/ && return
		sleep 0.1
	done
	fail "the web server in $name does not answer"
}

# --- Traffic -------------------------------------------------------------------------------------------------

address_of() {
	case $1 in
	web) echo 10.10.0.11 ;;
	app) echo 10.10.0.12 ;;
	db) echo 10.10.0.13 ;;
	internet) echo "$outside" ;;
	esac
}

# Tries `what` from `from` to `to`; prints what the client saw.  Fails if it did not get through.
try() {
	local from=$1 to=$2 what=$3 address received
	address=$(address_of "$to")
	case $what in
	HTTP)
		if ! received=$(inside "$from" curl -s -o /dev/null --max-time 3 -w '%{size_download}' "http://$address/file"); then
			echo "no answer"
			return 1
		fi
		echo "$received bytes"
		[ "$received" = "$file_bytes" ]
		;;
	ping) inside "$from" ping -q -c 2 -i 0.2 -W 1 "$address" | grep -o '[0-9]* received' ;;
	ping6) inside "$from" ping -q -c 2 -i 0.2 -W 1 "fd00:10::${address##*.}" | grep -o '[0-9]* received' ;;
	esac
}

# True if the log has a record of this connection with this verdict and this rule.
logged() {
	local from=$1 to=$2 what=$3 verdict=$4 rule=$5
	cordon log list --json | /usr/bin/python3 "$top/scripts/demo-log.py" "$(address_of "$from")" "$(address_of "$to")" \
		"$what" "$verdict" "$rule"
}

check_expectation() {
	local from=$1 to=$2 what=$3 verdict=$4 rule=$5 saw got=allow judged=ok log=no
	saw=$(try "$from" "$to" "$what") || got=deny
	for _ in $(seq 20); do
		if logged "$@"; then
			log=yes
			break
		fi
		sleep 0.25
	done
	if [ "$got" != "$verdict" ] || [ "$log" = no ]; then
		judged=WRONG
		wrong=$((wrong + 1))
	fi
	printf '  %-5s %-9s %-6s %-9s %-14s %-12s %-7s %s\n' "$from" "$to" "$what" "$verdict" "$saw" "$rule" "$log" "$judged"
}

# --- The story -------------------------------------------------------------------------------------------------

[ "$(id -u)" = 0 ] || fail "making network namespaces needs root; try: sudo make demo"
ip netns list >/dev/null 2>&1 || fail "this kernel or container lets nobody make network namespaces"
trap take_down EXIT
trap 'exit 130' INT TERM HUP

export CORDON_RUNDIR=$run_directory/run CORDON_STATEDIR=$run_directory/state

step "Starting the database and the switch"
switch_was_started=yes
cordon up --no-huge

step "Attaching web, app, db and the outside"
cordon network add lan --vlan 10
for guest in "${guests[@]}"; do
	add_guest "${guest%:*}" "${guest#*:}"
done
add_outside
cordon port list

step "Applying examples/policy.yaml"
cordon policy apply "$policy" -m "the demonstration's policy"
cordon zone list

step "Starting web servers in app, db and the outside"
serve_http app
serve_http db
serve_http web
serve_http internet

step "Sending traffic, and comparing it with the policy"
wrong=0
printf '  %-5s %-9s %-6s %-9s %-14s %-12s %-7s\n' from to what policy "client saw" rule logged
for expectation in "${expectations[@]}"; do
	read -r -a words <<<"$expectation"
	check_expectation "${words[@]}"
done

step "The traffic log"
cordon log list
echo
cordon log summary

step "Taking everything down"
[ "$wrong" = 0 ] || fail "$wrong of ${#expectations[@]} connections were not treated as the policy says"
succeeded=yes
take_down
printf '\nAll %d connections were treated as the policy says.\n' "${#expectations[@]}"
