"""One description, four renderings: each names the run's processes, and none lets a name become more than a name."""

import json
from pathlib import Path

import pytest
from click.testing import CliRunner

from data.errors import UserError
from executor.launch import cluster_jobs, torchrun
from executor.launch.description import Launch, describe
from executor.launch.node import Node, node
from executor.parallel.world import World, world
from planner.cluster import Layout
from tests.executor import runs
from tui.cli import root as cli

NASTY = ("x y", "$(x)", "a\nb", "-x", "'", '"', "{{x}}", "\x1b[31m", "")
FOUR = Layout(dp=4, micro_batch=2, sharding="fsdp")


@pytest.fixture
def launch(corpus: Path, tmp_path: Path) -> Launch:
    return describe(runs.make_run(tmp_path / "r-0001", runs.make_job(corpus, layout=FOUR)).root, num_nodes=2)


def test_hosts_share_the_ranks_evenly(launch: Launch, corpus: Path):
    assert (launch.num_nodes, launch.ranks_per_node, launch.threads_per_rank) == (2, 2, 1)
    assert str(corpus).startswith(launch.shared_dir) and launch.run_dir.startswith(launch.shared_dir)
    with pytest.raises(UserError, match="4 ranks on 3 hosts"):
        describe(Path(launch.run_dir), num_nodes=3)


def test_torchrun_is_told_where_ranks_meet(launch: Launch):
    command = torchrun.command(launch, master="host-1")

    assert command[1:4] == ["-P", "-m", "torch.distributed.run"]
    assert {"--nnodes=2", "--nproc-per-node=2", "--rdzv-endpoint=host-1:29500", "--rdzv-id=r-0001"} <= set(command)
    assert command[-3:] == ["-m", "executor", launch.run_dir]
    with pytest.raises(UserError, match="--master HOST"):
        torchrun.command(launch, master="")


def test_a_kubernetes_job_has_a_pod_for_each_host(launch: Launch):
    service, job = json.loads(cluster_jobs.kubernetes(launch, image="reg.io/isoplan:1", volume="runs"))["items"]

    assert service["spec"]["clusterIP"] == "None"
    assert (job["spec"]["completions"], job["spec"]["completionMode"]) == (2, "Indexed")
    container = job["spec"]["template"]["spec"]["containers"][0]
    assert container["command"] == ["python3", "-P", "-m", "executor.launch.ranks", launch.run_dir]
    found = {one["name"]: one.get("value") for one in container["env"]}
    assert found == {"ISOPLAN_NODES": "2", "ISOPLAN_NODE_RANK": None, "ISOPLAN_MASTER": "r-0001-0.r-0001"}
    rules = job["spec"]["podFailurePolicy"]["rules"]
    assert rules[1]["onExitCodes"] == {"operator": "NotIn", "values": [75]}


def test_a_skypilot_task_is_constant_but_for_its_values(launch: Launch):
    task = json.loads(cluster_jobs.skypilot(launch.model_copy(update={"needs_accelerators": True}), accelerator="H100"))

    assert task["resources"]["accelerators"] == "H100:2"
    assert task["envs"] == {"ISOPLAN_RUN_DIR": launch.run_dir}
    assert launch.run_dir not in task["run"]


@pytest.mark.parametrize("name", NASTY)
def test_what_is_no_name_is_refused(name: str, launch: Launch):
    for rendering in (
        lambda: cluster_jobs.kubernetes(launch, image=name, volume="runs"),
        lambda: cluster_jobs.kubernetes(launch, image="isoplan", volume=name),
        lambda: cluster_jobs.skypilot(launch.model_copy(update={"needs_accelerators": True}), accelerator=name),
        lambda: torchrun.command(launch, master=name),
    ):
        with pytest.raises(UserError):
            rendering()


def test_the_command_prints_a_job_file(launch: Launch):
    argv = ["job", launch.run_dir, "--nodes", "2", "--for"]
    shown = CliRunner().invoke(cli, [*argv, "skypilot"])
    Path(launch.run_dir, "events.jsonl").touch()

    assert isinstance(shown.exception, UserError), "a folder without a diary is no run yet"
    assert json.loads(CliRunner().invoke(cli, [*argv, "skypilot"]).stdout)["num_nodes"] == 2


def test_ranks_and_hosts_are_what_the_environment_says():
    complete = {"RANK": "3", "WORLD_SIZE": "4", "LOCAL_RANK": "1", "LOCAL_WORLD_SIZE": "2", "MASTER_ADDR": "a"}

    assert world({}) == World()
    assert world({**complete, "MASTER_PORT": "1"}) == World(rank=3, size=4, local_rank=1, local_size=2)
    assert world({**complete, "MASTER_PORT": "1", "TORCHELASTIC_RESTART_COUNT": "2"}).restarts == 2
    assert node({"ISOPLAN_NODES": "2", "ISOPLAN_NODE_RANK": "1", "ISOPLAN_MASTER": "a"}) == Node(1, 2, "a")
    with pytest.raises(UserError, match="MASTER_PORT is not"):
        world(complete)
    with pytest.raises(UserError, match="WORLD_SIZE is 'x'"):
        world({**complete, "MASTER_PORT": "1", "WORLD_SIZE": "x"})
    with pytest.raises(UserError, match="rank 3 of 3"):
        world({**complete, "MASTER_PORT": "1", "WORLD_SIZE": "3"})
    with pytest.raises(UserError, match="host 2 of 2"):
        node({"ISOPLAN_NODES": "2", "ISOPLAN_NODE_RANK": "2", "ISOPLAN_MASTER": "a"})
