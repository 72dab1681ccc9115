# SPDX-License-Identifier: Apache-2.0
"""Policies with many rules, like those of a company: most from zone to zone, some from or to any zone, a few for all.

Between the zones of the bench's two guests there are rules, too, before the one that allows their traffic: it is
the last of all, so a firewall that tries one rule after the other has to try them all.
"""

import random

TIERS = ("emergency", "environment", "application")
HEAD = """\
zones:
  left: {match: "side=a"}
  right: {match: "side=b"}
"""
# What the generator's guests speak; see its frame.c.  No other rule is about these ports.
LAST_RULE = "  - {id: left-to-right, from: left, to: right, service: udp/2000-2999, action: allow, log: session}\n"
TAIL = "baseline: {between_zones: deny, within_zone: allow, log: denied}\n"


def zone_names(rules):
    return [f"z{number}" for number in range(min(500, max(10, rules // 250)))]


def ends(draw, zones):
    """From and to of one rule."""
    kind = draw.randrange(1000)
    if kind < 50:
        return "any", draw.choice(zones)
    if kind < 100:
        return draw.choice(zones), "any"
    if kind < 102:
        return "any", "any"
    if kind < 105:
        return "left", "right"
    return draw.choice(zones), draw.choice(zones)


def service(draw):
    return f"{draw.choice(('tcp', 'tcp', 'tcp', 'udp'))}/{draw.randrange(3000, 9000)}"


def rule(draw, number, zones):
    source, destination = ends(draw, zones)
    action = draw.choice(("allow", "allow", "allow", "deny"))
    return (f"  - {{id: rule-{number}, from: {source}, to: {destination}, service: {service(draw)}, "
            f"action: {action}, log: session}}\n")


def deny_service(service):
    """A rule before the one that allows the guests' traffic."""
    return f"  - {{id: denied, from: left, to: right, service: {service}, action: deny}}\n"


def many_rules(rules, more=""):
    """A policy of so many rules; the same one every time.  `more` stands before the last of them."""
    draw = random.Random(rules)
    zones = zone_names(rules)
    parts = [HEAD, *(f"  {zone}: {{match: zone={zone}}}\n" for zone in zones), "policies:\n"]
    for number in range(rules - 1):
        if number % (rules // len(TIERS) + 1) == 0:
            tier = TIERS[number // (rules // len(TIERS) + 1)]
            parts.append(f"- id: of-{tier}\n  tier: {tier}\n  rules:\n")
        parts.append(rule(draw, number, zones))
    return "".join([*parts, more, LAST_RULE, TAIL])
