# SPDX-License-Identifier: Apache-2.0
"""Transactions on a switch's database without `cordon` (RFC 7047): what a stranger, or a mistake, could write."""

import json
import os
import socket


def transact(switch, *operations):
    """Carries the operations out as one transaction; returns their results, or fails with the server's words."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as server:
        server.settimeout(120)
        server.connect(os.path.join(switch.run, "db.sock"))
        server.sendall(json.dumps({"method": "transact", "params": ["Cordon", *operations], "id": 1}).encode())
        text = b""
        decoder = json.JSONDecoder()
        while True:
            part = server.recv(1 << 20)
            assert part, f"the database hung up: {text[:200]!r}"
            text += part
            try:
                answer, _ = decoder.raw_decode(text.decode())
            except ValueError:
                continue
            break
    results = answer["result"]
    wrong = [one for one in results or [] if one and "error" in one]
    assert results is not None and not wrong, f"{answer['error']} {wrong}"
    return results


def root(switch):
    """The root row's columns of the policy."""
    return transact(switch, {"op": "select", "table": "Cordon", "where": []})[0]["rows"][0]


def update_root(switch, **columns):
    transact(switch, {"op": "update", "table": "Cordon", "where": [], "row": columns})


def insert_revision(switch, number, document):
    """A revision that nothing has checked, which is the one wanted at once."""
    transact(switch, {"op": "insert", "table": "Policy_Revision",
                      "row": {"number": number, "author": "mallory", "time": 1, "comment": "", "document": document}},
             {"op": "update", "table": "Cordon", "where": [], "row": {"policy_wanted": number}})


def delete_revision(switch, number):
    transact(switch, {"op": "delete", "table": "Policy_Revision", "where": [["number", "==", number]]})
