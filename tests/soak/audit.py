# SPDX-License-Identifier: Apache-2.0
"""Looks at a switch whose traffic rests: does what is allowed pass, and do the counters add up?"""

import time

from cordon import wait_for

SETTLE_SECONDS = 20
PROBE_SECONDS = 10


def quietly(condition, seconds, what):
    """wait_for() that gives False for a time-out."""
    try:
        wait_for(condition, seconds, what)
        return True
    except AssertionError:
        return False


def audit(course):
    course.journal.did("audit")
    wait_links(course)
    check_allowed(course)
    check_counters(course)


def wait_links(course):
    """Guests have found their switch again, and the switch its guests."""
    def down():
        wires = course.stations.report()["wires"]
        links = {row["name"]: row["link"] for row in course.switch.json("port", "list")}
        return [name for name in course.world.wires if not wires[name]["up"] or links.get(name) != "up"]

    joined = quietly(lambda: not down(), SETTLE_SECONDS, "all links")
    course.promises.check("guests and switch find each other again", joined, ", ".join(down()) or "all links are up")


def check_allowed(course):
    """Every pair that the policy in force allows gets a frame through."""
    course.stations.tell("probe", "first")
    limit = time.monotonic() + PROBE_SECONDS
    while (waiting := course.stations.waiting()) and time.monotonic() < limit:
        time.sleep(0.3)
        course.stations.tell("probe", "again")
    allowed = course.world.truth().count("A")
    seen = f"{' '.join(waiting[:20])} did not, of {allowed} pairs" if waiting else f"all of {allowed} pairs"
    course.promises.check("what is allowed passes", not waiting, seen)


def surplus(frames):
    """What came in or was made, less what went out, was dropped, or waits for the rest of its datagram."""
    return (frames["received"] + frames["copied"] + frames["answered"] + frames["cut"]
            - frames["sent"] - frames["dropped"] - frames["held"])


def check_counters(course):
    """docs/packet-path.md has the equation.  A frame may be on its way at any moment, but not at all of them."""
    def frames():
        return course.switch.status()["frames"]

    quietly(lambda: surplus(frames()) == 0, SETTLE_SECONDS, "balanced counters")
    seen = frames()
    course.promises.check("counters add up", surplus(seen) == 0,
                          f"surplus {surplus(seen)}: " + ", ".join(f"{value} {name}" for name, value in seen.items()))


def wait_no_connections(course):
    left = quietly(lambda: course.switch.status()["connections"]["count"] == 0, SETTLE_SECONDS, "no connections")
    count = course.switch.status()["connections"]["count"]
    course.promises.check("flushed connections end", left, f"{count} are left")


def judge_delivery(course):
    report, promises = course.report, course.promises
    told = course.stations.told_violations()

    def verdict(name, counter, otherwise):
        promises.check(name, report[counter] == 0,
                       f"{report[counter]}; the first: {told[0]}" if report[counter] else otherwise)

    arrived = sum(value for name, value in report.items() if name.endswith("_arrived"))
    verdict("no frame reaches another than it is for", "wrong",
            f"{arrived} frames arrived, {report['flooded']} flooded")
    verdict("what is denied stays out", "denied_seen", f"{report['denied_tries']} tries")
    verdict("who speaks for another is not heard", "spoofed_seen", f"{report['spoofed_sent']} tries")
    verdict("frames arrive as they were sent", "damaged", "no frame damaged")
    promises.check("TCP connections carry their own bytes", course.tcp_mixed_up == 0 and course.tcp_exchanged > 0,
                   f"{course.tcp_exchanged} exchanges, {course.tcp_mixed_up} mixed up")
    promises.check("traffic flowed", report["request_arrived"] > 0 and report["denied_tries"] > 0,
                   f"{report['request_arrived']} of {report['request_sent']} requests arrived")
