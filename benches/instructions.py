"""Runs the echo servers under callgrind; `benches/instructions` is the command."""

import re
import socket
import subprocess
import sys
import tempfile
from collections import Counter
from pathlib import Path

PEERS = ["epoll", "tokio", "sockeye-events", "sockeye-pipe", "sockeye-async", "sockeye-listeners"]
CONNECTIONS = 20
MESSAGE = bytes(range(64))
# What starting costs is the same in both runs.
ROUNDS = (500, 1500)
PARTS = ["sockeye", "tokio", "allocator", "rest"]

ROW = re.compile(r"^\s*([\d,]+) \(\s*[\d.]+%\)\s+([^:]+):(.+)$")
LIBRARY = str(Path(__file__).resolve().parents[1] / "src") + "/"
TOKIO = re.compile(r"/(tokio|mio)-\d[^/]*/")
ALLOCATOR = re.compile(r"(_int_|c)?(malloc|free|realloc|calloc|memalign)\b|malloc_|tcache_|unlink_chunk|.*__(rust|rdl)_\w*alloc")
FROM_STD = re.compile(r"^/rustc/")
CRATE = re.compile(r"^[<&*]*(dyn |mut )?(\w+)(\[\w+\])?::")


def main():
    binary, *peers = sys.argv[1:]
    print(f"{'instructions per message':24}{'all':>8}" + "".join(f"{part:>11}" for part in PARTS))
    for peer in peers or PEERS:
        few, many = (count(binary, peer, rounds) for rounds in ROUNDS)
        messages = (ROUNDS[1] - ROUNDS[0]) * CONNECTIONS
        parts = [(many[part] - few[part]) / messages for part in PARTS]
        print(f"{peer:24}{sum(parts):8.0f}" + "".join(f"{part:11.0f}" for part in parts), flush=True)


def count(binary, peer, rounds):
    """The instructions of one run, by part."""
    with tempfile.TemporaryDirectory() as directory:
        profile = Path(directory) / "profile"
        command = ["valgrind", "--quiet", "--tool=callgrind", f"--callgrind-out-file={profile}"]
        command += [binary, "server", peer, "--mode", "echo"]
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as server:
            try:
                exchange(int(server.stdout.readline()), rounds)
            finally:
                server.terminate()
        annotate = ["callgrind_annotate", "--threshold=100", "--auto=no", str(profile)]
        # It shortens paths below the directory where it runs.
        rows = subprocess.run(annotate, cwd=directory, check=True, capture_output=True, text=True).stdout
    return by_part(rows)


def exchange(port, rounds):
    """In each round, every connection asks once."""
    connections = [socket.create_connection(("127.0.0.1", port), timeout=60) for _ in range(CONNECTIONS)]
    for connection in connections:
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    for _ in range(rounds):
        for connection in connections:
            connection.sendall(MESSAGE)
        for connection in connections:
            answer = connection.recv(len(MESSAGE), socket.MSG_WAITALL)
            if answer != MESSAGE:
                sys.exit("the server has answered something else")


def by_part(rows):
    parts = Counter()
    for row in rows.splitlines():
        if match := ROW.match(row):
            instructions, file, function = match.groups()
            parts[part_of(file, function)] += int(instructions.replace(",", ""))
    return parts


def part_of(file, function):
    """What is inlined counts for the crate that it comes from; what comes from std, for the one that it is inlined into."""
    crate = CRATE.match(function)
    crate = crate.group(2) if crate and FROM_STD.match(file) else ""
    if ALLOCATOR.match(function):
        return "allocator"
    if file.startswith(LIBRARY) or crate == "sockeye":
        return "sockeye"
    if TOKIO.search(file) or crate in ("tokio", "mio"):
        return "tokio"
    return "rest"


if __name__ == "__main__":
    main()
