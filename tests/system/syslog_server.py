# SPDX-License-Identifier: Apache-2.0
"""Syslog servers on the loopback: one of our own that reads RFC 5424 by its grammar, and rsyslog; and their certificates.

    with SyslogServer("tls", authority.make("logs", "IP:127.0.0.1")) as server:
        switch.cordon("sink", "add", "siem", "syslog", f"server={server.endpoint}", "transport=tls", ...)
        server.wait(kind="end")
"""

import contextlib
import json
import os
import re
import shutil
import socket
import ssl
import struct
import subprocess
import threading

from cordon import wait_for

LOOPBACK = "127.0.0.1"
SO_RCVBUFFORCE = 33  # Which Python does not name.

HEADER = re.compile(rb"<(?P<priority>0|[1-9]\d{0,2})>1 (?P<time>-|\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z) (?P<host>[!-~]{1,255})"
                    rb" (?P<application>[!-~]{1,48}) (?P<process>[!-~]{1,128}) (?P<kind>[!-~]{1,32}) ")
ELEMENT = re.compile(rb"\[(?P<id>[!#-<>-\\^-~]{1,32})(?P<parameters>(?: [!#-<>-\\^-~]{1,32}=\"(?:[^\"\\\]]|\\[\"\\\]])*\")*)\]")
PARAMETER = re.compile(rb" ([!#-<>-\\^-~]+)=\"((?:[^\"\\\]]|\\[\"\\\]])*)\"")
MARK = b"\xef\xbb\xbf"


def read_message(data):
    """What a message says: the header's fields, {element: {name: value}} and the sentence.  ValueError if it is no good."""
    header = HEADER.match(data)
    if not header:
        raise ValueError(f"no header: {data!r}")
    message = {name: value.decode("ascii") for name, value in header.groupdict().items()}
    message["facility"], message["severity"] = divmod(int(message["priority"]), 8)
    message["elements"], at = {}, header.end()
    while element := ELEMENT.match(data, at):
        message["elements"][element["id"].decode("ascii")] = {
            name.decode("ascii"): re.sub(r'\\(["\\\]])', r"\1", value.decode("utf-8"))
            for name, value in PARAMETER.findall(element["parameters"])}
        at = element.end()
    if not message["elements"] or data[at:at + 1] != b" ":
        raise ValueError(f"no structured data: {data!r}")
    sentence = data[at + 1:]
    message["sentence"] = sentence.removeprefix(MARK).decode("utf-8" if sentence.startswith(MARK) else "ascii")
    return message


def fields_of(record):
    """What the structured data must say of a record of the log, as docs/syslog.md has it."""
    counters = ("packets_forward", "bytes_forward", "packets_reverse", "bytes_reverse")
    always = {"sequence", *(counters[:1] if record["kind"] == "gap" else counters)}
    if record["protocol"] in ("icmp", "icmpv6"):
        always |= {"icmp_type", "icmp_code"}
    never = {"time", "start", "host"}
    return {name: str(value) for name, value in record.items()
            if name not in never and (name in always or value not in ("", 0, None))}


class Authority:
    """Signs certificates; files are in a directory of the test's."""

    def __init__(self, directory, name="authority"):
        self.directory = str(directory)
        self.name = name
        self.serial = 0
        self.certificate = os.path.join(self.directory, name + ".pem")
        self._openssl("req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "2",
                      "-subj", f"/CN={name}", "-keyout", self._path(name, "key"), "-out", self.certificate)

    def make(self, name, alternatives, days=2):
        """(certificate, key) for names and addresses: "DNS:a,IP:127.0.0.1"; 0 days: it expires at once."""
        self.serial += 1
        certificate, key = self._path(name, "pem"), self._path(name, "key")
        request, extensions = self._path(name, "csr"), self._path(name, "ext")
        with open(extensions, "w", encoding="ascii") as file:
            file.write(f"basicConstraints=critical,CA:FALSE\nsubjectAltName={alternatives}\n")
        self._openssl("req", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-subj", f"/CN={name}",
                      "-keyout", key, "-out", request)
        self._openssl("x509", "-req", "-in", request, "-CA", self.certificate, "-CAkey", self._path(self.name, "key"),
                      "-set_serial", str(self.serial), "-days", str(days), "-extfile", extensions, "-out", certificate)
        return certificate, key

    def _path(self, name, end):
        return os.path.join(self.directory, f"{name}.{end}")

    @staticmethod
    def _openssl(*words):
        subprocess.run(["openssl", *words], check=True, capture_output=True, timeout=30)


class SyslogServer:
    """Receives until it is closed, and reads what comes.  `error` is the first thing that was wrong with it."""

    def __init__(self, transport, certificate=None, port=0, reads=True):
        self.transport = transport
        self.messages = []
        self.error = None
        self.reads = reads
        self.context = None
        if transport == "tls":
            self.context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            self.context.load_cert_chain(*certificate)
        self.socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM if transport == "udp" else socket.SOCK_STREAM)
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if transport == "udp":
            self.socket.setsockopt(socket.SOL_SOCKET, SO_RCVBUFFORCE, 8 << 20)
        elif not reads:
            self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        self.socket.bind((LOOPBACK, port))
        self.port = self.socket.getsockname()[1]
        self.endpoint = f"{LOOPBACK}:{self.port}"
        self.socket.settimeout(0.1)
        if transport != "udp":
            self.socket.listen(4)
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

    def records(self, **fields):
        """The records whose fields have these values, as they came."""
        found = (message["elements"]["cordon@32473"] for message in list(self.messages))
        return [record for record in found if all(record.get(name) == value for name, value in fields.items())]

    def wait(self, count=1, seconds=20, **fields):
        return wait_for(lambda: self.error or (found := self.records(**fields)) and len(found) >= count and found,
                        seconds, f"{count} messages with {fields}")

    def _run(self):
        try:
            while not self.closing:
                with contextlib.suppress(TimeoutError, ConnectionError):
                    if self.transport == "udp":
                        self.messages.append(read_message(self.socket.recv(65536)))
                    else:
                        self._serve(self.socket.accept()[0])
        except (ValueError, OSError) as error:
            self.error = repr(error)

    def _serve(self, connection):
        # Whoever does not like our certificate is not at fault.
        with contextlib.suppress(ssl.SSLError), connection:
            connection.settimeout(5)
            if self.context:
                connection = self.context.wrap_socket(connection, server_side=True)
            connection.settimeout(0.1)
            with connection:
                self._stream(connection)

    def _stream(self, connection):
        data, expected = b"", 1
        while not self.closing:
            if not self.reads:
                threading.Event().wait(0.1)
                continue
            with contextlib.suppress(TimeoutError):
                more = connection.recv(1 << 16)
                if not more:
                    return
                data += more
            while (frame := re.match(rb"([1-9]\d{0,5}) ", data)) and len(data) >= frame.end() + int(frame[1]):
                message = read_message(data[frame.end():frame.end() + int(frame[1])])
                if message["elements"]["meta"]["sequenceId"] != str(expected):
                    raise ValueError(f"{message} is not number {expected}")
                data, expected = data[frame.end() + int(frame[1]):], expected + 1
                self.messages.append(message)
            if len(data) > 8 and not frame and not re.match(rb"[1-9]\d{0,5} ", data):
                raise ValueError(f"no octet count: {data[:80]!r}")


RSYSLOG = """\
global(workDirectory="{directory}" maxMessageSize="64k" preserveFQDN="on"
       defaultNetstreamDriverCAFile="{ca}" defaultNetstreamDriverCertFile="{certificate}" defaultNetstreamDriverKeyFile="{key}")
module(load="imudp")
module(load="imptcp")
module(load="imtcp" streamDriver.name="ossl" streamDriver.mode="1" streamDriver.authMode="anon")
module(load="mmpstrucdata")
template(name="whole" type="string" string="%jsonmesg%\\n")
ruleset(name="all") {{
    action(type="mmpstrucdata")
    action(type="omfile" file="{output}" template="whole")
}}
input(type="imudp" address="{host}" port="{udp}" ruleset="all")
input(type="imptcp" address="{host}" port="{tcp}" ruleset="all")
input(type="imtcp" address="{host}" port="{tls}" ruleset="all")
"""


class Rsyslog:
    """rsyslogd with a configuration of its own, on the loopback, and what it has taken messages apart into."""

    def __init__(self, directory, authority):
        self.output = os.path.join(directory, "messages.json")
        self.ports = {"udp": self._free(socket.SOCK_DGRAM), "tcp": self._free(socket.SOCK_STREAM),
                      "tls": self._free(socket.SOCK_STREAM)}
        certificate, key = authority.make("rsyslog", f"IP:{LOOPBACK}")
        configuration = os.path.join(directory, "rsyslog.conf")
        with open(configuration, "w", encoding="ascii") as file:
            file.write(RSYSLOG.format(directory=directory, output=self.output, host=LOOPBACK, ca=authority.certificate,
                                      certificate=certificate, key=key, **self.ports))
        self.said = open(os.path.join(directory, "rsyslog.log"), "w+", encoding="utf-8", errors="replace")
        self.process = subprocess.Popen([shutil.which("rsyslogd", path="/usr/sbin:/sbin:" + os.environ["PATH"]), "-n",
                                         "-f", configuration, "-i", os.path.join(directory, "rsyslog.pid")],
                                        stdin=subprocess.DEVNULL, stdout=self.said, stderr=self.said)
        wait_for(lambda: self.process.poll() is not None or all(map(self._listens, ("tcp", "tls"))), 20, "rsyslogd")
        assert self.process.poll() is None, self.log()

    def close(self):
        self.process.terminate()
        try:
            self.process.wait(10)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        self.said.close()

    def log(self):
        self.said.seek(0)
        return self.said.read()

    def endpoint(self, transport):
        return f"{LOOPBACK}:{self.ports[transport]}"

    def messages(self):
        if not os.path.exists(self.output):
            return []
        with open(self.output, encoding="utf-8") as file:
            return [json.loads(line) for line in file if line.endswith("\n")]

    @staticmethod
    def _free(kind):
        with socket.socket(socket.AF_INET, kind) as probe:
            probe.bind((LOOPBACK, 0))
            return probe.getsockname()[1]

    def _listens(self, transport):
        with socket.socket() as probe:
            # Closed with a reset, so that rsyslogd does not wait for a handshake.
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            return probe.connect_ex((LOOPBACK, self.ports[transport])) == 0
