"""The manifests: what they refer to is there, nothing holds more than it needs, and the figures fit the code's."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

import connectors
from app import serving, worker
from app.core.db import Database
from app.core.settings import FILES, Config, Settings, variable_of
from app.ops.metrics import Metrics
from connectors.contract import Connector
from tests.test_docker import FINAL, all_of

ROOT = Path(__file__).resolve().parents[1]
FOLDER = ROOT / "deploy/kubernetes"
NOT_APPLIED = {"kustomization.yaml", "secret.example.yaml"}


def documents(name: str) -> list[dict[str, Any]]:
    return list(yaml.safe_load_all((FOLDER / name).read_text(encoding="utf-8")))


KUSTOMIZATION = documents("kustomization.yaml")[0]
FILES_APPLIED: list[str] = KUSTOMIZATION["resources"]
ALL = [doc for name in FILES_APPLIED for doc in documents(name)]
SECRET = documents("secret.example.yaml")[0]
ENVIRONMENT: dict[str, str] = next(
    d["data"] for d in ALL if d["kind"] == "ConfigMap" and d["metadata"]["name"] == "tandem-environment"
)
CONFIG = Config.model_validate(
    yaml.safe_load(next(d["data"]["tandem.yml"] for d in ALL if d["kind"] == "ConfigMap" and "tandem.yml" in d["data"]))
)


def one(kind: str, name: str) -> dict[str, Any]:
    (found,) = (d for d in ALL if d["kind"] == kind and d["metadata"]["name"] == name)
    return found


PODS = {d["metadata"]["name"]: d["spec"]["template"] for d in ALL if d["kind"] in {"Deployment", "Job"}}


def names(value: Any) -> Iterator[tuple[str, Any]]:
    """Every key and value, at any depth."""
    if isinstance(value, dict):
        for key, inner in value.items():
            yield key, inner
            yield from names(inner)
    elif isinstance(value, list):
        for inner in value:
            yield from names(inner)


def test_everything_is_applied() -> None:
    """Each file is listed, but for the example of a secret; what git must not keep, it does not."""
    assert set(FILES_APPLIED) == {p.name for p in FOLDER.glob("*.yaml")} - NOT_APPLIED
    assert sorted(f"{d['kind']} {d['metadata']['name']}" for d in ALL) == sorted(
        [
            *("ServiceAccount tandem", "ConfigMap tandem", "ConfigMap tandem-environment", "Job tandem-migrate"),
            *("Deployment tandem-web", "Service tandem-web", "PodDisruptionBudget tandem-web"),
            *("Deployment tandem-worker", "PodDisruptionBudget tandem-worker"),
            *("HorizontalPodAutoscaler tandem-worker", "NetworkPolicy tandem", "NetworkPolicy tandem-web"),
        ]
    )
    assert "deploy/kubernetes/secret.yaml" in (ROOT / ".gitignore").read_text(encoding="utf-8").split()


@pytest.mark.parametrize("name", [*FILES_APPLIED, "secret.example.yaml"])
def test_the_schema_has_nothing_to_say(name: str) -> None:
    """No key that Kubernetes does not know, no value of another type."""
    validate = pytest.importorskip("kubernetes_validate", reason="the package kubernetes-validate is not installed")
    for doc in documents(name):
        validate.validate(doc, validate.latest_version(), strict=True)


CONTAINER = {
    *("name", "image", "args", "envFrom", "ports", "securityContext", "resources", "lifecycle", "startupProbe"),
    *("livenessProbe", "readinessProbe", "volumeMounts"),
}
POD = {
    *("terminationGracePeriodSeconds", "serviceAccountName", "automountServiceAccountToken", "securityContext"),
    *("topologySpreadConstraints", "containers", "volumes", "restartPolicy"),
}


@pytest.mark.parametrize("name", sorted(PODS))
def test_a_pod_holds_no_more_than_it_needs(name: str) -> None:
    """Not root, read-only, no capabilities, no token of the cluster, bounded memory; no key with a slip in it."""
    pod = PODS[name]["spec"]
    assert set(pod) <= POD
    (container,) = pod["containers"]
    assert set(container) <= CONTAINER
    user, group = all_of(FINAL, "USER")[-1].split(":")
    assert pod["securityContext"] == {
        "runAsNonRoot": True,
        "runAsUser": int(user),
        "runAsGroup": int(group),
        "fsGroup": int(group),
        "seccompProfile": {"type": "RuntimeDefault"},
    }
    assert container["securityContext"] == {
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        "capabilities": {"drop": ["ALL"]},
    }
    assert pod["automountServiceAccountToken"] is False
    assert pod["serviceAccountName"] == one("ServiceAccount", "tandem")["metadata"]["name"]
    assert "memory" in container["resources"]["limits"]
    mounted = {m["mountPath"] for m in container["volumeMounts"]}
    assert mounted == {"/etc/tandem", "/run/secrets/tandem", "/tmp", *all_of(FINAL, "VOLUME")}
    assert {m["name"] for m in container["volumeMounts"]} == {v["name"] for v in pod["volumes"]}


def test_nothing_secret_stands_in_the_environment() -> None:
    """Secrets are files; each variable is one that Tandem reads, and each file is a key of the secret."""
    found = connectors.find()
    known = {f"TANDEM_{n}".upper() for n in Settings.model_fields} | {f"TANDEM_{n}_FILE".upper() for n in FILES}
    secret = {f"TANDEM_{n}_FILE".upper() for n in FILES}
    for connection in CONFIG.connections:
        kind: type[Connector] = found[connection.connector]
        for setting in kind.settings:
            variable = variable_of(connection.name, setting.name)
            known |= {variable, f"{variable}_FILE"}
            if setting.secret:
                secret.add(f"{variable}_FILE")
                if setting.required:
                    assert f"{variable}_FILE" in ENVIRONMENT
            elif setting.required:
                assert setting.name in connection.settings
    assert set(ENVIRONMENT) <= known
    files = {value for key, value in ENVIRONMENT.items() if key in secret}
    assert files == {f"/run/secrets/tandem/{key}" for key in SECRET["stringData"]}
    assert not [
        key for key in ENVIRONMENT if key not in secret and re.search("TOKEN|SECRET|PASSWORD|KEY|DATABASE", key)
    ]
    assert [d for d in ALL if d["kind"] == "Secret"] == []


def test_what_is_referred_to_is_there() -> None:
    """Config maps, the secret, named ports, and the labels by which services, budgets and policies choose pods."""
    maps = {d["metadata"]["name"]: set(d["data"]) for d in ALL if d["kind"] == "ConfigMap"}
    ports = {
        name: {p["name"] for c in pod["spec"]["containers"] for p in c.get("ports", [])} for name, pod in PODS.items()
    }
    for pod in PODS.values():
        for key, value in names(pod):
            if key == "configMapRef":
                assert value["name"] in maps
            elif key == "configMap":
                assert {i["key"] for i in value["items"]} <= maps[value["name"]]
            elif key == "secret":
                assert value["secretName"] == SECRET["metadata"]["name"]
    for doc in ALL:
        selector = doc["spec"].get("selector", doc["spec"].get("podSelector")) if "spec" in doc else None
        if selector is None:
            continue
        wanted = selector.get("matchLabels", selector)
        chosen = [n for n, pod in PODS.items() if wanted.items() <= pod["metadata"]["labels"].items()]
        assert chosen, doc["metadata"]["name"]
        if doc["kind"] in {"Service", "PodDisruptionBudget", "Deployment"}:
            assert chosen == [doc["metadata"]["name"]]
    service = one("Service", "tandem-web")
    assert {p["targetPort"] for p in service["spec"]["ports"]} <= ports["tandem-web"]
    budget = one("PodDisruptionBudget", "tandem-web")["spec"]
    assert budget["minAvailable"] < one("Deployment", "tandem-web")["spec"]["replicas"]


def test_probes_ask_what_there_is(tmp_path: Path) -> None:
    """Routes that need no token and look at no database, so that a database that is away gets nobody killed."""
    from app.main import Tandem

    built = Tandem(Settings(_env_file=None, database=f"sqlite:///{tmp_path / 'x.db'}"), Config(), {})
    app: Any = built.app()
    routes = set(app.api.openapi()["paths"])
    built.database.close()
    for name in ("tandem-web", "tandem-worker"):
        (container,) = PODS[name]["spec"]["containers"]
        for probe in ("startupProbe", "livenessProbe", "readinessProbe"):
            asked = container[probe]["httpGet"]
            assert asked == {"path": "/health/live", "port": "http"}
            assert asked["path"] in routes


def test_there_is_time_to_stop() -> None:
    """The pause before the signal, the server's grace and the workers' come to less than what a pod is given."""
    for name in ("tandem-web", "tandem-worker"):
        pod = PODS[name]["spec"]
        (container,) = pod["containers"]
        pause = re.search(r"sleep\((\d+)\)", str(container.get("lifecycle", "")))
        seconds = (int(pause[1]) if pause is not None else 0) + serving.GRACE_SECONDS + worker.STOP_SECONDS
        assert seconds < pod["terminationGracePeriodSeconds"]
    assert "preStop" in PODS["tandem-web"]["spec"]["containers"][0]["lifecycle"]
    told = re.search(r"give it (\d+) seconds", (ROOT / "docs/operate.md").read_text(encoding="utf-8"))
    assert told is not None
    assert int(told[1]) == pod["terminationGracePeriodSeconds"]


def test_roles_do_what_they_say() -> None:
    """The door without workers, the worker with all of it, and the migration that ends."""
    args = {name: pod["spec"]["containers"][0]["args"] for name, pod in PODS.items()}
    assert args == {
        "tandem-web": ["serve", "--no-workers"],
        "tandem-worker": ["serve"],
        "tandem-migrate": ["migrate"],
    }
    assert one("Deployment", "tandem-web")["spec"]["strategy"]["rollingUpdate"]["maxUnavailable"] == 0
    assert "replicas" not in one("Deployment", "tandem-worker")["spec"], "the autoscaler's word, not ours"


def test_it_grows_by_the_age_of_what_waits(database: Database) -> None:
    """By metrics that exist; and all workers together stay within each vendor's rate."""
    scaler = one("HorizontalPodAutoscaler", "tandem-worker")["spec"]
    assert scaler["scaleTargetRef"]["name"] == "tandem-worker"
    exported = {family.name for family in Metrics(database, ["hub"]).registry.collect()}
    asked = {m["external"]["metric"]["name"] for m in scaler["metrics"]}
    assert asked == {"tandem_inbox_oldest_seconds", "tandem_work_oldest_seconds"}
    assert asked <= exported
    page = (ROOT / "docs/deploy.md").read_text(encoding="utf-8")
    assert all(name in page for name in asked), "the rules of the adapter"
    for connection in CONFIG.connections:
        assert connection.call_share * scaler["maxReplicas"] < 1


def test_the_network_is_closed() -> None:
    """In: the ingress and Prometheus, on one port.  Out: names, the database, and https to the internet only."""
    policy = one("NetworkPolicy", "tandem")["spec"]
    assert policy["policyTypes"] == ["Ingress", "Egress"]
    assert [p["port"] for rule in policy["ingress"] for p in rule["ports"]] == ["http"]
    out = {p["port"]: rule["to"] for rule in policy["egress"] for p in rule["ports"]}
    assert set(out) == {53, 5432, 443}
    (block,) = out[443]
    assert {"169.254.0.0/16", "10.0.0.0/8"} <= set(block["ipBlock"]["except"])


def test_the_image_is_a_version() -> None:
    """Not whatever is newest."""
    (image,) = KUSTOMIZATION["images"]
    assert re.fullmatch(r"\d+\.\d+\.\d+", image["newTag"])
    assert {pod["spec"]["containers"][0]["image"] for pod in PODS.values()} == {image["name"]}
