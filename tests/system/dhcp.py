# SPDX-License-Identifier: Apache-2.0
"""Real programs at both ends of DHCP and of router advertisements: dnsmasq as the server, dhclient as the client, and
the kernel's IPv6 as what believes a router.

    with DhcpServer(server, directory, "--dhcp-range=10.0.0.0,static,120", "--dhcp-host=02:00:00:00:00:01,10.0.0.1"):
        client = DhcpClient(guest, directory, 4)
        client.ask()            # True: it has a lease, and the address is on eth0.
        client.lease()["new_routers"]
"""

import contextlib
import ipaddress
import os
import subprocess

from cordon import unique, wait_for

LEASE_SECONDS = 120  # The least that dnsmasq gives.

# What dhclient tells its script is kept, one file for each occasion (dhclient-script(8)), when it has been done.
SCRIPT = """\
#!/bin/sh
env >'{directory}/told.new'
case $reason in
BOUND | RENEW | REBIND | REBOOT) ip address replace "$new_ip_address/24" dev "$interface" ;;
BOUND6 | RENEW6 | REBIND6) ip address replace "$new_ip6_address/64" dev "$interface" nodad ;;
EXPIRE | RELEASE | STOP) ip address delete "$old_ip_address/24" dev "$interface" ;;
EXPIRE6 | RELEASE6 | STOP6) ip address delete "$old_ip6_address/64" dev "$interface" ;;
esac
mv '{directory}/told.new' "{directory}/$reason"
exit 0
"""

CONFIGURATION = """\
timeout 60;
initial-interval 1;
backoff-cutoff 1;
request subnet-mask, routers, dhcp-lease-time;
{more}
"""


class DhcpServer:
    """dnsmasq on a host's eth0, with what it says kept."""

    def __init__(self, host, directory, *options):
        self.log = os.path.join(directory, unique(f"dnsmasq-{host.name}-"))
        self.host = host
        self.words = ["dnsmasq", "--no-daemon", "--conf-file=/dev/null", "--port=0", "--interface=eth0", "--user=root",
                      "--pid-file=", f"--dhcp-leasefile={self.log}.leases", "--log-dhcp", "--log-facility=-",
                      "--dhcp-authoritative", "--no-ping", *options]

    def __enter__(self):
        with open(self.log, "wb") as output:
            self.process = self.host.start(*self.words, stdout=output, stderr=output)
        wait_for(self.is_ready, 30, "dnsmasq's start")
        return self

    def __exit__(self, *_):
        self.process.terminate()
        self.process.wait(30)

    def is_ready(self):
        assert self.process.poll() is None, f"dnsmasq ended:\n{self.text()}"
        return "started" in self.text() and ("DHCP" in self.text() or "RA" in self.text().upper())

    def text(self):
        with open(self.log, encoding="utf-8", errors="replace") as file:
            return file.read()

    def has_done(self, *words):
        """True if a line of its log has all of these, such as "DHCPOFFER"."""
        return any(all(word in line for word in words) for line in self.text().splitlines())


class DhcpClient:
    """dhclient on a host's eth0, for one IP version."""

    def __init__(self, host, directory, version, more=""):
        self.host, self.version = host, version
        self.directory = os.path.join(directory, unique(f"dhclient-{host.name}-"))
        os.mkdir(self.directory)
        self.script = self.write("script", SCRIPT.format(directory=self.directory))
        os.chmod(self.script, 0o755)
        self.configuration = self.write("conf", CONFIGURATION.format(more=more))
        self.process = None

    def write(self, name, text):
        path = os.path.join(self.directory, name)
        with open(path, "w", encoding="ascii") as file:
            file.write(text)
        return path

    def words(self, *more):
        """-D LL: known by its MAC to DHCPv6 servers, as it is to those of DHCP."""
        options = ["-4"] if self.version == 4 else ["-6", "-D", "LL"]
        return ["dhclient", *options, "-v", "-cf", self.configuration, "-sf", self.script,
                "-lf", os.path.join(self.directory, "leases"), "-pf", os.path.join(self.directory, "pid"), *more,
                "eth0"]

    def start(self):
        """Asks, again and again, until close()."""
        self.process = self.host.start(*self.words("-d"), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)

    def ask(self, seconds=40):
        """Asks; True if it got a lease in time.  dhclient goes on with it, until close()."""
        self.start()
        with contextlib.suppress(AssertionError):
            wait_for(lambda: self.lease() or self.told("FAIL"), seconds, "a lease")
        if self.lease():
            return True
        self.close()
        return False

    def close(self):
        """Ends it without a word to the server."""
        if self.process:
            self.process.kill()
            self.process.wait(10)
            self.process = None

    def release(self):
        """Gives the lease back, which ends it."""
        self.host.run(*self.words("-r"))
        self.process.wait(30)
        self.process = None

    def told(self, reason):
        """What dhclient told its script when this happened: {"new_ip_address": ...}, or None."""
        try:
            with open(os.path.join(self.directory, reason), encoding="utf-8") as file:
                return dict(line.rstrip("\n").partition("=")[::2] for line in file)
        except FileNotFoundError:
            return None

    def lease(self):
        for reason in ("REBIND", "RENEW", "REBOOT", "BOUND"):
            found = self.told(reason + ("6" if self.version == 6 else ""))
            if found:
                return found
        return None

    def address(self):
        return self.lease()["new_ip_address" if self.version == 4 else "new_ip6_address"]


def forget_addresses(host):
    """As a guest is before it has asked anybody: with its link-local address only."""
    host.run("ip", "address", "flush", "dev", "eth0", "scope", "global")


def addresses(host):
    """The global ones of eth0, of both versions."""
    words = host.run("ip", "-oneline", "address", "show", "dev", "eth0", "scope", "global").stdout.split()
    return {ipaddress.ip_interface(after).ip.compressed for word, after in zip(words, words[1:])
            if word in ("inet", "inet6")}


def routers(host):
    """The link-local addresses of the routers that its IPv6 believes."""
    words = host.run("ip", "-6", "route", "show", "default").stdout.split()
    return {after for word, after in zip(words, words[1:]) if word == "via"}


def start_ipv6(host):
    """What a guest does when its interface comes up: a link-local address, and a request for routers."""
    for name, value in (("disable_ipv6", 1), ("router_solicitations", 3), ("router_solicitation_delay", 0),
                        ("router_solicitation_interval", 1), ("accept_ra", 1), ("disable_ipv6", 0)):
        host.run("sysctl", "-q", "-w", f"net.ipv6.conf.eth0.{name}={value}")
