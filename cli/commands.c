/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The table of commands, and the options that all of them take.  Read by parse.c, help.c and
 * complete.c; nothing else knows which commands there are.
 */
#include "cli/cordon.h"

const struct cli_option cli_global_options[] = {
	{"rundir", 0, "DIR", "sockets and process ids (CORDON_RUNDIR; /run/cordon)"},
	{"statedir", 0, "DIR", "database and log (CORDON_STATEDIR; /var/lib/cordon)"},
	{"db", 0, "REMOTE", "the database (CORDON_DB; unix:RUNDIR/db.sock)"},
	{"host", 0, "NAME", "whose ports are meant (this host)"},
	{"json", 'j', NULL, "the answer as JSON"},
	{"color", 0, "auto|always|never", "colour (auto: on a terminal; NO_COLOR is heeded)"},
	{"timeout", 0, "SECONDS", "how long to wait for an answer (10)"},
	{"help", 'h', NULL, "help on the command"},
	{0},
};

#define CONN_FILTER                                                                                \
	"Filters must all hold: --zone, --address and --port look at either end.\n\n"              \
	"  cordon conn list --zone web --verdict denied\n"                                         \
	"  cordon conn list --protocol tcp --address 10.0.0.7"

const struct cli_command cli_commands[] = {
	{"up", NULL, NULL, cli_up, cli_up_options, "start the database, the switch and the guests",
		"Makes the run and state directories and the database if they are missing, starts\n"
		"ovsdb-server, cordon-switchd and cordon-hostd, and waits until the switch "
		"answers.\n"
		"What runs already is left alone, so it can be repeated.\n\n"
		"  cordon up\n"
		"  cordon up --no-huge --workers 1"},
	{"down", NULL, NULL, cli_down, cli_down_options, "stop the switch and the database",
		"Ends the processes that the run directory names, after making sure that they are\n"
		"those.  What is configured stays; traffic stops until the next `cordon up`.  "
		"Guests\n"
		"run on without a network, and the next `cordon up` takes them over; with --all "
		"they\n"
		"are shut down, and the next `cordon up` starts those that are wanted to run.\n\n"
		"To upgrade without losing a connection:\n\n"
		"  cordon down --keep-connections && cordon up"},
	{"status", NULL, NULL, cli_show_status, NULL, "the switch on one screen", NULL},

	{"port", "add", "NAME", cli_port_add, cli_port_add_options, "plug a port in",
		"Waits until the switch has opened the port or says why it cannot.\n\n"
		"Types: vhost (a guest, by its vhost-user socket), kernel (a network device of "
		"this\n"
		"host: veth, tap, NIC), internal (the host itself), dpdk (any DPDK device).\n"
		"Roles: vnic (an endpoint: tags choose its zone; spoof guard), uplink (the "
		"outside),\n"
		"internal (the host itself).  Lists take commas, or the option once more.\n\n"
		"  cordon port add web1 --type vhost --network lan --mac 52:54:00:00:00:01 \\\n"
		"      --address 10.0.0.11 --tag tier=web --vm-name web1\n"
		"  cordon port add veth0 --type kernel --device veth0 --tag tier=db\n"
		"  cordon port add up0 --type dpdk --devargs 0000:03:00.0 --role uplink"},
	{"port", "set", "NAME", cli_port_set, cli_port_set_options, "change a port",
		"Only what is named changes.  \"\" empties a list; a limit of 0 is none, and\n"
		"`default` what holds if nobody has set one.\n\n"
		"  cordon port set web1 --tag tier=web,stage=test --connection-limit 10000\n"
		"  cordon port set web1 --connection-limit default"},
	{"port", "del", "NAME", cli_port_delete, NULL, "unplug a port",
		"Its connections end, and are logged as ended."},
	{"port", "list", NULL, cli_port_list, cli_port_list_options, "all ports of the host", NULL},
	{"port", "show", "NAME", cli_port_show, NULL, "everything about one port", NULL},

	{"network", "add", "NAME", cli_network_add, cli_network_add_options, "name a VLAN",
		"A network with a VNI is kept for overlays, which are no part of this version:\n"
		"ports on it are refused.\n\n"
		"  cordon network add lan --vlan 10 --comment \"tenant 7\""},
	{"network", "del", "NAME", cli_network_delete, NULL, "remove a network",
		"Refused while ports use it."},
	{"network", "list", NULL, cli_network_list, NULL, "all networks", NULL},

	{"zone", "list", NULL, cli_zone_list, NULL, "the zones and who is in them", NULL},
	{"zone", "show", "ZONE", cli_zone_show, NULL, "everything about one zone", NULL},

	{"limit", "list", NULL, cli_limit_list, cli_limit_list_options,
		"what ports, zones and rules have open, and may",
		"Ports that nobody has set a limit for, and that have nothing open, are left out\n"
		"unless --all is given.  `refused` counts since the zone or rule was first used.\n"
		"`from outside` is what uplinks have opened to a port, which counts apart.\n\n"
		"  cordon limit list\n"
		"  cordon limit list --kind rule"},

	{"policy", "check", "FILE", cli_policy_check, NULL, "read a policy, and change nothing",
		"Names every error with line and column.  Needs neither switch nor database."},
	{"policy", "plan", "FILE", cli_policy_plan, cli_policy_plan_options,
		"what a policy would change, before it is applied",
		"Changes nothing.  Compares the file (\"-\": standard input) with the policy "
		"wanted, and\n"
		"tells in words what differs; which endpoints change zone, or fit none or two; "
		"which\n"
		"rules can never match; and what the stored traffic of the last days and the "
		"live\n"
		"connections would newly be allowed or denied, by which rules.\n\n"
		"  cordon policy plan policy.yaml\n"
		"  cordon policy plan policy.yaml --days 30 --json"},
	{"policy", "apply", "FILE", cli_policy_apply, cli_policy_apply_options,
		"put a policy into force",
		"Makes a new revision of it, and waits until every host has put it into force.\n"
		"With errors in the file nothing is changed, and neither if somebody else has\n"
		"applied a revision meanwhile (since N, with --expect N).\n\n"
		"With --confirm every host goes back by itself to the last confirmed revision,\n"
		"whether or not it can be reached then, unless `cordon policy confirm` is said in\n"
		"time.\n\n"
		"  cordon policy apply policy.yaml -m \"open the shop\"\n"
		"  cordon policy apply policy.yaml -m \"close the back door\" --confirm 5m"},
	{"policy", "confirm", "[N]", cli_policy_confirm, NULL, "keep a revision that waits for it",
		"Of revision N, if another one could be meant by now.  Until it is said, `cordon\n"
		"status` and `cordon policy history` show how much time is left."},
	{"policy", "rollback", "N", cli_policy_rollback, cli_policy_rollback_options,
		"put an old revision into force again",
		"Makes a new revision of the document of revision N: the history is only added "
		"to.\n"
		"A revision that waits for confirmation is done with.\n\n"
		"  cordon policy rollback 7 -m \"the shop is slow\""},
	{"policy", "show", "[N]", cli_policy_show, NULL,
		"a revision's text, the one wanted by default", NULL},
	{"policy", "diff", "N [M]", cli_policy_diff, NULL, "what changed between two revisions",
		"Says in words what revision M, or else the one wanted, has otherwise than "
		"revision N.\n\n"
		"  cordon policy diff 3\n"
		"  cordon policy diff 3 4"},
	{"policy", "history", NULL, cli_policy_history, NULL,
		"all revisions, and what became of them", NULL},

	{"why", NULL, "SOURCE DESTINATION SERVICE", cli_why, cli_why_options,
		"whether one end may open a connection to another, and by which rule",
		"SOURCE and DESTINATION are ports, VMs (name or id) or addresses; SERVICE is one "
		"of "
		"the\n"
		"policy's services, or written out as there: tcp/443, icmp/8, udp.  Tells the "
		"zones "
		"of\n"
		"both and why, each rule that has a say, what is open between them now, and their "
		"last\n"
		"records.\n\n"
		"  cordon why web-1 10.0.0.21 tcp/5432\n"
		"  cordon why app-1 db-1 postgres"},
	{"rule", "list", NULL, cli_rule_list, cli_rule_list_options, "what each rule has decided",
		"Packets, bytes and connections that each rule of the policy in force has decided, "
		"and\n"
		"when it was hit last; then default pairs of zones, and rules that are gone from "
		"the\n"
		"policy, that were hit.  Counts survive restarts and new revisions: a rule is "
		"known "
		"by\n"
		"its name.  --unused-for 30d finds rules that nothing has hit for so long.\n\n"
		"  cordon rule list --unused\n"
		"  cordon rule list --policy shop --sort packets"},
	{"rule", "show", "POLICY/RULE", cli_rule_show, NULL, "all that is counted of one rule",
		"  cordon rule show shop/web-to-app\n"
		"  cordon rule show \"baseline/web->db\""},

	{"conn", "list", NULL, cli_conn_list, cli_conn_list_options, "the live connections",
		CONN_FILTER},
	{"conn", "show", "ID", cli_conn_show, NULL, "everything about one connection", NULL},
	{"conn", "flush", NULL, cli_conn_flush, cli_conn_flush_options, "end connections",
		"Their next packets are judged anew.  Without a filter, --all must be given.\n\n"
		"  cordon conn flush --port web1"},

	{"log", "list", NULL, cli_log_list, cli_log_list_options, "records of the traffic log",
		"Filters must all hold; --zone, --vm, --port, --address and --transport-port look "
		"at\n"
		"either end.  Times are as 10m, 2h, 1d (ago), \"2026-01-31 14:00\" or RFC 3339.\n"
		"With --json one object a line.  A loss of records is shown whatever the "
		"filters.\n"
		"--simulated asks what would be decided if the policies of `mode: simulate` were\n"
		"enforced; --rule finds their rules, too.\n\n"
		"  cordon log list --since 1h --verdict denied --zone db\n"
		"  cordon log list --vm web-1 --transport-port 5432 -n 0\n"
		"  cordon log list --verdict allowed --simulated denied"},
	{"log", "follow", NULL, cli_log_follow, cli_log_follow_options,
		"records as they are written, until Ctrl-C",
		"Begins with the last ten.  Filters as for `cordon log list`.\n\n"
		"  cordon log follow --zone db"},
	{"log", "denied", NULL, cli_log_denied, cli_log_denied_options, "what is being refused now",
		"What was refused in the last hour (or since --since), the newest first: who was\n"
		"refused what, by which rule or for which reason, and how often.  Spoofed frames\n"
		"and limits that were reached are refusals, too.\n\n"
		"With --follow each refusal is shown as it is written, until Ctrl-C.\n\n"
		"  cordon log denied\n"
		"  cordon log denied -f --zone db"},
	{"log", "talks", "[ENDPOINT]", cli_log_talks, cli_log_talks_options,
		"who talks to a VM, port, zone or address, and on which ports",
		"Both ways: `in` is what peers open to it, `out` what it opens to them.  A name "
		"is\n"
		"a VM's, else a port's of the switch, else a zone's; --vm, --port and --zone ask\n"
		"for one of these.\n\n"
		"  cordon log talks db-1 --since 7d\n"
		"  cordon log talks 192.0.2.0/24 --verdict denied\n"
		"  cordon log talks --zone db --csv"},
	{"log", "matrix", NULL, cli_log_matrix, cli_log_matrix_options,
		"which zones talk: allowed, unprotected, denied",
		"Counts connections and refused attempts of each pair of zones.  Unprotected is\n"
		"what no rule but only a default has allowed.\n\n"
		"  cordon log matrix --since 7d\n"
		"  cordon log matrix --rows"},
	{"log", "top", NULL, cli_log_top, cli_log_top_options, "the top talkers",
		"Bytes and packets are of connections that have ended, and of refused frames.\n\n"
		"  cordon log top --since 1d\n"
		"  cordon log top --of service --by connections\n"
		"  cordon log top --of address --by refused"},
	{"log", "new", NULL, cli_log_new, cli_log_new_options,
		"pairs and services that were never seen before",
		"Never before --since (1d), as far back as the log reaches, which is said.\n\n"
		"  cordon log new --since 2026-11-01\n"
		"  cordon log new --zone db --addresses"},
	{"log", "spoofed", NULL, cli_log_spoofed, cli_log_spoofed_options,
		"who spoke in somebody else's name",
		"By vNIC, and by the address or MAC that it claimed.\n\n"
		"  cordon log spoofed --since 30d"},
	{"log", "simulated", NULL, cli_log_simulated, cli_log_simulated_options,
		"what policies on trial would change",
		"Connections that policies of `mode: simulate` would refuse, and refusals of what\n"
		"they would allow, by the rule that would decide.\n\n"
		"  cordon log simulated --since 1d\n"
		"  cordon log simulated --vms"},
	{"log", "compare", "REVISION", cli_log_compare, cli_log_compare_options,
		"what was allowed and denied before and after a revision",
		"Compares equal spans before and after the moment at which the revision came into\n"
		"force: for each pair of VMs and service what was allowed and denied, by which\n"
		"rules.  The spans are shorter than --window if the revision was not in force for\n"
		"so long.\n\n"
		"  cordon log compare 12\n"
		"  cordon log compare 12 --window 2h --zones --all"},
	{"log", "gaps", NULL, cli_log_gaps, cli_log_gaps_options, "what is missing in the log",
		"Records that were lost, and why; numbers that are missing without a reason; "
		"spans\n"
		"without records; times at which the clock was set back; damaged files.\n\n"
		"  cordon log gaps --since 30d"},
	{"log", "suggest", "ZONE", cli_log_suggest, cli_log_suggest_options,
		"the rules that would allow what a zone was seen to do",
		"Prints a policy document to edit: as few rules as allow the zone's connections,\n"
		"and attempts that a default has refused often enough; with comments on how "
		"often,\n"
		"and on what was left out: scans, what a rule refuses, what was tried once.\n"
		"Nothing is changed.\n\n"
		"  cordon log suggest db --since 4w > suggested.yaml\n"
		"  cordon policy plan suggested.yaml"},
	{"log", "summary", NULL, cli_log_summary, cli_log_summary_options,
		"who talked to whom, and by which rule",
		"Groups records by zone pair, service, verdict and rule, most connections "
		"first.\n\n"
		"  cordon log summary --since 1d"},

	{"report", NULL, NULL, cli_report, cli_report_options,
		"what the log says, on a page to print",
		"Writes one page of HTML that needs no network and no script: the zones that "
		"talk,\n"
		"what was refused and when, top talkers, what is new, spoof attempts, what "
		"policies\n"
		"on trial would change, unused rules, and how complete the record is.\n\n"
		"  cordon report -o report.html\n"
		"  cordon report --since 4w --zone db -o db.html"},

	{"sink", "add", "NAME TYPE [KEY=VALUE...]", cli_sink_add, NULL,
		"have the traffic log written somewhere else as well",
		"Types and their options: `cordon sink types`.  Each sink has a queue and a filter "
		"of its\n"
		"own; one that is slow or gone holds up no other, nor any packet.\n\n"
		"  cordon sink add collector ipfix collector=10.0.0.9:4739\n"
		"  cordon sink add alarms syslog server=10.0.0.9 'filter=kind=denied,spoofed'"},
	{"sink", "set", "NAME KEY=VALUE...", cli_sink_set, NULL, "change the options of a log sink",
		"\"KEY=\" goes back to the default.\n\n"
		"  cordon sink set default retention-days=90"},
	{"sink", "del", "NAME", cli_sink_delete, NULL, "have the traffic log written there no more",
		"What was written stays where it is."},
	{"sink", "list", NULL, cli_sink_list, NULL,
		"where the traffic log is written, and how it goes", NULL},
	{"sink", "show", "NAME", cli_sink_show, NULL, "everything about one log sink", NULL},
	{"sink", "types", "[TYPE]", cli_sink_types, NULL,
		"the types of log sinks, or the options of one", NULL},

	{"vm", "create", "[NAME]", cli_vm_create, cli_vm_create_options, "make a guest",
		"From options, or from a file with the same words, or both: options count over "
		"the\n"
		"file.  A vNIC's MAC and addresses are what the spoof guard holds it to, its tags "
		"choose\n"
		"its zone, before the guest runs.  Without a MAC one is made up, and stays.\n\n"
		"--nic: network, mac, address, tag, trunk, serves, queues, mtu, and limits as for "
		"a\n"
		"port (ingress-kbps, mac-limit, storm-limit, connection-limit, half-open-limit,\n"
		"new-connection-limit).  Lists: the key once more.\n"
		"--disk: path, format (raw, qcow2, vmdk, vhost-user), readonly, direct, serial.\n"
		"--option: rng, balloon, console (on, off); irqchip (auto, split); stop-seconds "
		"(60),\n"
		"how long it may take to shut down; restart-seconds (1), pause before it is "
		"started\n"
		"again, doubled each time; restart-limit (5), quick failures in a row until it is "
		"left\n"
		"failed; user (nobody), whom its VMM becomes.\n\n"
		"  cordon vm create -f vm.yaml --start\n"
		"  cordon vm create web1 --memory 512M --kernel /srv/vmlinuz --initrd /srv/initrd "
		"\\\n"
		"      --nic network=lan,address=10.0.0.11,tag=tier=web --disk path=/srv/web1.img"},
	{"vm", "set", "NAME", cli_vm_set, cli_vm_set_options, "change a guest",
		"Only what is named changes.  `--nic N,KEY=VALUE` changes vNIC N, `--nic "
		"KEY=VALUE` "
		"adds\n"
		"one; --disk gives all disks anew; a file's `nics` and `disks` are all that there "
		"are.\n"
		"Network, addresses, tags and limits change under traffic, the rest at the next "
		"start.\n\n"
		"  cordon vm set web1 --nic 0,tag=tier=web,tag=stage=test\n"
		"  cordon vm set web1 --memory 1G --restart on-failure"},
	{"vm", "delete", "NAME", cli_vm_delete, cli_vm_delete_options, "remove a guest",
		"With its ports.  The files of its disks stay."},
	{"vm", "start", "NAME", cli_vm_start, cli_vm_start_options, "start a guest",
		"Waits until it runs, or says why it does not.  One that has ended or failed is "
		"started\n"
		"once more; one that is paused goes on."},
	{"vm", "stop", "NAME", cli_vm_stop, cli_vm_stop_options, "shut a guest down",
		"Presses its power button, and ends it if it has not shut down within "
		"stop-seconds\n"
		"(an option of the VM; 60)."},
	{"vm", "pause", "NAME", cli_vm_pause, cli_vm_start_options, "stop a guest's processors",
		"Its memory stays, and its connections, as far as their other ends wait."},
	{"vm", "resume", "NAME", cli_vm_resume, cli_vm_start_options, "let a paused guest go on",
		NULL},
	{"vm", "balloon", "NAME SIZE", cli_vm_balloon, cli_vm_start_options,
		"have a guest give memory back",
		"SIZE is in MiB, as 256 or 256M, or in GiB, as 2G; 0 leaves it all its memory.  "
		"The guest\n"
		"is asked, and gives what it can spare; `cordon vm show` says how much that is.  "
		"What is\n"
		"asked stays asked: of one that does not run, from its next start on.\n\n"
		"  cordon vm balloon web1 512M"},
	{"vm", "list", NULL, cli_vm_list, cli_vm_list_options, "all guests of the host", NULL},
	{"vm", "show", "NAME", cli_vm_show, NULL, "everything about one guest", NULL},
	{"vm", "console", "NAME", cli_vm_console, cli_vm_console_options, "a guest's console",
		"Begins with the last 64 KiB that the guest has written.  Ctrl-] leaves it.  "
		"Several\n"
		"may look on at once; into a pipe it writes what the guest writes.\n\n"
		"  cordon vm console web1\n"
		"  cordon vm console web1 --output-only | tee web1.log"},
	{"vm", "stats", "[NAME]", cli_vm_stats, NULL, "what guests use, or one guest's counters",
		"Renewed every five seconds."},

	{"mac", "list", NULL, cli_mac_list, NULL, "which MAC is behind which port", NULL},
	{"drops", NULL, "[PORT]", cli_drops, cli_drops_options, "why packets were dropped",
		"Every reason for which the switch drops packets has a name; those that have not\n"
		"occurred are left out unless --all is given."},
	{"trace", NULL, "PORT", cli_trace, cli_trace_options,
		"what would become of a packet from a port, and why",
		"Tells each step that the packet would take through the switch, down to the rule\n"
		"that decides, and changes nothing.  The sender is the port, by its own MAC and\n"
		"address; the receiver's MAC is that of the port which has the address.  With\n"
		"--send the packet is sent for real as well, as if it had come in by the port, "
		"and\n"
		"what happened is told beside what was foretold.\n\n"
		"  cordon trace web1 --to 10.0.0.12 --tcp 5432\n"
		"  cordon trace web1 --to 2001:db8::12 --udp 53 --payload 40\n"
		"  cordon trace up0 --from 192.0.2.1 --mac-from 00:00:5e:00:53:01 --to 10.0.0.11\n"
		"  cordon trace web1 --pcap refused.pcap --frame 3\n"
		"  cordon trace web1 --to 10.0.0.12 --tcp 5432 --send --wait 3"},
	{"capture", NULL, "ENDPOINT...", cli_capture, cli_capture_options,
		"frames of ports, VMs or zones, with what became of each",
		"ENDPOINT is a port, a VM or a zone; port:NAME, vm:NAME or zone:NAME says which, "
		"if "
		"it\n"
		"could be several.  Frames are seen as a port has received them, and as they "
		"leave,\n"
		"with all that was rewritten; each carries a comment: verdict, drop reason, rule,\n"
		"policy revision, port in, ports out.  Ends by itself after 10 minutes or 100 MiB\n"
		"unless told otherwise.  A slow disk or reader loses frames, which are counted,\n"
		"and never holds up the switch.\n\n"
		"  cordon capture web1\n"
		"  cordon capture web1 --filter 'tcp port 443' -w web1.pcapng\n"
		"  cordon capture zone:db --verdict denied --seconds 60 -w denied.pcapng\n"
		"  cordon capture web1 -w - | tshark -r - -T fields -e frame.number -e "
		"frame.comment"},
	{"worker", "list", NULL, cli_worker_list, NULL, "the workers, and the queues they poll",
		NULL},
	{"version", NULL, NULL, cli_version, NULL, "versions of this program and of the switch",
		NULL},
	{"help", NULL, "[COMMAND...]", cli_help, NULL, "help on a command, or on all", NULL},
	{0},
};
