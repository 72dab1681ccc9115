# SPDX-License-Identifier: Apache-2.0
"""Real TCP with every offload as the kernel sets it, through kernel ports: unfilled checksums and large segments are
the switch's business, not the user's.

    client .1      server .2         client and server are namespaces with veths as `ip link add` makes them
      |               |
    --+---------------+--  network lan, VLAN 10
"""

import contextlib
import hashlib
import socket
import threading

import pytest

from cordon import holds_for, wait_for
from host import TcpServer

POLICY = """\
zones:
  client: {match: "zone=client"}
  server: {match: "zone=server"}
policies:
  - id: bulk
    mode: enforce
    rules:
      - {id: tcp, from: client, to: server, service: tcp/1-65535, action: allow, log: session}
      - {id: ping, from: client, to: server, service: icmp, action: allow}
baseline: {between_zones: deny, within_zone: allow, log: denied}
"""

BULK_BYTES = 24 << 20
TCP_REPAIR = 19  # linux/tcp.h: a socket that is closed with it says nothing to the other side.


class Site:
    pass


@pytest.fixture(scope="module")
def site(shared):
    one = Site()
    one.switch = shared
    shared.add_network()
    shared.policy(POLICY)
    one.client = shared.host("client", 1)
    one.server = shared.host("server", 2)
    return one


def live(site, version, source_port, server_port):
    """The rows of such a connection of the client's: the kernel may give one source port out for several servers' ports."""
    return site.switch.connections(source=site.client.address(version), source_port=source_port,
                                   destination_port=server_port)


def test_checksum_offload_is_on_at_the_sender(site):
    assert "tx-checksumming: on" in site.client.run("ethtool", "-k", "eth0").stdout


def pattern(n):
    return bytes(hashlib.sha256(b"%d" % (i // 32)).digest()[0] for i in range(0, 4096)) * (n // 4096)


def receive_all(connection, n):
    digest = hashlib.sha256()
    while n > 0:
        data = connection.recv(1 << 20)
        if not data:
            break
        digest.update(data)
        n -= len(data)
    return n, digest.hexdigest()


def test_bulk_arrives_whole_both_ways_at_once(site, version):
    """The server echoes: what comes back is what was sent, byte for byte."""
    data = pattern(BULK_BYTES)
    with TcpServer(site.server, 5001) as server:
        connection = site.client.connect(site.server.address(version), 5001, seconds=30)
        sender = threading.Thread(target=connection.sendall, args=(data,), daemon=True)
        sender.start()
        left, digest = receive_all(connection, len(data))
        sender.join(30)
        assert left == 0 and server.received == len(data)
        assert digest == hashlib.sha256(data).hexdigest()
        rows = site.switch.connections(source=site.client.address(version), destination_port=5001)
        assert rows and rows[0]["bytes_forward"] > BULK_BYTES and rows[0]["bytes_reverse"] > BULK_BYTES
        connection.close()


def test_many_connections_at_once(site, version):
    with TcpServer(site.server, 5002) as server:
        connections = [site.client.connect(site.server.address(version), 5002) for _ in range(50)]
        for i, connection in enumerate(connections):
            connection.sendall(b"%d" % i)
        for i, connection in enumerate(connections):
            assert connection.recv(100) == b"%d" % i
        assert len(site.switch.connections(state="ESTABLISHED", destination_port=5002,
                                           source=site.client.address(version))) == 50
        for connection in connections:
            connection.close()
        assert server.accepted == 50
    wait_for(lambda: not site.switch.connections(state="ESTABLISHED", destination_port=5002), 10, "their end")


def test_idle_connection_lives_and_out_of_window_segments_are_dropped(site):
    """A third party that guesses the addresses and ports, but not the sequence numbers, injects nothing."""
    from scapy.layers.inet import IP, TCP
    from scapy.layers.l2 import Ether

    with TcpServer(site.server, 5003):
        connection = site.client.connect(site.server.ipv4, 5003)
        connection.sendall(b"one")
        assert connection.recv(10) == b"one"
        source_port = connection.getsockname()[1]
        before = site.switch.drops()["tcp-out-of-window"]
        blind = (Ether(src=site.server.mac, dst=site.client.mac) / IP(src=site.server.ipv4, dst=site.client.ipv4)
                 / TCP(sport=5003, dport=source_port, seq=0x40000000, ack=0x40000000, flags="RA"))
        one, = live(site, 4, source_port, 5003)
        shown = site.switch.json("conn", "show", one["id"])
        blind[TCP].seq = (shown["tcp_responder"]["sent_end"] + 0x40000000) & 0xffffffff
        blind[TCP].ack = shown["tcp_initiator"]["sent_end"]
        site.server.packets.send(blind)
        wait_for(lambda: site.switch.drops()["tcp-out-of-window"] == before + 1, 10, "the drop")
        connection.sendall(b"two")
        assert connection.recv(10) == b"two"
        connection.close()


def test_end_of_a_connection_is_seen(site, version):
    with TcpServer(site.server, 5004):
        connection = site.client.connect(site.server.address(version), 5004)
        port = connection.getsockname()[1]
        connection.close()
        wait_for(lambda: all(row["state"] in ("TIME-WAIT", "CLOSED") for row in
                             live(site, version, port, 5004)), 10, "both FINs acknowledged")


def test_reopened_ports_make_a_new_connection(site, version):
    """A client that reuses its port at once (as a restarted program does) is not kept out by the old connection."""
    with TcpServer(site.server, 5005):
        for turn in range(5):
            connection = site.client.connect(site.server.address(version), 5005, source_port=40000)
            connection.sendall(b"turn%d" % turn)
            assert connection.recv(10) == b"turn%d" % turn
            # A reset instead of a FIN, so that the port is free at once.
            connection.setsockopt(1, 13, (1).to_bytes(4, "little") + (0).to_bytes(4, "little"))
            connection.close()


def forget(connection):
    """As if the host had crashed: the socket is gone, and the other side is not told."""
    connection.setsockopt(socket.IPPROTO_TCP, TCP_REPAIR, 1)
    connection.close()


def test_a_half_closed_connection_goes_on_one_way(site, version):
    with listening(site.server, 5010, version) as listener:
        client = site.client.connect(site.server.address(version), 5010)
        server, _ = listener.accept()
        client.shutdown(socket.SHUT_WR)
        assert server.recv(10) == b""
        port = client.getsockname()[1]
        wait_for(lambda: live(site, version, port, 5010)[0]["state"] == "FIN-WAIT", 10, "the half close")
        for _ in range(20):
            server.sendall(b"d" * 10000)
        server.close()
        assert receive_all(client, 200000)[0] == 0
        client.close()
        wait_for(lambda: live(site, version, port, 5010)[0]["state"] == "TIME-WAIT", 10, "its end")


@contextlib.contextmanager
def listening(host, port, version):
    with host.socket(socket.AF_INET if version == 4 else socket.AF_INET6, socket.SOCK_STREAM) as listener:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((host.address(version), port))
        listener.listen(8)
        listener.settimeout(20)
        yield listener


def test_a_client_that_has_forgotten_connects_again_from_the_same_port(site, version):
    """Its SYN is answered by a challenge ACK, that by a RST, and the next SYN opens (RFC 9293, 3.5.1; RFC 5961, 4)."""
    with TcpServer(site.server, 5011):
        first = site.client.connect(site.server.address(version), 5011, source_port=40010)
        first.sendall(b"one")
        assert first.recv(10) == b"one"
        forget(first)
        again = site.client.connect(site.server.address(version), 5011, 20, source_port=40010)
        again.sendall(b"two")
        assert again.recv(10) == b"two"
        again.close()


def test_both_have_forgotten(site, version):
    """The SYN-ACK of a server that knows nothing either; it is the SYN's next copy that opens."""
    with listening(site.server, 5012, version) as listener:
        first = site.client.connect(site.server.address(version), 5012, source_port=40011)
        forget(listener.accept()[0])
        forget(first)
        again = site.client.connect(site.server.address(version), 5012, 20, source_port=40011)
        server, _ = listener.accept()
        again.sendall(b"hello")
        assert server.recv(10) == b"hello"
        again.close()
        server.close()


def test_unreachable_port_answers_through_the_switch(site, version):
    with pytest.raises(ConnectionRefusedError):
        site.client.connect(site.server.address(version), 5999)


def test_traffic_goes_on_while_the_switch_is_asked(site):
    """Status commands run beside the packet path, not in it."""
    with TcpServer(site.server, 5006) as server:
        connection = site.client.connect(site.server.ipv4, 5006)
        for _ in range(10):
            for words in (("status",), ("conn", "list"), ("drops",), ("mac", "list"), ("worker", "list")):
                site.switch.json(*words)
            connection.sendall(b"x" * 1000)
            assert connection.recv(1000)
        holds_for(lambda: server.accepted == 1, 0.2)
        connection.close()
