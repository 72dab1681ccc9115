# SPDX-License-Identifier: Apache-2.0
"""FTP and TFTP through zones: data connections open as announced, and no others.

    client .1       server .2       other .3
       |               |               |
    ---+---------------+---------------+----  network lan, VLAN 10

The server is pyftpdlib for FTP and dnsmasq for TFTP; the clients are Python's ftplib and curl.  Where the test itself
opens the data connections, a server that only echoes lines, on port 2121, stands for one that does not hurry to.
"""

import contextlib
import ftplib
import io
import json
import os
import pathlib
import socket
import sys

import pytest

from cordon import wait_for
from host import TcpServer

CONTENT = os.urandom(100_000)

POLICY = """\
zones:
  client: {{match: "zone=client"}}
  server: {{match: "zone=server"}}
  other:  {{match: "zone=other"}}
policies:
  - id: files
    rules:
      - {{id: ftp, from: client, to: server, service: [tcp/21, tcp/2121], action: {action}, log: session{ftp}}}
      - {{id: tftp, from: client, to: server, service: udp/69, action: allow, log: session{tftp}}}
baseline: {{between_zones: deny, within_zone: allow, log: denied}}
"""


def policy(ftp=", helper: ftp", tftp=", helper: tftp", action="allow"):
    return POLICY.format(ftp=ftp if action == "allow" else "", tftp=tftp, action=action)


SERVER = """\
import sys
from pyftpdlib.authorizers import DummyAuthorizer
from pyftpdlib.handlers import FTPHandler
from pyftpdlib.servers import FTPServer

class Handler(FTPHandler):
    authorizer = DummyAuthorizer()
    banner = "ready"
    permit_foreign_addresses = True   # A bounce is the switch's to refuse here.
    permit_privileged_ports = True

Handler.authorizer.add_anonymous(sys.argv[2])
FTPServer((sys.argv[1], 21), Handler).serve_forever()
"""


@pytest.fixture(scope="module")
def site(shared, tmp_path_factory):
    files = tmp_path_factory.mktemp("files")
    (files / "content").write_bytes(CONTENT)
    for path in (files, *files.parents):
        if path.is_relative_to("/tmp") and path != pathlib.Path("/tmp"):
            path.chmod(0o755)
    (files / "content").chmod(0o644)
    shared.add_network()
    shared.policy(policy())
    client, server, other = (shared.host(name, number) for number, name in enumerate(("client", "server", "other"), 1))
    with contextlib.ExitStack() as stack:
        for version in (4, 6):
            stack.enter_context(running(server, sys.executable, "-c", SERVER, server.address(version), str(files)))
            wait_for(lambda v=version: listens(server, v), 30, "the FTP server")
        stack.enter_context(running(server, "dnsmasq", "--no-daemon", "--conf-file=/dev/null", "--port=0",
                                    "--enable-tftp", f"--tftp-root={files}", "--user=root", "--pid-file="))
        for version in (4, 6):
            wait_for(lambda v=version: takes_datagrams(server, v, 69), 30, "the TFTP server")
        yield shared, client, server, other


@contextlib.contextmanager
def running(host, *words):
    process = host.start(*words)
    try:
        yield process
    finally:
        process.terminate()
        process.wait(10)


def listens(host, version):
    with host.socket(socket.AF_INET6 if version == 6 else socket.AF_INET, socket.SOCK_STREAM) as probe:
        return probe.connect_ex((host.address(version), 21)) == 0


def takes_datagrams(host, version, port):
    return host.run("ss", f"-{version}", "-H", "-l", "-u", "-n", "sport", "=", f":{port}").stdout != ""


@contextlib.contextmanager
def ftp(client, server, version, passive=True):
    """An FTP session of ftplib.  What makes a socket is to be called with the client's namespace entered."""
    with client.entered():
        session = ftplib.FTP(timeout=20)
        session.connect(server.address(version), 21)
    session.login()
    session.set_pasv(passive)
    try:
        yield session
    finally:
        session.close()


class Lines:
    """A control connection to a server that echoes what it is told."""

    def __init__(self, client, server, version):
        self.server = TcpServer(server, 2121)
        self.server.__enter__()
        self.socket = client.connect(server.address(version), 2121, seconds=20)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def __enter__(self):
        return self

    def __exit__(self, *arguments):
        self.socket.close()
        self.server.__exit__(*arguments)

    def say(self, text):
        self.socket.sendall(text.encode())
        assert self.socket.recv(1000) == text.encode()


def fetch(client, session):
    data = io.BytesIO()
    with client.entered():
        session.retrbinary("RETR content", data.write)
    return data.getvalue()


@pytest.mark.parametrize("passive", (True, False), ids=("passive", "active"))
def test_ftp_data_passes_as_announced(site, version, passive):
    switch, client, server, _ = site
    switch.policy(policy())
    with ftp(client, server, version, passive) as session:
        for _ in range(3):
            assert fetch(client, session) == CONTENT
        with client.entered():
            assert session.nlst() == ["content"]
    opener = client if passive else server

    def data_connections():
        starts = switch.log(kind="start", source_address=opener.address(version), rule="ftp")
        return [row for row in starts if row["destination_transport_port"] not in (21, 2121)]

    data = wait_for(data_connections, what="data connections, logged under the rule of their control connection,")
    assert data[-1]["source_zone"] == ("client" if passive else "server")


@pytest.mark.parametrize("passive", (True, False), ids=("passive", "active"))
def test_without_a_helper_nothing_is_opened(site, version, passive):
    switch, client, server, _ = site
    switch.policy(policy(ftp=""))
    with ftp(client, server, version, passive) as session:
        session.timeout = session.sock.settimeout(1.0) or 1.0
        with pytest.raises((OSError, ftplib.Error)):
            fetch(client, session)
    switch.policy(policy())


def command_of(address, port):
    """PORT or EPRT."""
    if ":" in address:
        return f"EPRT |2|{address}|{port}|"
    return f"PORT {address.replace('.', ',')},{port // 256},{port % 256}"


def test_a_bounce_is_refused(site, version):
    """The server is told to open a connection to a third host, or to a service of the client's system."""
    switch, client, server, other = site
    switch.policy(policy())
    for address, port in ((other.address(version), 5000), (client.address(version), 111)):
        before = switch.drops().get("ftp-bounce", 0)
        with ftp(client, server, version) as session:
            session.sock.settimeout(1.0)
            with pytest.raises(OSError):
                session.sendcmd(command_of(address, port))
        wait_for(lambda: switch.drops()["ftp-bounce"] > before, what="the drop by name")  # pylint: disable=cell-var-from-loop
        denied = switch.wait_log(kind="denied", reason="ftp-bounce", source_address=client.address(version))
        assert denied[-1]["rule"] == "ftp"


def test_only_what_is_announced(site, version):
    """The server may open the port that was announced, once; no other one, and nobody else may."""
    switch, client, server, other = site
    switch.policy(policy())
    with TcpServer(client, 5001), TcpServer(client, 5002), Lines(client, server, version) as control:
        control.say(command_of(client.address(version), 5001) + "\r\n")
        assert not server.can_connect(client.address(version), 5002, 1)
        assert not other.can_connect(client.address(version), 5001, 1)
        assert server.can_connect(client.address(version), 5001, 10)
        assert not server.can_connect(client.address(version), 5001, 1), "an announcement is good for one connection"


def test_what_only_looks_like_a_command(site, version):
    """A page makes a browser send a command in the middle of something else."""
    switch, client, server, _ = site
    switch.policy(policy())
    with TcpServer(client, 5001), Lines(client, server, version) as control:
        control.say("STAT a page that goes on and on ")
        control.say(command_of(client.address(version), 5001) + "\r\n")
        assert not server.can_connect(client.address(version), 5001, 1)
        control.say(command_of(client.address(version), 5001) + "\r\n")
        assert server.can_connect(client.address(version), 5001, 10)


def newly_denied(switch, document, source):
    """How many live connections of a source another policy would refuse, by what a plan says."""
    answer = json.loads(switch.cordon("policy", "plan", "-", "--days", "0", "--json", text=document))
    return sum(one["connections"] for row in answer["live"]["rows"] if row["kind"] == "denied"
               for one in row["examples"] if one["source"] == source)


def test_a_data_connection_lives_and_dies_with_its_rule(site, version):
    switch, client, server, _ = site
    switch.policy(policy())
    with TcpServer(client, 5003), Lines(client, server, version) as control:
        control.say(command_of(client.address(version), 5003) + "\r\n")
        connection = server.connect(client.address(version), 5003, seconds=20)
        connection.sendall(b"one")
        assert connection.recv(10) == b"one"
        switch.policy(policy() + "# another revision\n")
        connection.sendall(b"two")
        assert connection.recv(10) == b"two", "it is still allowed"
        opened = server.address(version)
        assert newly_denied(switch, policy(), opened) == 0, "a plan knows what announced it"
        assert newly_denied(switch, policy(ftp=""), opened) > 0
        switch.kill()
        switch.up_again()
        connection.sendall(b"three")
        assert connection.recv(10) == b"three", "a restart is not noticed"
        connection.settimeout(1.0)
        switch.policy(policy(action="deny"))
        connection.sendall(b"four")
        with pytest.raises(TimeoutError):
            connection.recv(10)
        connection.close()
    switch.policy(policy())


def test_ftp_goes_on_after_a_restart(site, version):
    """What was read of a control connection is lost; with the next line it is understood again."""
    switch, client, server, _ = site
    switch.policy(policy())
    with ftp(client, server, version) as session:
        switch.kill()
        switch.up_again()
        session.voidcmd("TYPE I")
        assert fetch(client, session) == CONTENT


def curl(client, url, *options, seconds=30):
    return client.run("curl", "-s", "-g", "--max-time", seconds, *options, url, check=False)


def bracketed(address):
    return f"[{address}]" if ":" in address else address


def test_tftp_answers_come_from_another_port(site, version, tmp_path):
    switch, client, server, _ = site
    switch.policy(policy())
    target = tmp_path / "content"
    result = curl(client, f"tftp://{bracketed(server.address(version))}/content", "-o", str(target))
    assert result.returncode == 0, result.stderr
    assert target.read_bytes() == CONTENT
    starts = switch.wait_log(kind="start", source_address=server.address(version), rule="tftp")
    assert starts[-1]["source_zone"] == "server"


def test_tftp_needs_its_helper_too(site, version, tmp_path):
    switch, client, server, _ = site
    switch.policy(policy(tftp=""))
    result = curl(client, f"tftp://{bracketed(server.address(version))}/content", "-o", str(tmp_path / "content"), seconds=5)
    assert result.returncode != 0
    switch.policy(policy())


def test_curl_as_a_client(site, version, tmp_path):
    """Another client, with its own order of EPSV, PASV, EPRT and PORT."""
    switch, client, server, _ = site
    switch.policy(policy())
    for options in ((), ("--ftp-port", "-"), ("--disable-epsv",)):
        if version == 6 and "--disable-epsv" in options:
            continue
        target = tmp_path / "content"
        result = curl(client, f"ftp://{bracketed(server.address(version))}/content", "-o", str(target), *options)
        assert result.returncode == 0, (options, result.stderr)
        assert target.read_bytes() == CONTENT


def test_control_connections_are_not_cached(site, version):
    """Every packet of a control connection is read; those of its data connection are not."""
    switch, client, server, _ = site
    switch.policy(policy())
    with ftp(client, server, version) as session:
        before = misses(switch)
        for _ in range(20):
            session.voidcmd("NOOP")
        wait_for(lambda: misses(switch) - before >= 40, what="a miss for each packet")


def misses(switch):
    return sum(worker["misses"] for worker in switch.json("worker", "list"))
