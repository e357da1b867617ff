"""The files under which the hub is deployed, as far as they can be checked without an engine to run them."""

import json
import re
import shlex
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from central_hub.api.auth import OPEN_PATHS
from central_hub.settings import HubSettings

ROOT = Path(__file__).resolve().parents[2]
KUBERNETES = ROOT / "deploy" / "kubernetes"
UNPRIVILEGED = 10001
SETTINGS = {f"CENTRAL_HUB_{name.upper()}" for name in HubSettings.model_fields}
PLAIN_IMAGE = re.compile(r"[a-z-]+:[0-9][0-9a-z.-]*\Z")
API_VERSIONS = {
    "Deployment": "apps/v1",
    "Job": "batch/v1",
    "Service": "v1",
    "PodDisruptionBudget": "policy/v1",
    "Kustomization": "kustomize.config.k8s.io/v1beta1",
}
POD = frozenset(
    "automountServiceAccountToken containers enableServiceLinks restartPolicy securityContext"
    " terminationGracePeriodSeconds topologySpreadConstraints volumes".split()
)
CONTAINER = frozenset(
    "args env image lifecycle livenessProbe name ports readinessProbe resources securityContext startupProbe"
    " volumeMounts".split()
)


def load(path: Path) -> dict[str, Any]:
    document = yaml.safe_load(path.read_text(encoding="utf-8"))
    assert isinstance(document, dict)
    return document


@pytest.fixture(scope="module")
def manifests() -> dict[str, dict[str, Any]]:
    """The Kubernetes objects by their kind."""
    found = [load(path) for path in KUBERNETES.glob("*.yaml")]
    assert sorted(manifest["kind"] for manifest in found) == sorted(API_VERSIONS)
    return {manifest["kind"]: manifest for manifest in found}


def pods(manifests: dict[str, dict[str, Any]]) -> list[dict[str, Any]]:
    return [manifests[kind]["spec"]["template"] for kind in ("Deployment", "Job")]


def containers(manifests: dict[str, dict[str, Any]]) -> list[dict[str, Any]]:
    return [container for pod in pods(manifests) for container in pod["spec"]["containers"]]


def test_every_manifest_is_of_a_kind_and_version_that_go_together(manifests: dict[str, dict[str, Any]]) -> None:
    for kind, manifest in manifests.items():
        assert manifest["apiVersion"] == API_VERSIONS[kind]
    listed = manifests["Kustomization"]["resources"]
    assert sorted(listed) == sorted(path.name for path in KUBERNETES.glob("*.yaml") if path.stem != "kustomization")


def test_no_field_of_a_pod_is_misspelled(manifests: dict[str, dict[str, Any]]) -> None:
    for pod in pods(manifests):
        assert set(pod["spec"]) <= POD
    for container in containers(manifests):
        assert set(container) <= CONTAINER


def test_the_selectors_find_the_pods_of_the_deployment_and_no_others(manifests: dict[str, dict[str, Any]]) -> None:
    hub, job = (set(pod["metadata"]["labels"].items()) for pod in pods(manifests))
    selectors = [
        manifests["Deployment"]["spec"]["selector"]["matchLabels"],
        manifests["Service"]["spec"]["selector"],
        manifests["PodDisruptionBudget"]["spec"]["selector"]["matchLabels"],
        *(
            constraint["labelSelector"]["matchLabels"]
            for constraint in manifests["Deployment"]["spec"]["template"]["spec"]["topologySpreadConstraints"]
        ),
    ]
    for selector in selectors:
        assert set(selector.items()) <= hub
        assert not set(selector.items()) <= job


def test_pods_run_without_any_privilege(manifests: dict[str, dict[str, Any]]) -> None:
    for pod in pods(manifests):
        spec = pod["spec"]
        assert spec["securityContext"]["runAsNonRoot"] is True
        assert spec["securityContext"]["runAsUser"] == UNPRIVILEGED
        assert spec["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
        assert spec["automountServiceAccountToken"] is False
    for container in containers(manifests):
        assert container["securityContext"] == {
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": True,
            "capabilities": {"drop": ["ALL"]},
        }
        assert "memory" in container["resources"]["limits"]


def test_no_service_of_the_namespace_can_set_the_hubs_port(manifests: dict[str, dict[str, Any]]) -> None:
    # Kubernetes puts <SERVICE>_PORT=tcp://… into every pod, and the service here is named central-hub.
    assert manifests["Service"]["metadata"]["name"].upper().replace("-", "_") + "_PORT" in SETTINGS
    assert all(pod["spec"]["enableServiceLinks"] is False for pod in pods(manifests))


def test_every_variable_is_a_setting_and_every_password_comes_from_a_secret(
    manifests: dict[str, dict[str, Any]],
) -> None:
    for container in containers(manifests):
        for variable in container["env"]:
            assert variable["name"] in SETTINGS
            is_secret = variable["name"].endswith("_URL")
            assert ("secretKeyRef" in variable.get("valueFrom", {})) == is_secret
            assert ("value" in variable) != is_secret


def test_the_owners_password_is_not_within_reach_of_the_hub(manifests: dict[str, dict[str, Any]]) -> None:
    hub = json.dumps(manifests["Deployment"])
    assert "central-hub-owner" not in hub
    assert "MIGRATION" not in hub


def test_the_how_to_makes_every_secret_that_is_referred_to(manifests: dict[str, dict[str, Any]]) -> None:
    how_to = (ROOT / "docs" / "how-to" / "kubernetes.md").read_text(encoding="utf-8")
    made = {
        (name, key)
        for name, options in re.findall(r"kubectl create secret generic (\S+)((?:[^\n]*\\\n)*[^\n]*)", how_to)
        for key in re.findall(r"--from-(?:literal|file)=([\w.-]+)=", options)
    }
    asked = {
        (reference["name"], reference["key"])
        for container in containers(manifests)
        for variable in container["env"]
        if (reference := variable.get("valueFrom", {}).get("secretKeyRef"))
    } | {
        (volume["secret"]["secretName"], item["key"])
        for pod in pods(manifests)
        for volume in pod["spec"].get("volumes", [])
        if "secret" in volume
        for item in volume["secret"]["items"]
    }
    assert asked == made


def test_files_named_in_settings_are_mounted(manifests: dict[str, dict[str, Any]]) -> None:
    spec = manifests["Deployment"]["spec"]["template"]["spec"]
    (container,) = spec["containers"]
    volumes = {volume["name"]: volume for volume in spec["volumes"]}
    mounted = {mount["mountPath"]: volumes[mount["name"]] for mount in container["volumeMounts"]}
    files = {item["path"] for item in mounted["/etc/central-hub"]["secret"]["items"]}
    named = {variable["value"] for variable in container["env"] if variable["name"].endswith("_FILE")}
    assert named == {f"/etc/central-hub/{file}" for file in files}
    assert mounted["/etc/central-hub"]["secret"]["defaultMode"] == 0o440
    assert "/var/lib/central-hub" in mounted


def test_probes_ask_paths_that_need_no_token_on_the_port_of_the_service(manifests: dict[str, dict[str, Any]]) -> None:
    (container,) = manifests["Deployment"]["spec"]["template"]["spec"]["containers"]
    ports = {port["name"]: port["containerPort"] for port in container["ports"]}
    assert ports == {"http": HubSettings.model_fields["port"].default}
    for probe in ("startupProbe", "livenessProbe", "readinessProbe"):
        assert container[probe]["httpGet"]["path"].encode() in OPEN_PATHS
        assert container[probe]["httpGet"]["port"] in ports
    assert container["readinessProbe"]["httpGet"]["path"] == "/health/ready"
    assert container["livenessProbe"]["httpGet"]["path"] == "/health/live"
    (port,) = manifests["Service"]["spec"]["ports"]
    assert port["targetPort"] in ports


def test_one_replica_may_leave_at_a_time(manifests: dict[str, dict[str, Any]]) -> None:
    deployment = manifests["Deployment"]["spec"]
    assert deployment["replicas"] > manifests["PodDisruptionBudget"]["spec"]["minAvailable"] >= 1
    assert deployment["strategy"]["rollingUpdate"]["maxUnavailable"] == 0


@pytest.fixture(scope="module")
def compose() -> dict[str, Any]:
    return load(ROOT / "compose.yaml")


def test_compose_brings_two_hubs_a_cluster_of_three_and_a_migration_first(compose: dict[str, Any]) -> None:
    services = compose["services"]
    assert set(services) == {"postgres", "nats-1", "nats-2", "nats-3", "migrate", "hub-1", "hub-2"}
    assert services["migrate"]["command"] == ["migrate"]
    assert services["migrate"]["depends_on"] == {"postgres": {"condition": "service_healthy"}}
    for hub in ("hub-1", "hub-2"):
        assert services[hub]["depends_on"] == {"migrate": {"condition": "service_completed_successfully"}}
        assert services[hub]["read_only"] is True
        assert services[hub]["cap_drop"] == ["ALL"]


def test_compose_publishes_on_loopback_only_and_each_port_once(compose: dict[str, Any]) -> None:
    published = [port for service in compose["services"].values() for port in service.get("ports", [])]
    assert all(port.startswith("127.0.0.1:") for port in published)
    assert len({port.split(":")[1] for port in published}) == len(published) == 3


def test_compose_sets_only_what_is_a_setting_and_gives_the_owner_to_the_migration_alone(
    compose: dict[str, Any],
) -> None:
    for name in ("migrate", "hub-1", "hub-2"):
        environment = compose["services"][name]["environment"]
        assert set(environment) <= SETTINGS
        assert ("CENTRAL_HUB_MIGRATION_DATABASE_URL" in environment) == (name == "migrate")
    servers = compose["services"]["hub-1"]["environment"]["CENTRAL_HUB_NATS_URL"].split(",")
    assert [server.rpartition("@")[2] for server in servers] == [f"nats-{number}:4222" for number in (1, 2, 3)]


def test_every_named_volume_and_mounted_file_exists(compose: dict[str, Any]) -> None:
    mounts = [mount for service in compose["services"].values() for mount in service.get("volumes", [])]
    sources = {mount.split(":")[0] for mount in mounts}
    assert {source for source in sources if not source.startswith(".")} == set(compose["volumes"])
    for source in sources - set(compose["volumes"]):
        assert (ROOT / source).is_file()


def test_no_password_stands_in_a_file_and_the_script_makes_every_one(compose: dict[str, Any], tmp_path: Path) -> None:
    script = tmp_path / "deploy" / "compose" / "passwords.sh"
    script.parent.mkdir(parents=True)
    script.write_text((ROOT / "deploy" / "compose" / "passwords.sh").read_text(encoding="utf-8"), encoding="utf-8")
    subprocess.run(["/bin/sh", str(script)], check=True)
    written = tmp_path / ".env"
    assert written.stat().st_mode & 0o777 == 0o600
    made = dict(line.split("=", 1) for line in written.read_text(encoding="utf-8").splitlines())
    asked = set(re.findall(r"\$\{(\w+)", (ROOT / "compose.yaml").read_text(encoding="utf-8")))
    assert asked == set(made)
    assert len(set(made.values())) == len(made)
    # Nothing that a URL would have to escape, and a letter first, or nats-server may read a number.
    assert all(re.fullmatch(r"[a-z][0-9a-f]{48}", value) for value in made.values())
    before = written.read_bytes()
    subprocess.run(["/bin/sh", str(script)], check=True, stderr=subprocess.DEVNULL)
    assert written.read_bytes() == before


def test_images_are_named_plainly_and_with_their_version(
    compose: dict[str, Any], manifests: dict[str, dict[str, Any]]
) -> None:
    used = {service["image"] for service in compose["services"].values()}
    used |= {container["image"] for container in containers(manifests)}
    used |= {line.split()[1] for line in dockerfile() if line.startswith("FROM ")}
    assert all(PLAIN_IMAGE.match(image) for image in used), used


def test_the_image_is_of_this_version(compose: dict[str, Any], manifests: dict[str, dict[str, Any]]) -> None:
    version = re.search(r'^version = "(.+)"$', (ROOT / "pyproject.toml").read_text(encoding="utf-8"), re.MULTILINE)
    assert version is not None
    image = f"central-hub:{version[1]}"
    assert {compose["services"][name]["image"] for name in ("migrate", "hub-1", "hub-2")} == {image}
    assert {container["image"] for container in containers(manifests)} == {image}


def dockerfile() -> list[str]:
    """The instructions of the Dockerfile, one a line."""
    text = (ROOT / "Dockerfile").read_text(encoding="utf-8").replace("\\\n", " ")
    return [line for line in text.splitlines() if line and not line.startswith("#")]


def test_the_image_runs_the_hub_as_nobody_in_particular() -> None:
    final = dockerfile()[max(i for i, line in enumerate(dockerfile()) if line.startswith("FROM ")) :]
    assert f"USER {UNPRIVILEGED}:{UNPRIVILEGED}" in final
    assert 'ENTRYPOINT ["central-hub"]' in final
    assert 'CMD ["serve"]' in final
    environment = next(line for line in final if line.startswith("ENV "))
    names = {part.partition("=")[0] for part in shlex.split(environment)[1:]}
    assert {name for name in names if name.startswith("CENTRAL_HUB_")} <= SETTINGS


def test_what_the_image_is_built_from_exists_and_is_let_through() -> None:
    copied = [
        source
        for line in dockerfile()
        if line.startswith("COPY ") and "--from" not in line
        for source in line.split()[1:-1]
    ]
    admitted = {line[1:] for line in (ROOT / ".dockerignore").read_text(encoding="utf-8").split() if line[0] == "!"}
    assert set(copied) == admitted
    assert all((ROOT / source).exists() for source in copied)
