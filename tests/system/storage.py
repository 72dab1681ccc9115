# SPDX-License-Identifier: Apache-2.0
"""qemu-storage-daemon with one image, as the back end of a guest's disk."""

import contextlib
import os
import shutil
import signal
import subprocess

import pytest

from cordon import wait_for

needs_storage_daemon = pytest.mark.skipif(
    not shutil.which("qemu-storage-daemon") or not shutil.which("qemu-img"),
    reason="qemu-storage-daemon or qemu-img is missing (packages qemu-system-common, qemu-utils)")


class StorageDaemon:
    """qemu-storage-daemon with one image of 16 MiB."""

    def __init__(self, directory, image_format, options="writable=on"):
        self.directory = directory
        self.socket = str(directory / "disk.sock")
        self.image = str(directory / "image")
        self.format = image_format
        self.options = options
        self.process = None
        subprocess.run(["qemu-img", "create", "-q", "-f", image_format, self.image, "16M"], check=True)

    def start(self):
        """It listens when this returns."""
        with contextlib.suppress(FileNotFoundError):
            os.unlink(self.socket)  # Left by one that was killed.
        self.process = subprocess.Popen(
            ["qemu-storage-daemon", "--blockdev", f"driver=file,node-name=file,filename={self.image}",
             "--blockdev", f"driver={self.format},node-name=disk,file=file", "--export",
             f"type=vhost-user-blk,id=export,node-name=disk,addr.type=unix,addr.path={self.socket},{self.options}"],
            stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        wait_for(self._is_listening, what="the storage daemon")
        return self

    def _is_listening(self):
        """As the kernel says: who connected to see would be a guest to it."""
        with open("/proc/net/unix", encoding="utf-8") as file:
            # The flags are before the path; 00010000 is set of a socket that accepts.
            return any(line.split()[3] == "00010000" for line in file if line.rstrip("\n").endswith(" " + self.socket))

    def end(self, sig=signal.SIGKILL):
        if self.process and self.process.poll() is None:
            self.process.send_signal(sig)
            self.process.wait(30)

    def contents(self):
        """The disk's bytes as QEMU reads them out of the image.  The daemon has ended, however it went."""
        raw = self.directory / "raw"
        subprocess.run(["qemu-img", "convert", "-f", self.format, "-O", "raw", self.image, raw], check=True)
        try:
            return raw.read_bytes()
        finally:
            raw.unlink()

    def check(self):
        """Whether the image is in order; what a daemon that was killed had allocated and not used may be lost."""
        result = subprocess.run(["qemu-img", "check", "-f", self.format, self.image], capture_output=True, text=True,
                                check=False)
        return result.returncode in (0, 3), result.stdout + result.stderr
