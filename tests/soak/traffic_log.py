# SPDX-License-Identifier: Apache-2.0
"""The traffic log against what the stations saw: each connection of which a frame arrived began and ended there."""

import collections
import ipaddress

import sinks
from world import SERVICE_PORT

JOURNAL_LINES = 200


def expected(course):
    """{(source, port, destination, port): when a frame of it first arrived}"""
    flows = {}
    with open(course.stations.flows, encoding="ascii") as file:
        for line in file:
            when, source, destination, service, version, port = line.split()
            ends = [course.world.endpoints[int(number)] for number in (source, destination)]
            addresses = [str(ipaddress.ip_address(end.ipv4 if version == "4" else end.ipv6)) for end in ends]
            flows.setdefault((addresses[0], int(port), addresses[1], SERVICE_PORT + int(service)), float(when))
    for when, version, port in course.tcp_opened:
        client, server = (str(ipaddress.ip_address(host.address(version))) for host in course.tcp_hosts)
        flows.setdefault((client, port, server, 80), when)
    return flows


def key_of(record):
    return (record["source_address"], record["source_transport_port"], record["destination_address"],
            record["destination_transport_port"])


def judge(course):
    promises, flows = course.promises, expected(course)
    starts, ends, lost = collections.Counter(), collections.Counter(), 0
    stored = course.switch.log()
    sinks.judge(course, stored)
    for record in stored:
        if record["kind"] == "start":
            starts[key_of(record)] += 1
        elif record["kind"] == "end":
            ends[key_of(record)] += 1
        elif record["kind"] == "gap":
            lost += record["packets_forward"]
    silent = [key for key in flows if starts[key] == 0]
    endless = [key for key, count in starts.items() if ends[key] < count]
    beginless = [key for key, count in ends.items() if starts[key] < count]
    for key in silent[:JOURNAL_LINES]:
        course.journal.write(f"no beginning of {key}, whose first frame arrived at {flows[key]:.3f}")
    for key in (endless + beginless)[:JOURNAL_LINES]:
        course.journal.write(f"{starts[key]} beginnings, {ends[key]} ends of {key}")
    missing = len(silent) + len(endless) + len(beginless)
    promises.check("the log is complete, or says what it lost", missing <= lost,
                   f"{sum(starts.values())} beginnings, {sum(ends.values())} ends of {len(flows)} connections; "
                   f"{missing} records are missing ({len(silent)} beginnings, {len(endless)} ends), gaps tell of {lost}"
                   + (f"; for instance {(silent + endless + beginless)[0]}" if missing > lost else ""))
