"""A run as a job file of Kubernetes or SkyPilot. Both read YAML, and JSON is YAML: one escaping, nothing to inject.

The volume or mount that holds the run's folder and its corpus, at the same paths as here, is the user's to provide: it
lets a host that is replaced go on from the last sealed checkpoint.
"""

import json
import re

from data.canonical import Json
from data.errors import UserError
from executor.launch.description import Launch
from executor.launch.node import MASTER, NODE_RANK, NODES
from executor.parallel.world import AGAIN

_IMAGE = re.compile(r"[a-z0-9][A-Za-z0-9._/:@-]{0,254}")
_VOLUME = re.compile(r"[a-z0-9](?:[a-z0-9.-]{0,251}[a-z0-9])?")
_ACCELERATOR = re.compile(r"[A-Za-z0-9][A-Za-z0-9.-]{0,40}")

_SECONDS_TO_STOP = 120
"""A pod that is asked to leave has this long: a step, and a checkpoint."""

_MOST_ACCIDENTS = 100

# The shell of a SkyPilot task: constant, all that varies is in its environment.
_SKYPILOT_RUN = f"""\
set -u
export {NODES}="$SKYPILOT_NUM_NODES" {NODE_RANK}="$SKYPILOT_NODE_RANK"
{MASTER}="$(printf '%s\\n' "$SKYPILOT_NODE_IPS" | head -n 1)"
export {MASTER}
exec python3 -P -m executor.launch.ranks "$ISOPLAN_RUN_DIR"
"""


def kubernetes(launch: Launch, *, image: str, volume: str) -> str:
    """Return a headless service and an indexed Job, one pod a host, for `kubectl apply -f`.

    `image` has isoplan installed as `python3`'s; `volume` is the persistent volume claim that holds the run's folder.

    Raises:
        UserError: a name is not one.
    """
    _check(_IMAGE, image, "an image", "--image registry/name:tag")
    _check(_VOLUME, volume, "a persistent volume claim", "--volume NAME")
    items: list[Json] = [_service(launch), _job(launch, image=image, volume=volume)]
    return _text({"apiVersion": "v1", "kind": "List", "items": items})


def skypilot(launch: Launch, *, accelerator: str) -> str:
    """Return a task for `sky jobs launch`; `accelerator` is SkyPilot's name of it, "" for CPUs.

    Raises:
        UserError: the name is not one, or is missing.
    """
    resources: dict[str, Json] = {"cpus": f"{launch.ranks_per_node * launch.threads_per_rank}+"}
    if launch.needs_accelerators:
        _check(_ACCELERATOR, accelerator, "an accelerator", "--accelerator H100 (sky show-gpus lists them)")
        resources["accelerators"] = f"{accelerator}:{launch.ranks_per_node}"
    task: dict[str, Json] = {
        "name": launch.name,
        "num_nodes": launch.num_nodes,
        "resources": resources,
        "envs": {"ISOPLAN_RUN_DIR": launch.run_dir},
        "run": _SKYPILOT_RUN,
    }
    return _text(task)


def _service(launch: Launch) -> Json:
    return {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"name": launch.name},
        "spec": {"clusterIP": "None", "selector": {"job-name": launch.name}},
    }


def _job(launch: Launch, *, image: str, volume: str) -> Json:
    return {
        "apiVersion": "batch/v1",
        "kind": "Job",
        "metadata": {"name": launch.name},
        "spec": {
            "completionMode": "Indexed",
            "completions": launch.num_nodes,
            "parallelism": launch.num_nodes,
            "backoffLimit": _MOST_ACCIDENTS,
            "podFailurePolicy": {"rules": _failure_rules()},
            "template": {"spec": _pod(launch, image=image, volume=volume)},
        },
    }


def _failure_rules() -> Json:
    """Pods that were evicted or had an accident are replaced; a run that ended by decision is not begun again."""
    return [
        {"action": "Ignore", "onPodConditions": [{"type": "DisruptionTarget", "status": "True"}]},
        {"action": "FailJob", "onExitCodes": {"operator": "NotIn", "values": [AGAIN]}},
    ]


def _pod(launch: Launch, *, image: str, volume: str) -> Json:
    limits: dict[str, Json] = {"cpu": launch.ranks_per_node * launch.threads_per_rank}
    if launch.needs_accelerators:
        limits["nvidia.com/gpu"] = launch.ranks_per_node
    index: Json = {"fieldRef": {"fieldPath": "metadata.annotations['batch.kubernetes.io/job-completion-index']"}}
    environment: list[Json] = [
        {"name": NODES, "value": str(launch.num_nodes)},
        {"name": NODE_RANK, "valueFrom": index},
        {"name": MASTER, "value": f"{launch.name}-0.{launch.name}" if launch.num_nodes > 1 else ""},
    ]
    return {
        "restartPolicy": "Never",
        "subdomain": launch.name,
        "terminationGracePeriodSeconds": _SECONDS_TO_STOP,
        "volumes": [{"name": "runs", "persistentVolumeClaim": {"claimName": volume}}],
        "containers": [
            {
                "name": "ranks",
                "image": image,
                "command": ["python3", "-P", "-m", "executor.launch.ranks", launch.run_dir],
                "env": environment,
                "resources": {"limits": limits},
                "volumeMounts": [{"name": "runs", "mountPath": launch.shared_dir}],
            }
        ],
    }


def _check(pattern: re.Pattern[str], text: str, what: str, option: str) -> None:
    if not pattern.fullmatch(text):
        raise UserError(f"'{text[:60]}' names no {what.partition(' ')[2]}", next_step=option)


def _text(document: Json) -> str:
    return json.dumps(document, indent=2, ensure_ascii=True) + "\n"
