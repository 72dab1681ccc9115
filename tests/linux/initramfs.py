# SPDX-License-Identifier: Apache-2.0
"""What a Linux guest boots into: an archive of files in cpio's "newc" format, not compressed, made without cpio.

    build(path, ...)        busybox, iperf3, the modules of virtio, and an init that carries out what ttyS1 says
    build_alone(path, SPIN) one program that makes no system call
"""

import os
import re
import shutil
import stat
import struct
import subprocess

# In the order of need; what they depend on is found, and what is built into the kernel is left out.
MODULES = ("virtio_pci", "virtio_net")

# Runs as process 1.  Each line that comes in on ttyS1 is "NUMBER COMMAND"; the answer is what the command writes,
# followed by a line "=NUMBER STATUS".  The console, ttyS0, is the kernel's.
INIT = """\
#!/bin/busybox sh
export PATH=/bin
/bin/busybox mkdir -p /proc /sys /dev /tmp /run
/bin/busybox --install -s /bin
mount -t proc proc /proc
mount -t sysfs sysfs /sys
mount -t devtmpfs devtmpfs /dev
for module in $(cat /modules/order); do
	insmod /modules/$module || echo "init: $module was not taken by the kernel"
done
echo 0 >/proc/sys/kernel/printk
for name in accept_dad router_solicitations; do
	for interface in default eth0; do
		echo 0 >/proc/sys/net/ipv6/conf/$interface/$name
	done
done
ip link set lo up
ip link set eth0 up
exec <>/dev/ttyS1 >&0
stty raw -echo clocal min 1
echo ready
while read -r number command; do
	sh -c "$command" </dev/null >/tmp/output 2>&1
	status=$?
	cat /tmp/output
	echo
	echo "=$number $status"
done
echo "init: ttyS1 has ended" >/dev/console
poweroff -f
"""

# What udhcpc calls with what a server has told it.
LEASE = """\
#!/bin/sh
case $1 in
bound | renew)
	ip address replace "$ip/$mask" dev "$interface"
	[ -z "$router" ] || ip route replace default via "$router"
	;;
esac
"""

# Programs for x86-64 that make no system call, behind an ELF header and one program header, which is all that the
# kernel asks for.
PROGRAM_ADDRESS = 0x400000
SPIN = b"\xf3\x90\xeb\xfc"  # pause; jmp to it.
FALL = b"\xf4"  # hlt, which is the kernel's to use.


class Archive:
    """Files, directories and links, in the order in which they are added."""

    def __init__(self):
        self._parts = []
        self._names = set()

    def _add(self, name, mode, data=b""):
        self._names.add(name)
        name = name.encode()
        fields = (len(self._names), mode, 0, 0, 1, 0, len(data), 0, 0, 0, 0, len(name) + 1, 0)
        header = b"070701" + b"".join(b"%08x" % field for field in fields) + name + b"\0"
        self._parts += [header, b"\0" * (-len(header) % 4), data, b"\0" * (-len(data) % 4)]

    def _add_parents(self, name):
        for end, letter in enumerate(name):
            if letter == "/" and name[:end] not in self._names:
                self._add(name[:end], stat.S_IFDIR | 0o755)

    def add(self, name, data, mode=0o644):
        name = name.lstrip("/")
        self._add_parents(name)
        self._add(name, stat.S_IFREG | mode, data)

    def add_file(self, name, path):
        with open(path, "rb") as file:
            self.add(name, file.read(), os.stat(path).st_mode & 0o777)

    def add_console(self):
        """The kernel opens it for init before there is a devtmpfs."""
        self._add_parents("dev/console")
        name = b"dev/console\0"
        fields = (len(self._names) + 1000, stat.S_IFCHR | 0o600, 0, 0, 1, 0, 0, 0, 0, 5, 1, len(name), 0)
        header = b"070701" + b"".join(b"%08x" % field for field in fields) + name
        self._parts += [header, b"\0" * (-len(header) % 4)]

    def write(self, path):
        self._add("TRAILER!!!", 0)
        with open(path, "wb") as file:
            file.write(b"".join(self._parts))


# --- The kernel's modules ---------------------------------------------------------------------------------------


def module_name(path):
    return os.path.basename(path).removesuffix(".ko").replace("-", "_")


def depends(path):
    """What the module's own section says that it needs."""
    with open(path, "rb") as file:
        found = re.search(rb"\0depends=([\w,-]*)\0", file.read())
    return [name.replace("-", "_") for name in found.group(1).decode().split(",") if name] if found else []


class Modules:
    """The modules of one kernel, by name."""

    def __init__(self, folder):
        self.paths = {}
        for root, _, names in os.walk(folder):
            self.paths.update({module_name(name): os.path.join(root, name) for name in names if name.endswith(".ko")})
        with open(os.path.join(folder, "modules.builtin"), encoding="ascii") as file:
            self.built_in = {module_name(line.strip()) for line in file}

    def in_order(self, names):
        """These and what they need, each after what it needs."""
        order = []

        def visit(name):
            if name in self.built_in or self.paths.get(name) in order:
                return
            if name not in self.paths:
                raise FileNotFoundError(f"the kernel has no module {name}, neither as a file (.ko) nor built in")
            for other in depends(self.paths[name]):
                visit(other)
            order.append(self.paths[name])

        for name in names:
            visit(name)
        return order


# --- Programs with libraries --------------------------------------------------------------------------------------


def libraries(program):
    """{name in the guest: path} of what the program is linked with, its loader included."""
    text = subprocess.run(["ldd", program], capture_output=True, text=True, check=True, timeout=20).stdout
    return {path: os.path.realpath(path) for path in re.findall(r"(/\S+) \(0x", text)}


def build(path, kernel_package, busybox_package):
    """Both packages are directories, unpacked."""
    archive = Archive()
    archive.add_console()
    archive.add("init", INIT.encode(), 0o755)
    archive.add("lease", LEASE.encode(), 0o755)
    archive.add_file("bin/busybox", os.path.join(busybox_package, "bin/busybox"))
    iperf3 = shutil.which("iperf3")
    archive.add_file("bin/iperf3", iperf3)
    for name, library in sorted(libraries(iperf3).items()):
        archive.add_file(name, library)
    folder = os.path.join(kernel_package, "lib/modules")
    modules = Modules(os.path.join(folder, os.listdir(folder)[0])).in_order(MODULES)
    for module in modules:
        archive.add_file(f"modules/{os.path.basename(module)}", module)
    archive.add("modules/order", "\n".join(map(os.path.basename, modules)).encode() + b"\n")
    archive.write(path)


def build_alone(path, code):
    """An archive whose /init is this code and nothing else."""
    size = 64 + 56 + len(code)
    header = struct.pack("<16sHHIQQQIHHHHHH", b"\x7fELF\x02\x01\x01", 2, 62, 1, PROGRAM_ADDRESS + 120, 64, 0, 0, 64,
                         56, 1, 0, 0, 0)
    segment = struct.pack("<IIQQQQQQ", 1, 5, 0, PROGRAM_ADDRESS, PROGRAM_ADDRESS, size, size, 4096)
    archive = Archive()
    archive.add_console()
    archive.add("init", header + segment + code, 0o755)
    archive.write(path)
