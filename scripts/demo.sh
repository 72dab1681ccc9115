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
#	  vmweb          vmapp          where KVM works: two guests in cordon-vmm, 10.10.0.21 and 10.10.0.22
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

# Guests with a kernel: name, last octet, tier.
vms=(vmweb:21:web vmapp:22:app)
vm_kernel=$programs/tests/guest/guest.elf
file_bytes=4000000

# What must happen: from, to, what, allow or deny, the rule that the log must name for it.
expectations=(
	"web app HTTP:8080 allow web-to-app"
	"app db HTTP:5432 allow app-to-db"
	"web db HTTP:5432 deny web->db"
	"db internet HTTP:8080 deny no-internet"
	"db web HTTP:8080 deny db->web"
	"web app ping allow ping-app"
	"web app ping6 allow ping-app6"
	"web db ping deny web->db"
	"app internet ping deny app->internet"
)

# The same for the guests with a kernel.
vm_expectations=(
	"vmweb vmapp ping allow ping-app"
	"vmapp vmweb ping deny app->web"
	"vmweb app ping allow ping-app"
	"web vmapp ping allow ping-app"
)

fail() {
	printf 'demo: %s\n' "$*" >&2
	exit 1
}

step=0
step() {
	step=$((step + 1))
	printf '\n[%d/8] %s\n' "$step" "$*"
}

# --- Setting up and taking down ----------------------------------------------------------------------------

# What no other demonstration is called.
tag=cd$$
run_directory=$(mktemp -d "${TMPDIR:-/tmp}/cordon-demo.XXXXXX")
namespaces=()
processes=()
switch_was_started=no
vms_were_started=no
succeeded=no
interrupted=no

namespace() {
	echo "$tag-$1"
}

# The end of a guest's device that is plugged into the switch; names of devices have at most 15 characters.
device_of() {
	echo "$tag${1:0:3}"
}

inside() {
	local name=$1
	shift
	ip netns exec "$(namespace "$name")" "$@"
}

# What may explain a failure, while there still is a switch to ask.
explain() {
	echo "demo: packets that the switch dropped:"
	cordon drops
	for log in "$CORDON_STATEDIR"/*.log "$run_directory"/*.log; do
		[ -s "$log" ] && echo "demo: the end of ${log##*/}:" && tail -n 20 "$log"
	done
}

take_down() {
	trap - EXIT INT TERM HUP
	set +e
	if [ "$succeeded$interrupted" = nono ] && [ "$switch_was_started" = yes ]; then
		explain >&2
	fi
	for process in "${processes[@]}"; do
		kill "$process" 2>/dev/null
	done
	wait 2>/dev/null
	[ "$vms_were_started" = no ] || cordon down --guests-only --timeout 20
	if [ "$switch_was_started" = yes ] && ! cordon down >"$run_directory/down" 2>&1; then
		cat "$run_directory/down" >&2
		cat "$CORDON_RUNDIR"/*.pid | xargs -r kill
	fi
	for name in "${namespaces[@]}"; do
		ip netns delete "$name"
	done
	rm -rf "$run_directory"
}

mac_of() {
	printf '02:00:00:00:00:%02x' "$1"
}

# A namespace whose device eth0 has its other end, `device`, in ours.
add_namespace() {
	local name=$1 octet=$2 device
	device=$(device_of "$name")
	ip netns add "$(namespace "$name")"
	namespaces+=("$(namespace "$name")")
	ip link add "$device" type veth peer name eth0 address "$(mac_of "$octet")" netns "$(namespace "$name")"
	sysctl -qw "net.ipv6.conf.$device.disable_ipv6=1"
	ip link set "$device" up
	inside "$name" sysctl -qw net.ipv6.conf.eth0.accept_dad=0 net.ipv6.conf.eth0.router_solicitations=0
	inside "$name" ip link set eth0 addrgenmode none
	inside "$name" ip link set lo up
	inside "$name" ip link set eth0 up
	inside "$name" ip address add "10.10.0.$octet/24" dev eth0
	inside "$name" ip address add "fd00:10::$octet/64" dev eth0 nodad
}

add_guest() {
	local name=$1 octet=$2
	add_namespace "$name" "$octet"
	inside "$name" ip route add default via 10.10.0.254
	cordon port add "$name" --type kernel --device "$(device_of "$name")" --role vnic --network lan \
		--mac "$(mac_of "$octet")" --address "10.10.0.$octet,fd00:10::$octet" --tag "tier=$name" --vm-name "$name"
}

# The outside is reached through a port that is no endpoint itself.
add_outside() {
	add_namespace internet 254
	inside internet ip address add "$outside/32" dev lo
	cordon port add internet --type kernel --device "$(device_of internet)" --role uplink --network lan
}

serve_http() {
	local name=$1 port=$2 directory=$run_directory/www-$1
	mkdir "$directory"
	head -c "$file_bytes" /dev/zero >"$directory/file"
	# Not through inside(): the process that is ended must be the server itself.
	ip netns exec "$(namespace "$name")" /usr/bin/python3 -m http.server "$port" --bind :: --directory "$directory" \
		>"$run_directory/http-$name.log" 2>&1 &
	processes+=($!)
	for _ in $(seq 50); do
		inside "$name" curl -s -o /dev/null --max-time 1 "http://127.0.0.1:$port/" && return
		sleep 0.1
	done
	fail "the web server in $name does not answer"
}

# --- Traffic -------------------------------------------------------------------------------------------------

# The address of `name`, of the family that `what` needs.
address_of() {
	local name=$1 what=$2 guest
	if [ "$name" = internet ]; then
		echo "$outside"
		return
	fi
	for guest in "${guests[@]}" "${vms[@]%:*}"; do
		[ "${guest%:*}" = "$name" ] || continue
		case $what in
		ping6) echo "fd00:10::${guest#*:}" ;;
		*) echo "10.10.0.${guest#*:}" ;;
		esac
	done
}

# Waits until a guest has said that it is ready.
await_vm() {
	for _ in $(seq 20); do
		if timeout 0.5 cordon vm console "$1" --output-only 2>/dev/null | grep -q '^ready'; then
			return
		fi
	done
	fail "guest $1 does not become ready; cordon vm console $1 shows how far it came"
}

# Types a command on a guest's serial port; prints its answer.
ask_vm() {
	local name=$1 command=$2
	{ printf '%s\n' "$command" && sleep 4; } | timeout 5 cordon vm console "$name" 2>/dev/null |
		tr -d '\r' | grep -F "> ${command%% *}" | tail -n 1 || true
}

# Tries `what` from `from` to `to`; prints what the client saw.  Fails if it did not get through.
try() {
	local from=$1 to=$2 what=$3 address received
	address=$(address_of "$to" "$what")
	case $what in
	HTTP:*)
		if ! received=$(inside "$from" curl -s -o /dev/null --max-time 2 -w '%{size_download}' \
			"http://$address:${what#*:}/file"); then
			echo "no answer"
			return 1
		fi
		echo "$received bytes"
		[ "$received" = "$file_bytes" ]
		;;
	ping | ping6)
		if [[ $from = vm* ]]; then
			received=$(ask_vm "$from" "ping $address 2")
			echo "${received##*: }"
			[[ $received = *" 2 of 2 "* ]]
			return
		fi
		received=$(inside "$from" ping -q -c 2 -i 0.2 -W 1 "$address" | grep -o '[0-9]* received')
		echo "$received"
		[ "$received" = "2 received" ]
		;;
	esac
}

# The rules by which the log says that connections from one address to another were so judged: a line each.
logged_rules() {
	local from=$1 to=$2 kind=$3
	cordon log list --json --kind "$kind" --address "$from" --limit 0 2>/dev/null | /usr/bin/python3 -c '
import json, sys
for line in sys.stdin:
    record = json.loads(line)
    if (record["source_address"], record["destination_address"]) == tuple(sys.argv[1:]):
        print(record["rule"])' "$from" "$to"
}

# True if the log says what happened, within two seconds: it is written a moment after the packets.
is_logged() {
	local from=$1 to=$2 what=$3 verdict=$4 rule=$5 kind=start
	[ "$verdict" = allow ] || kind=denied
	for _ in $(seq 20); do
		if logged_rules "$(address_of "$from" "$what")" "$(address_of "$to" "$what")" "$kind" | grep -qxF -e "$rule"; then
			return
		fi
		sleep 0.1
	done
	return 1
}

check_expectation() {
	local from=$1 to=$2 what=$3 verdict=$4 rule=$5 saw got=allow judged=ok log=yes
	saw=$(try "$from" "$to" "$what") || got=deny
	is_logged "$@" || log=no
	if [ "$got" != "$verdict" ] || [ "$log" = no ]; then
		judged=WRONG
		wrong=$((wrong + 1))
	fi
	# shellcheck disable=SC2059 # The format is ours.
	printf "$row" "$from" "$to" "$what" "$verdict" "$saw" "$rule" "$log" "$judged"
}

# --- The story -------------------------------------------------------------------------------------------------

[ "$(id -u)" = 0 ] || fail "making network namespaces needs root; try: sudo make demo"
ip netns list >/dev/null 2>&1 || fail "this kernel or container lets nobody make network namespaces"
trap take_down EXIT
trap 'interrupted=yes; exit 130' INT TERM HUP

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
serve_http web 8080
serve_http app 8080
serve_http db 5432
serve_http internet 8080

step "Sending traffic, and comparing it with the policy"
began=$(date -u +%Y-%m-%dT%H:%M:%SZ)
wrong=0
row='  %-5s %-9s %-10s %-7s %-15s %-14s %-7s %s\n'
# shellcheck disable=SC2059 # The format is ours.
printf "$row" FROM TO WHAT POLICY "CLIENT SAW" RULE LOGGED ""
for expectation in "${expectations[@]}"; do
	read -r -a words <<<"$expectation"
	check_expectation "${words[@]}"
done

step "Starting two guests in two zones, where KVM works"
if [ -w /dev/kvm ]; then
	vms_were_started=yes
	for vm in "${vms[@]}"; do
		IFS=: read -r name octet tier <<<"$vm"
		cordon vm create "$name" --start --kernel "$vm_kernel" --memory 64M --command-line "ip=10.10.0.$octet" \
			--nic "network=lan,mac=$(mac_of "$octet"),address=10.10.0.$octet,tag=tier=$tier"
	done
	await_vm vmweb
	await_vm vmapp
	cordon vm list
	# shellcheck disable=SC2059 # The format is ours.
	printf "$row" FROM TO WHAT POLICY "CLIENT SAW" RULE LOGGED ""
	for expectation in "${vm_expectations[@]}"; do
		read -r -a words <<<"$expectation"
		check_expectation "${words[@]}"
	done
	expectations+=("${vm_expectations[@]}")
else
	echo "/dev/kvm cannot be used here, so there are none."
fi

step "The connections that there are, and the traffic log"
cordon conn list
echo
cordon log list --since "$began"
echo
cordon log summary --since "$began"

step "Taking everything down"
[ "$wrong" = 0 ] || fail "$wrong of ${#expectations[@]} connections were not treated as the policy says"
succeeded=yes
take_down
printf '\nAll %d connections were treated as the policy says.\n' "${#expectations[@]}"
