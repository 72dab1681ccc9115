# SPDX-License-Identifier: Apache-2.0
"""Collectors of flow records on the loopback: one of our own, nfcapd, and tshark on what was captured.

    with Collector("tcp") as collector:
        switch.cordon("sink", "add", "flows", "ipfix", f"collector={collector.endpoint}", "transport=tcp")
        collector.wait(lambda flow: flow["cordonKind"] == "end")
"""

import contextlib
import json
import os
import re
import signal
import socket
import struct
import subprocess
import threading
import xml.etree.ElementTree

from cordon import wait_for

LOOPBACK = "127.0.0.1"
TEMPLATES, OPTIONS_TEMPLATES = 2, 3
HEADER_BYTES = 16
VARIABLE = 65535
ENTERPRISE, REVERSE = 0x8000, 29305
GAP = 261  # The first of the options' templates; flows have those before it.

# IANA's names of the elements that the stories look at.
NAMES = {(0, 4): "protocolIdentifier", (0, 7): "sourceTransportPort", (0, 8): "sourceIPv4Address",
         (0, 11): "destinationTransportPort", (0, 12): "destinationIPv4Address", (0, 10): "ingressInterface",
         (0, 82): "interfaceName", (0, 86): "packetTotalCount", (0, 166): "notSentFlowTotalCount",
         (0, 233): "firewallEvent", (0, 303): "informationElementId", (0, 339): "informationElementDataType",
         (0, 341): "informationElementName", (0, 346): "privateEnterpriseNumber"}
SO_RCVBUFFORCE = 33  # Which Python does not name.
STRING = 13  # RFC 5610's data types.


class Session:
    """One transport session: its templates, what it has announced, and how far its sequence numbers are."""

    def __init__(self):
        self.templates = {}
        self.types = {}
        self.sequence = 0

    def message(self, data):
        """The records of a message, each a dictionary by the elements' names.  ValueError if it is no good."""
        version, length, _, sequence, domain = struct.unpack_from("!HHIII", data)
        if version != 10 or length != len(data):
            raise ValueError(f"version {version}, length {length} of {len(data)}")
        if sequence != self.sequence:
            raise ValueError(f"sequence number {sequence}, not {self.sequence}")
        records, at = [], 16
        while at < length:
            number, size = struct.unpack_from("!HH", data, at)
            if size < 5 or at + size > length:
                raise ValueError(f"a set of {size} octets, {length - at} are left")
            body = data[at + 4:at + size]
            if number in (TEMPLATES, OPTIONS_TEMPLATES):
                self._templates(body, 6 if number == OPTIONS_TEMPLATES else 4)
            else:
                records += self._records(number, body, domain)
            at += size
        self.sequence += len(records)
        return records

    def _templates(self, body, header):
        at = 0
        while at < len(body):
            number, count = struct.unpack_from("!HH", body, at)
            at += header
            fields = []
            for _ in range(count):
                element, length = struct.unpack_from("!HH", body, at)
                at += 4
                enterprise = 0
                if element & ENTERPRISE:
                    enterprise, = struct.unpack_from("!I", body, at)
                    at += 4
                fields.append((enterprise, element & ~ENTERPRISE, length))
            self.templates[number] = fields

    def _records(self, number, body, domain):
        if number not in self.templates:
            raise ValueError(f"template {number} was not announced")
        records, at = [], 0
        while at < len(body):
            record = {"template": number, "domain": domain}
            for enterprise, element, length in self.templates[number]:
                if length == VARIABLE:
                    length, at = body[at], at + 1
                    if length == 255:
                        length, at = struct.unpack_from("!H", body, at)[0], at + 2
                if at + length > len(body):
                    raise ValueError(f"a record of template {number} is cut off")
                self._value(record, enterprise, element, body[at:at + length])
                at += length
            if "informationElementName" in record:
                key = (record["privateEnterpriseNumber"], record["informationElementId"])
                self.types[key] = (record["informationElementName"], record["informationElementDataType"])
            records.append(record)
        return records

    def _value(self, record, enterprise, element, value):
        name, kind = self.types.get((enterprise, element), (None, None))
        if enterprise == REVERSE:
            name = "reverse " + NAMES.get((0, element), str(element))
        elif not name:
            name = NAMES.get((enterprise, element), f"{enterprise}/{element}")
        is_text = kind == STRING or name.endswith("Name")
        record[name] = value.decode("utf-8") if is_text else int.from_bytes(value, "big")


class Collector:
    """Receives on the loopback, until it is closed, and reads what comes.  `error` is the first thing that was wrong."""

    def __init__(self, transport, port=0):
        self.transport = transport
        self.records = []
        self.last = b""  # The header of the last message, which no other has.
        self.error = None
        self.socket = socket.socket(socket.AF_INET, socket.SOCK_STREAM if transport == "tcp" else socket.SOCK_DGRAM)
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if transport == "udp":
            self.socket.setsockopt(socket.SOL_SOCKET, SO_RCVBUFFORCE, 8 << 20)
        self.socket.bind((LOOPBACK, port))
        self.port = self.socket.getsockname()[1]
        self.endpoint = f"{LOOPBACK}:{self.port}"
        self.socket.settimeout(0.1)
        if transport == "tcp":
            self.socket.listen(1)
        self.closing = False
        self.thread = threading.Thread(target=self._run, daemon=True)
        self.thread.start()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    def close(self):
        self.closing = True
        self.thread.join(10)
        self.socket.close()

    def flows(self, **fields):
        """The flows whose elements have these values, as they came."""
        return [record for record in list(self.records) if record["template"] < GAP
                and all(record.get(name) == value for name, value in fields.items())]

    def wait(self, count=1, seconds=15, **fields):
        return wait_for(lambda: self.error or (found := self.flows(**fields)) and len(found) >= count and found,
                        seconds, f"{count} flows with {fields}")

    def _run(self):
        try:
            if self.transport == "udp":
                self._datagrams()
            else:
                self._connections()
        except (ValueError, OSError, struct.error, IndexError, UnicodeDecodeError) as error:
            self.error = repr(error)

    def _datagrams(self):
        sessions = {}
        while not self.closing:
            with contextlib.suppress(TimeoutError):
                data, peer = self.socket.recvfrom(65536)
                self.last = data[:HEADER_BYTES]
                self.records += sessions.setdefault(peer, Session()).message(data)

    def _connections(self):
        while not self.closing:
            with contextlib.suppress(TimeoutError):
                connection, _ = self.socket.accept()
                with connection:
                    connection.settimeout(0.1)
                    self._stream(connection)

    def _stream(self, connection):
        session, data = Session(), b""
        while not self.closing:
            with contextlib.suppress(TimeoutError):
                more = connection.recv(1 << 16)
                if not more:
                    return
                data += more
            while len(data) >= 4 and len(data) >= (length := struct.unpack_from("!H", data, 2)[0]):
                self.last = data[:HEADER_BYTES]
                self.records += session.message(data[:length])
                data = data[length:]


class Nfcapd:
    """nfdump's collector.  stop() returns what it has collected, and what it said."""

    def __init__(self, directory):
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
            probe.bind((LOOPBACK, 0))
            self.port = probe.getsockname()[1]
        self.endpoint = f"{LOOPBACK}:{self.port}"
        self.directory = str(directory)
        self.log = os.path.join(self.directory, "log")
        self.flows = os.path.join(self.directory, "flows")
        os.mkdir(self.flows)
        with open(self.log, "wb") as file:
            self.process = subprocess.Popen(["nfcapd", "-w", self.flows, "-b", LOOPBACK, "-p", str(self.port)],
                                            stdout=file, stderr=file, start_new_session=True)
        wait_for(lambda: "Startup" in self.said(), 10, "nfcapd is ready")

    def said(self):
        with open(self.log, encoding="utf-8", errors="replace") as file:
            return file.read()

    def stop(self):
        """When it has taken what is with its kernel: what it has not, it leaves there."""
        wait_for(lambda: self._waiting() == 0, 15, "nfcapd takes what has come")
        self.process.send_signal(signal.SIGTERM)
        self.process.wait(15)
        flows = subprocess.run(["nfdump", "-R", self.flows, "-o", "json"], capture_output=True, text=True, check=True,
                               env=dict(os.environ, TZ="UTC"))
        return json.loads(flows.stdout), self.said()

    def _waiting(self):
        """The bytes in its socket (proc(5), /proc/net/udp)."""
        with open("/proc/net/udp", encoding="ascii") as file:
            rows = [line.split() for line in file.readlines()[1:]]
        return sum(int(row[4].partition(":")[2], 16) for row in rows if int(row[1].partition(":")[2], 16) == self.port)

    def close(self):
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait(10)


class Capture:
    """tcpdump on the loopback, of one port."""

    def __init__(self, path, port):
        self.path = str(path)
        self.port = port
        self.log = self.path + ".log"
        with open(self.log, "wb") as file:
            self.process = subprocess.Popen(["tcpdump", "-i", "lo", "-U", "--immediate-mode", "-Z", "root", "-w", self.path,
                                             f"port {port}"], stdout=file, stderr=file)
        wait_for(self._listens, 10, "tcpdump listens")

    def _listens(self):
        with open(self.log, encoding="utf-8") as file:
            return "listening on" in file.read()

    def stop(self, last):
        """When what is to be the last of it has been written."""
        wait_for(lambda: self._holds(last), 15, f"{last!r} in the capture")
        self.process.send_signal(signal.SIGINT)
        self.process.wait(10)

    def _holds(self, data):
        with open(self.path, "rb") as file:
            return data in file.read()

    def close(self):
        self.process.kill()
        self.process.wait(10)

    def decode(self, transport):
        """What tshark makes of it: each flow's fields by name, what it found wrong, and the number of messages."""
        result = subprocess.run(["tshark", "-r", self.path, "-d", f"{transport}.port=={self.port},cflow", "-Y", "cflow",
                                 "-T", "pdml"], capture_output=True, check=True)
        return Decoded(xml.etree.ElementTree.fromstring(result.stdout))


class Decoded:
    WRONG = re.compile(r"malformed|no template found|unexpected|expert", re.IGNORECASE)
    OWN = re.compile(r"Type (\d+): Value")

    def __init__(self, tree):
        self.flows = []
        self.wrong = []
        self.messages = 0
        for protocol in tree.iter("proto"):
            if protocol.get("name") == "_ws.malformed":
                self.wrong.append("malformed")
            if protocol.get("name") == "cflow":
                self.messages += 1
                self._read(protocol)

    def _read(self, protocol):
        for field in protocol.iter("field"):
            shown = field.get("showname") or field.get("show") or ""
            if self.WRONG.search(field.get("name") or "") or self.WRONG.search(shown):
                self.wrong.append(shown)
            if (field.get("show") or "").startswith("Flow ") and field.find("field") is not None:
                self.flows.append(dict(self._one(part) for part in field))

    def _one(self, field):
        """An element of our own by its number, a reverse one by its name with "reverse" before it."""
        name, shown = field.get("name"), field.get("showname") or ""
        own = self.OWN.search(shown)
        if own and name == "cflow.enterprise_private_entry":
            return int(own.group(1)), bytes.fromhex(field.get("value") or "")
        return ("reverse " if "(Reverse Type" in shown else "") + name.removeprefix("cflow."), field.get("show")
