# SPDX-License-Identifier: Apache-2.0
"""Hosts: network namespaces whose eth0 is one end of a veth; the other end is plugged into a switch.

A Host's sockets are made by a thread that enters the namespace for as long as that takes, so a test uses them like
its own:

    web.connect(db.ipv4, 5432).sendall(b"hello")
    db.packets.send(frame); db.packets.receive(...)
"""

import contextlib
import ctypes
import errno
import ipaddress
import itertools
import os
import random
import select
import socket
import struct
import subprocess
import threading
import time

from cordon import unique

CLONE_NEWNET = 0x40000000
SO_RCVBUFFORCE = 33
SOL_PACKET, PACKET_AUXDATA, TP_STATUS_VLAN_VALID = 263, 8, 1 << 4

_witnesses = itertools.count(1)
_libc = ctypes.CDLL(None, use_errno=True)


def run(*words, check=True, text=None):
    result = subprocess.run(list(map(str, words)), capture_output=True, text=True, input=text, timeout=60, check=False)
    if check and result.returncode != 0:
        raise RuntimeError(f"{' '.join(map(str, words))}: {result.stdout}{result.stderr}")
    return result


def ip_batch(commands, namespace=None):
    run("ip", *(["-netns", namespace] if namespace else []), "-batch", "-", text="\n".join(commands) + "\n")


@contextlib.contextmanager
def inside(namespace):
    """The calling thread, and what it starts, is in a namespace within the `with` block; None: where it is already."""
    if namespace is None:
        yield
        return
    with open("/proc/thread-self/ns/net", "rb") as home, open(f"/run/netns/{namespace}", "rb") as there:
        if _libc.setns(there.fileno(), CLONE_NEWNET) != 0:
            raise OSError(ctypes.get_errno(), f"cannot enter {namespace}")
        try:
            yield
        finally:
            _libc.setns(home.fileno(), CLONE_NEWNET)


class Host:
    """A machine on the network, numbered 1 to 254: 10.0.NET.NUMBER, fd00:NET::NUMBER, 02:00:00:00:NET:NUMBER."""

    def __init__(self, name, number, net=0, mtu=1500, outside=None):
        self.name = name
        self.namespace = unique("cdn-")
        self.device = unique("cd")  # The end that is plugged into the switch.
        self.outside = outside  # The namespace of `device`, made for it; None: the test's own.
        self.mac = f"02:00:00:00:{net:02x}:{number:02x}"
        self.ipv4 = f"10.0.{net}.{number}"
        self.ipv6 = str(ipaddress.ip_address(f"fd00:{net:x}::{number:x}"))
        self._packets = None
        self._processes = []
        try:
            self._create(mtu)
        except BaseException:
            self.close()
            raise

    def _create(self, mtu):
        ip_batch([f"netns add {namespace}" for namespace in self._namespaces()])
        ip_batch([f"link add {self.device} mtu {mtu} type veth peer name eth0 address {self.mac} mtu {mtu}"
                  f" netns {self.namespace}"], self.outside)
        # Nothing of the namespace outside may speak on the wire, and addresses are to be usable at once.
        setting = f"/proc/sys/net/ipv6/conf/{self.device}/disable_ipv6"
        with inside(self.outside), open(setting, "w", encoding="ascii") as file:
            file.write("1")
        with self.entered():
            for name, value in (("accept_dad", 0), ("router_solicitations", 0), ("use_tempaddr", 0)):
                for interface in ("default", "eth0"):
                    with open(f"/proc/sys/net/ipv6/conf/{interface}/{name}", "w", encoding="ascii") as file:
                        file.write(str(value))
        ip_batch([f"link set {self.device} up"], self.outside)
        ip_batch(["link set lo up", "link set eth0 up", f"address add {self.ipv4}/24 dev eth0",
                  f"address add {self.ipv6}/64 dev eth0 nodad"], self.namespace)

    def _namespaces(self):
        return [self.namespace, *filter(None, [self.outside])]

    def close(self):
        for process in self._processes:
            process.kill()
            process.wait()
        self._processes.clear()
        if self._packets:
            self._packets.close()
            self._packets = None
        run("ip", *(["-netns", self.outside] if self.outside else []), "link", "delete", self.device, check=False)
        for namespace in self._namespaces():
            run("ip", "netns", "delete", namespace, check=False)

    def report(self):
        """All that helps to see why a test failed."""
        shown = [run("ip", "-netns", self.namespace, "-statistics", *words, "dev", "eth0", check=False)
                 for words in (("link", "show"), ("neighbour", "show"))]
        return "".join(result.stdout + result.stderr for result in shown)

    # --- Being there -------------------------------------------------------------------------------------------

    def entered(self):
        """The calling thread is in the namespace within the `with` block."""
        return inside(self.namespace)

    def socket(self, *arguments):
        with self.entered():
            return socket.socket(*arguments)

    def run(self, *words, check=True):
        return run("ip", "netns", "exec", self.namespace, *words, check=check)

    def start(self, *words, **options):
        """A process that goes on in the namespace; it ends with the host at the latest."""
        process = subprocess.Popen(["ip", "netns", "exec", self.namespace, *map(str, words)], **options)
        self._processes.append(process)
        return process

    @property
    def packets(self):
        """Raw frames on eth0."""
        if self._packets is None:
            self._packets = Packets(self)
        return self._packets

    def address(self, version):
        return self.ipv4 if version == 4 else self.ipv6

    def silence(self):
        """From now on its own IP stack says and answers nothing: all that is sent from there is the test's."""
        run("ip", "-netns", self.namespace, "address", "flush", "dev", "eth0")
        with self.entered(), open("/proc/sys/net/ipv6/conf/eth0/disable_ipv6", "w", encoding="ascii") as file:
            file.write("1")

    def knows(self, other):
        """Fixed neighbour entries, for what is not about ARP and neighbour discovery."""
        for address in (other.ipv4, other.ipv6):
            run("ip", "-netns", self.namespace, "neighbour", "replace", address, "lladdr", other.mac, "dev", "eth0")

    # --- Traffic -----------------------------------------------------------------------------------------------

    def ping(self, address, count=1, size=56, wait=5.0):
        """How many of so many echo requests were answered, the last of them within that time."""
        with contextlib.closing(Echo(self, address, size)) as echo:
            for number in range(count):
                time.sleep(echo.INTERVAL_S if number else 0)
                echo.send()
            echo.receive(time.monotonic() + wait)
            return len(echo.answered)

    def connect(self, address, port, seconds=10.0, source_port=None):
        """A TCP connection, or an OSError (TimeoutError, ConnectionRefusedError...).  So many seconds are also what its
        answers are waited for."""
        family = socket.AF_INET6 if ":" in address else socket.AF_INET
        connection = self.socket(family, socket.SOCK_STREAM)
        connection.settimeout(seconds)
        try:
            if source_port:
                connection.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                connection.bind((self.address(6 if ":" in address else 4), source_port))
            connection.connect((address, port))
        except OSError:
            connection.close()
            raise
        return connection

    def can_connect(self, address, port, seconds=10.0):
        """Where nothing but silence is expected, less time tells as much."""
        try:
            self.connect(address, port, seconds).close()
            return True
        except OSError:
            return False

    def can_ask(self, address, port, seconds=10.0, payload=b"ping", source_port=0):
        """True if a UDP echo server at the other end answers.  An ICMP error ends the wait: False."""
        family = socket.AF_INET6 if ":" in address else socket.AF_INET
        with self.socket(family, socket.SOCK_DGRAM) as client:
            client.bind(("::" if family == socket.AF_INET6 else "", source_port))
            client.connect((address, port))
            client.settimeout(seconds)
            try:
                client.send(payload)
                return client.recv(65535) == payload
            except OSError:
                return False


class Packets:
    """A raw socket on a host's eth0: scapy makes and reads the frames, this carries them."""

    def __init__(self, host):
        self.socket = host.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(3))
        self.socket.bind(("eth0", 3))
        # Beyond what net.core.rmem_max allows: all that comes waits here until the test looks.
        self.socket.setsockopt(socket.SOL_SOCKET, SO_RCVBUFFORCE, 8 << 20)
        self.socket.setsockopt(SOL_PACKET, PACKET_AUXDATA, 1)
        self.socket.setblocking(False)

    def close(self):
        self.socket.close()

    def send(self, *frames):
        for frame in frames:
            self._send_one(bytes(frame))

    def _send_one(self, frame):
        limit = time.monotonic() + 10
        while True:
            over = time.monotonic() > limit
            try:
                self.socket.send(frame)
                return
            except OSError as error:
                if over or not (isinstance(error, BlockingIOError) or error.errno == errno.ENOBUFS):
                    raise
                time.sleep(0.001)

    def drain(self):
        """Forgets what has come in so far."""
        for _ in self.pending():
            pass

    def pending(self):
        """What other hosts have sent (a raw socket sees its own frames as well)."""
        while True:
            try:
                frame, ancillary, _, address = self.socket.recvmsg(65536, 64)
            except BlockingIOError:
                return
            if address[2] != socket.PACKET_OUTGOING:
                yield self._with_tag(frame, ancillary)

    @staticmethod
    def _with_tag(frame, ancillary):
        """The kernel takes the VLAN tag out of the frame and tells it beside (packet(7), PACKET_AUXDATA)."""
        for level, kind, data in ancillary:
            if level == SOL_PACKET and kind == PACKET_AUXDATA:
                status, _, _, _, _, tci, tpid = struct.unpack("<IIIHHHH", data[:20])
                if status & TP_STATUS_VLAN_VALID:
                    return frame[:12] + struct.pack("!HH", tpid or 0x8100, tci) + frame[12:]
        return frame

    def receive(self, condition=lambda frame: True, seconds=20.0, count=1):
        """The first `count` frames, as scapy's Ether, that meet the condition; fewer when the time is over.  What has
        come in by then is looked at, however late."""
        from scapy.layers.l2 import Ether

        found = []
        limit = time.monotonic() + seconds
        while len(found) < count:
            left = limit - time.monotonic()
            select.select([self.socket], [], [], max(left, 0))
            for raw in self.pending():
                frame = Ether(raw)
                if condition(frame):
                    found.append(frame)
            if left <= 0:
                break
        return found


def heard_before_witness(sender, others):
    """What the others have received, frame by frame and by their names, before a frame that the sender sends now and that
    reaches all of them whatever the rules: an ARP announcement.  So all is there that came of what it sent earlier."""
    from scapy.layers.l2 import ARP, Ether

    number = next(_witnesses)
    witness = bytes(Ether(src=sender.mac, dst="ff:ff:ff:ff:ff:ff") / ARP(
        op=2, hwsrc=sender.mac, psrc=sender.ipv4, hwdst=sender.mac, pdst=f"10.254.{number >> 8 & 255}.{number & 255}"))
    frames, waiting = {one.name: [] for one in others}, list(others)
    sender.packets.send(witness)
    limit = time.monotonic() + 20
    while waiting:
        left = limit - time.monotonic()
        assert left > 0, f"{[one.name for one in waiting]} did not hear the witness of {sender.name} within 20 s"
        select.select([one.packets.socket for one in waiting], [], [], left)
        for one in list(waiting):
            for raw in one.packets.pending():
                if raw[:len(witness)] == witness:
                    waiting.remove(one)
                    break
                frames[one.name].append(raw)
    return frames


class Echo:
    """Echo requests from a host, and the answers to them, however late: ping(8) does not wait for the last ones where it
    has had others."""

    INTERVAL_S = 0.05
    TYPES = {4: (8, 0), 6: (128, 129)}  # Of a request and its answer.

    def __init__(self, host, address, size):
        version = 6 if ":" in address else 4
        self.address, self.size = address, size
        self.request, self.answer = self.TYPES[version]
        # The kernel fills ICMPv6's checksum in, and keeps the IPv6 header to itself.
        self.is_ipv4 = version == 4
        self.socket = host.socket(socket.AF_INET if self.is_ipv4 else socket.AF_INET6, socket.SOCK_RAW,
                                  socket.IPPROTO_ICMP if self.is_ipv4 else socket.IPPROTO_ICMPV6)
        self.socket.setblocking(False)
        self.identifier = random.randrange(1 << 16)
        self.sent = 0
        self.answered = set()

    def close(self):
        self.socket.close()

    def send(self):
        self.sent += 1
        message = struct.pack("!BBHHH", self.request, 0, 0, self.identifier, self.sent) + bytes(self.size)
        if self.is_ipv4:
            message = message[:2] + struct.pack("!H", internet_checksum(message)) + message[4:]
        with contextlib.suppress(OSError):  # It cannot be sent, or an earlier one could not.
            self.socket.sendto(message, (self.address, 0))

    def receive(self, until):
        """Waits until all are answered, or it is that time and nothing more has come in."""
        while len(self.answered) < self.sent:
            left = until - time.monotonic()
            if not select.select([self.socket], [], [], max(left, 0))[0] and left <= 0:
                return
            with contextlib.suppress(OSError):
                self._take(self.socket.recv(65536))

    def _take(self, message):
        if self.is_ipv4:
            message = message[4 * (message[0] & 15):]
        kind, code, _, identifier, number = struct.unpack_from("!BBHHH", message)
        if (kind, code, identifier) == (self.answer, 0, self.identifier) and len(message) == 8 + self.size:
            self.answered.add(number)


def internet_checksum(data):
    """RFC 1071."""
    total = sum(struct.unpack(f"!{(len(data) + 1) // 2}H", data + bytes(len(data) % 2)))
    while total >> 16:
        total = (total & 0xffff) + (total >> 16)
    return ~total & 0xffff


class Server:
    """Base of the servers below: a thread that handles what comes until close()."""

    def __init__(self):
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)

    def __enter__(self):
        self._thread.start()
        return self

    def __exit__(self, *_):
        self._stop.set()
        self._thread.join(5)

    def _run(self):
        raise NotImplementedError


class TcpServer(Server):
    """Accepts on one port, IPv4 and IPv6.  Echoes, or, with sink=True, only counts what it was sent."""

    def __init__(self, host, port, sink=False):
        super().__init__()
        self.listener = host.socket(socket.AF_INET6, socket.SOCK_STREAM)
        self.listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self.listener.bind(("::", port))
        self.listener.listen(64)
        self.sink = sink
        self.received = 0
        self.accepted = 0
        self.connections = []

    def __exit__(self, *arguments):
        super().__exit__(*arguments)
        for connection in [self.listener, *self.connections]:
            connection.close()

    def _run(self):
        while not self._stop.is_set():
            readable, _, _ = select.select([self.listener, *self.connections], [], [], 0.05)
            for one in readable:
                if one is self.listener:
                    self.connections.append(one.accept()[0])
                    self.accepted += 1
                else:
                    self._serve(one)

    def _serve(self, connection):
        try:
            data = connection.recv(1 << 20)
            self.received += len(data)  # Before the other side knows that it has arrived.
            if data and not self.sink:
                connection.sendall(data)
        except OSError:
            data = b""
        if not data:
            self.connections.remove(connection)
            connection.close()


class UdpServer(Server):
    """Echoes datagrams."""

    def __init__(self, host, port):
        super().__init__()
        self.socket = host.socket(socket.AF_INET6, socket.SOCK_DGRAM)
        self.socket.bind(("::", port))
        self.received = 0

    def __exit__(self, *arguments):
        super().__exit__(*arguments)
        self.socket.close()

    def _run(self):
        while not self._stop.is_set():
            if select.select([self.socket], [], [], 0.05)[0]:
                data, sender = self.socket.recvfrom(65535)
                self.received += 1
                try:
                    self.socket.sendto(data, sender)
                except OSError:
                    pass  # An ICMP error for an earlier answer.


def is_root():
    return os.geteuid() == 0
