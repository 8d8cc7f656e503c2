"""A Slurm of our own for tests: one node, one queue that can be preempted and one that preempts, no other service."""

import os
import shutil
import socket
import subprocess
import time
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

_CONFIGURATION = """\
ClusterName=isoplan-test
SlurmctldHost={host}(127.0.0.1)
SlurmUser=root
SlurmdUser=root
AuthType=auth/none
CredType=cred/none
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
SelectType=select/cons_tres
SelectTypeParameters=CR_Core
SchedulerParameters=sched_interval=1
PreemptType=preempt/partition_prio
PreemptMode=REQUEUE
JobRequeue=1
MpiDefault=none
ReturnToService=2
KillWait=30
SlurmctldPort={ctld_port}
SlurmdPort={slurmd_port}
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd.pid
SlurmctldLogFile={folder}/slurmctld.log
SlurmdLogFile={folder}/slurmd.log
NodeName={host} NodeAddr=127.0.0.1 CPUs={cpus} State=UNKNOWN
PartitionName=low Nodes=ALL Default=YES PriorityTier=1 PreemptMode=REQUEUE GraceTime=60
PartitionName=high Nodes=ALL PriorityTier=2 PreemptMode=OFF
"""


def is_installed() -> bool:
    return os.geteuid() == 0 and all(shutil.which(name) for name in ("slurmctld", "slurmd", "sbatch", "srun"))


@contextmanager
def slurm(folder: Path) -> Generator[Path]:
    """Run it while the context lasts; yields its configuration, which `SLURM_CONF` must name."""
    folder.mkdir(parents=True)
    (folder / "state").mkdir()
    (folder / "spool").mkdir()
    ports = _free_ports(2)
    text = _CONFIGURATION.format(
        host=socket.gethostname().partition(".")[0],
        ctld_port=ports[0],
        slurmd_port=ports[1],
        folder=folder,
        cpus=len(os.sched_getaffinity(0)),
    )
    path = folder / "slurm.conf"
    path.write_text(text)
    environment = {**os.environ, "SLURM_CONF": str(path)}
    servers = [
        subprocess.Popen([name, "-D", "-f", str(path)], env=environment, stderr=subprocess.DEVNULL)
        for name in ("slurmctld", "slurmd")
    ]
    try:
        _wait_until_idle(environment)
        yield path
    finally:
        for server in reversed(servers):
            server.terminate()
            try:
                server.wait(20)
            except subprocess.TimeoutExpired:
                server.kill()


def _wait_until_idle(environment: dict[str, str]) -> None:
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        shown = subprocess.run(["sinfo", "-h", "-o", "%T"], env=environment, capture_output=True, text=True)
        if "idle" in shown.stdout:
            return
        time.sleep(0.5)
    raise TimeoutError("Slurm did not come up")


def _free_ports(number: int) -> list[int]:
    servers = [socket.socket() for _ in range(number)]
    for server in servers:
        server.bind(("127.0.0.1", 0))
    ports = [server.getsockname()[1] for server in servers]
    for server in servers:
        server.close()
    return ports
