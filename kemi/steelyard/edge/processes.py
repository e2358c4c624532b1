"""
The processes of this Kamailio, as the kernel shows them under /proc.

A worker that waits for a message sleeps in one known place of the kernel; asleep anywhere else it waits for something
in the middle of its work. Does not know what follows from either.
"""

import ipaddress
import os
import sys
from pathlib import Path
from typing import Final

TICKS_PER_S: Final = os.sysconf("SC_CLK_TCK")

# Where a worker of each kind sleeps while it has nothing to do; the names are those of Linux 4 to 6.
UDP_IDLE: Final = ("__skb_wait_for_more_packets",)
TCP_IDLE: Final = ("do_epoll_wait", "ep_poll")
NOT_SHOWN: Final = "0"  # it runs, or the kernel does not show it to us


class Worker:
    """One SIP worker, looked at many times a second."""

    def __init__(self, pid: int, group: str, proc: Path = Path("/proc")) -> None:
        """
        Open what is looked at.

        Args:
            pid: its process.
            group: Kamailio's description of workers like it, such as `udp receiver sock=192.0.2.1:5060`.
            proc: where the kernel shows processes.

        Raises:
            OSError: there is no such process, or it is not shown to us.
        """
        self.pid = pid
        self.group = group
        self.is_udp = group.startswith("udp")
        self._idle = UDP_IDLE if self.is_udp else TCP_IDLE
        self._fd = os.open(proc / str(pid) / "wchan", os.O_RDONLY)

    def place(self) -> str:
        """Return where in the kernel it sleeps; NOT_SHOWN while it runs, or where that is hidden from us."""
        return os.pread(self._fd, 64, 0).decode("ascii", "replace")

    def is_idle_at(self, place: str) -> bool:
        """Say whether a worker that sleeps there waits for the next message."""
        return place.startswith(self._idle)

    def close(self) -> None:
        """Look no more."""
        os.close(self._fd)


def waiting_bytes(socket: str, proc: Path = Path("/proc")) -> int:
    """
    Return the kernel memory that messages take which wait in a UDP socket to be read.

    Args:
        socket: `address:port` as Kamailio names it, IPv6 in brackets.
        proc: where the kernel shows its sockets.

    Source: proc(5), rx_queue of net/udp and net/udp6; 0 for a socket that is not there.
    """
    host, _, port = socket.rpartition(":")
    try:
        address = ipaddress.ip_address(host.strip("[]"))
        wanted = f"{_kernel_hex(address)}:{int(port):04X}"
        lines = (proc / "net" / ("udp6" if address.version == 6 else "udp")).read_text().splitlines()[1:]
    except (OSError, ValueError):
        return 0
    rows = (line.split() for line in lines)
    return sum(int(row[4].partition(":")[2], 16) for row in rows if row[1] == wanted)


def _kernel_hex(address: ipaddress.IPv4Address | ipaddress.IPv6Address) -> str:
    """Return an address as the kernel prints it: each four bytes in the machine's own order."""
    packed = address.packed
    words = (packed[i : i + 4] for i in range(0, len(packed), 4))
    return "".join(f"{int.from_bytes(word, sys.byteorder):08X}" for word in words)


def cpu_s(pid: int, proc: Path = Path("/proc")) -> float:
    """
    Return the CPU time of a process in seconds, user and system; 0 for one that has gone.

    Source: proc(5), fields 14 and 15 of stat; the name before them may hold anything.
    """
    try:
        fields = (proc / str(pid) / "stat").read_text(errors="replace").rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / TICKS_PER_S
    except (OSError, ValueError, IndexError):
        return 0.0


def memory_kb(pids: list[int], proc: Path = Path("/proc")) -> int:
    """Return the memory that processes of one program hold: what each has alone, and once what they share."""
    alone, shared = 0, 0
    for pid in pids:
        sizes = _sizes_kb(proc / str(pid) / "status")
        alone += sizes.get("RssAnon", 0)
        shared = max(shared, sizes.get("RssShmem", 0))
    return alone + shared


def machine_kb(proc: Path = Path("/proc")) -> int:
    """Return the machine's memory; at least 1, so that it can be divided by."""
    return max(_sizes_kb(proc / "meminfo").get("MemTotal", 0), 1)


def _sizes_kb(path: Path) -> dict[str, int]:
    """Return the lines `Name:   123 kB` of a file; empty for one that has gone."""
    try:
        rows = [line.split() for line in path.read_text(errors="replace").splitlines()]
    except OSError:
        return {}
    return {row[0].rstrip(":"): int(row[1]) for row in rows if len(row) == 3 and row[2] == "kB" and row[1].isdigit()}
