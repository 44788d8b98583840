"""Hosts of a test on one machine: network namespaces, each with an address and a name of its own, on one bridge.

What a host runs reaches the others through its cable only, which can be pulled. Files are shared, as those of a
cluster are. It takes Linux and root.
"""

from __future__ import annotations

import os
import secrets
import shutil
import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

NAMES = Path("/etc/netns")
"""What stands below in a folder of a namespace's name is what programs in it find in /etc."""


@dataclass(frozen=True)
class Host:
    """A namespace. Its name is that of the host, too, and of its cable."""

    name: str
    address: str

    def command(self, *words: str) -> list[str]:
        """A command as one that runs on the host. Its process is the command's own, and no shell's."""
        named = ("sh", "-c", 'hostname "$0" && exec "$@"', self.name)
        return ["ip", "netns", "exec", self.name, "unshare", "--uts", *named, *words]

    def lose_power(self) -> None:
        """Ends every process of the host at once."""
        for found in ip("netns", "pids", self.name).split():
            with suppress(ProcessLookupError):
                os.kill(int(found), signal.SIGKILL)

    def pull_cable(self) -> None:
        ip("link", "set", self.name, "down")

    def plug_cable(self) -> None:
        ip("link", "set", self.name, "up")


@dataclass
class Network:
    """A bridge, and the hosts at it; 10.213.X.254 is this machine's own address there."""

    bridge: str = field(default_factory=lambda: f"ch{secrets.token_hex(3)}")
    subnet: str = field(default_factory=lambda: f"10.213.{secrets.randbelow(256)}")
    hosts: list[Host] = field(default_factory=list)

    def add(self) -> Host:
        """Another host. What starts on any from now on knows the names of all."""
        number = len(self.hosts) + 1
        host = Host(f"{self.bridge}-{number}", f"{self.subnet}.{number}")
        self.hosts.append(host)
        ip("netns", "add", host.name)
        ip("link", "add", host.name, "type", "veth", "peer", "name", "eth0", "netns", host.name)
        ip("link", "set", host.name, "master", self.bridge, "up")
        ip("-n", host.name, "address", "add", f"{host.address}/24", "dev", "eth0")
        for device in ("lo", "eth0"):
            ip("-n", host.name, "link", "set", device, "up")
        ip("-n", host.name, "route", "add", "default", "via", f"{self.subnet}.254")
        (NAMES / host.name).mkdir(parents=True)
        for each in self.hosts:
            known = "".join(f"{other.address} {other.name}\n" for other in self.hosts)
            (NAMES / each.name / "hosts").write_text(f"127.0.0.1 localhost\n{known}")
        return host


def ip(*words: str) -> str:
    return subprocess.run(["ip", *words], check=True, capture_output=True, text=True).stdout


@contextmanager
def network() -> Iterator[Network]:
    """A network, which goes away with its hosts. What still runs on them is not ended."""
    made = Network()
    ip("link", "add", made.bridge, "type", "bridge")
    try:
        ip("address", "add", f"{made.subnet}.254/24", "dev", made.bridge)
        ip("link", "set", made.bridge, "up")
        yield made
    finally:
        for host in made.hosts:
            ip("netns", "delete", host.name)
            shutil.rmtree(NAMES / host.name, ignore_errors=True)
        ip("link", "delete", made.bridge)


def why_no_hosts() -> str | None:
    """Why this machine cannot have them; None where it can."""
    if os.geteuid() != 0:
        return "only root makes network namespaces"
    if missing := [tool for tool in ("ip", "unshare", "hostname") if shutil.which(tool) is None]:
        return f"{', '.join(missing)} not installed (Debian: iproute2, util-linux, hostname)"
    try:
        with network() as tried:
            tried.add()
    except (OSError, subprocess.CalledProcessError) as refused:
        return f"no network namespaces here: {getattr(refused, 'stderr', None) or refused}".strip()
    return None
