"""What `deploy/` promises: units that systemd takes, settings that the programs take, metrics that exist.

Linters and schemas that are not installed are skipped: systemd-analyze, promtool, hadolint, kubernetes-validate.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml

import cloud_server.__main__
import edge_client.__main__
from cloud_server.cluster.cluster import Cluster
from cloud_server.cluster.link import ClusterConfig, ClusterLink
from cloud_server.fleet.fleet import Fleet
from cloud_server.status_page.facts import Gauge, Replica
from cloud_server.status_page.metrics import ServerCollector
from edge_client.adaptation.policy import PolicyState
from edge_client.output.metrics import RunCollector
from edge_client.output.statistics import RunStatistics
from tests.conftest import PROJECT
from tests.support.client_samples import result
from tests.support.status_pages import add_device, facts_of

DEPLOY = PROJECT / "deploy"
UNITS = sorted((DEPLOY / "systemd").glob("*.service"))
DOCKERFILES = sorted((DEPLOY / "docker").glob("Dockerfile.*"))
YAML = sorted([*DEPLOY.rglob("*.yaml"), *DEPLOY.rglob("*.yml")])
MANIFESTS = [path for path in YAML if path.parent.name == "kubernetes" and path.name != "adapter-rule.yaml"]
MOST_EXPOSED = {"cloud-server.service": 1.5, "edge-client.service": 2.0}  # of 10, by systemd-analyze security
OWN_PROCESS = {"process_resident_memory_bytes", "process_cpu_seconds_total"}  # of prometheus-client
names = pytest.mark.parametrize


def name_of(path: Path) -> str:
    return str(path.relative_to(DEPLOY))


def needs(program: str) -> pytest.MarkDecorator:
    return pytest.mark.skipif(shutil.which(program) is None, reason=f"{program} is not installed")


def metrics_that_exist() -> set[str]:
    """Return the names of all samples that server and device can expose."""
    fleet, run = Fleet(), RunStatistics(0.0)
    add_device(fleet, 10.0)
    fleet.refused(10.0, "ipv4:192.0.2.7", "FAILED_PRECONDITION", "")
    fleet.tally.refused("coco-nano", "busy")
    run.add_result(1.0, result())
    run.policy_state = PolicyState(1e6, 5e5, rtt_min_ms=10.0, load_factor=1.0)
    figures = Cluster(ClusterLink(ClusterConfig()), lanes=4, falls_back=True).figures()
    facts = facts_of(fleet)
    gauges = [*facts.gauges(), *(Gauge(*one) for one in figures)]
    facts = replace(facts, gauges=lambda: gauges, replicas=lambda: [Replica("r1", "n1", 1.0, 2)])
    collectors = (ServerCollector(facts), RunCollector(lambda: run, 200.0, lambda: 50.0))
    return OWN_PROCESS | {one.name for each in collectors for family in each.collect() for one in family.samples}


def recorded() -> set[str]:
    rules = yaml.safe_load((DEPLOY / "prometheus" / "alerts.yml").read_text())
    return {rule["record"] for group in rules["groups"] for rule in group["rules"] if "record" in rule}


def used_in(expression: str) -> set[str]:
    """Return the names of metrics in an expression of PromQL."""
    return set(re.findall(r"(?<![\w:])(?:slimsplit|process)[\w:]*\w", re.sub(r'"[^"]*"', "", expression)))


def expressions() -> Iterator[tuple[str, str]]:
    """Yield every expression of dashboard, rules and adapter, with where it stands."""
    rules = yaml.safe_load((DEPLOY / "prometheus" / "alerts.yml").read_text())
    for group in rules["groups"]:
        yield from ((rule.get("alert", rule.get("record")), rule["expr"]) for rule in group["rules"])
    for path in (DEPLOY / "grafana" / "dashboards").glob("*.json"):
        board = json.loads(path.read_text())
        for panel in board["panels"]:
            yield from ((panel["title"], target["expr"]) for target in panel.get("targets", ()))
        for variable in board["templating"]["list"]:
            yield variable["name"], variable["query"]
    adapter = yaml.safe_load((DEPLOY / "kubernetes" / "adapter-rule.yaml").read_text())
    yield from (("adapter", rule["seriesQuery"]) for rule in adapter["rules"]["custom"])


def test_every_metric_that_is_used_exists():
    known = metrics_that_exist() | recorded()
    used = [(place, name) for place, expression in expressions() for name in used_in(expression)]
    assert len(used) > 40
    assert [(place, name) for place, name in used if name not in known] == []


def test_labels_that_are_chosen_by_are_those_of_the_metrics():
    stages = {"wait", "decode", "infer", "total"}
    text = " ".join(expression for _, expression in expressions())
    assert set(re.findall(r'stage="(\w+)"', text)) <= stages
    assert set(re.findall(r'outcome="(\w+)"', text)) <= {"answered", "local", "late", "skipped", "lost", "refused"}
    assert set(re.findall(r'state="(\w+)"', text)) <= {"connected", "gone"}


def test_autoscaling_asks_for_the_metric_that_the_adapter_makes():
    adapter = yaml.safe_load((DEPLOY / "kubernetes" / "adapter-rule.yaml").read_text())
    made = {rule["name"]["as"] for rule in adapter["rules"]["custom"]}
    scaler = yaml.safe_load((DEPLOY / "kubernetes" / "autoscaling.yaml").read_text())
    assert {one["pods"]["metric"]["name"] for one in scaler["spec"]["metrics"]} == made


@names(
    ("program", "file"),
    [(cloud_server.__main__.main, "cloud-server.toml"), (edge_client.__main__.main, "edge-client.toml")],
)
def test_the_settings_are_taken_by_their_program(program, file, capsys):
    assert program(["check", str(DEPLOY / file)]) == 0
    assert file in capsys.readouterr().out


@names("unit", UNITS, ids=name_of)
@needs("systemd-analyze")
def test_systemd_takes_a_unit(unit, tmp_path):
    path = tmp_path / unit.name  # with a program that is here
    path.write_text(re.sub(r"^ExecStart=\S+", "ExecStart=/bin/true", unit.read_text(), flags=re.MULTILINE))
    ran = subprocess.run(["systemd-analyze", "verify", path], capture_output=True, text=True)
    complaints = [line for line in ran.stderr.splitlines() if unit.name in line]
    assert (ran.returncode, complaints) == (0, [])


@names("unit", UNITS, ids=name_of)
@needs("systemd-analyze")
def test_a_unit_is_as_closed_as_the_page_says(unit):
    command = ["systemd-analyze", "security", "--offline=true", str(unit)]
    ran = subprocess.run(command, capture_output=True, text=True, env={"LC_ALL": "C.UTF-8", "PATH": "/usr/bin:/bin"})
    found = re.search(r"exposure level for .*: ([\d.]+)", ran.stdout)
    assert found is not None and float(found[1]) <= MOST_EXPOSED[unit.name]


@names("unit", UNITS, ids=name_of)
def test_a_unit_starts_its_program_with_the_settings_of_deploy(unit):
    text = unit.read_text()
    program = unit.stem
    start = re.search(
        r"^ExecStart=/opt/slimsplit/.venv/bin/(\S+) (\S+) --config /etc/slimsplit/(\S+)$", text, re.MULTILINE
    )
    assert start is not None and start[1] == program and (DEPLOY / start[3]).is_file()
    grace = yaml_like(DEPLOY / "cloud-server.toml", "drain_grace_s")
    stop = int(re.search(r"^TimeoutStopSec=(\d+)$", text, re.MULTILINE)[1])
    assert program != "cloud-server" or stop > grace
    for line in ("NoNewPrivileges=yes", "ProtectSystem=strict", "WatchdogSec=30", "DynamicUser=yes"):
        assert line in text.splitlines()


def yaml_like(path: Path, key: str) -> float:
    return float(re.search(rf"^{key} = (\S+)$", path.read_text(), re.MULTILINE)[1])


@names("path", YAML, ids=name_of)
def test_every_file_of_yaml_can_be_read(path):
    assert all(document for document in yaml.safe_load_all(path.read_text()))


@names("path", MANIFESTS, ids=name_of)
def test_manifests_follow_the_schema_of_kubernetes(path):
    validate = pytest.importorskip("kubernetes_validate")
    for document in yaml.safe_load_all(path.read_text()):
        validate.validate(document, "1.32", strict=True)


def ray_groups() -> dict[str, dict[str, Any]]:
    """Return the groups of pods of the Ray cluster, by the name of their container."""
    (cluster,) = yaml.safe_load_all((DEPLOY / "kuberay" / "cluster.yaml").read_text())
    groups = [cluster["spec"]["headGroupSpec"], *cluster["spec"]["workerGroupSpecs"]]
    return {group["template"]["spec"]["containers"][0]["name"]: group for group in groups}


def test_pods_of_the_ray_cluster_follow_the_schema_of_kubernetes():
    """The resource itself is of the operator KubeRay; what is in it is pods."""
    validate = pytest.importorskip("kubernetes_validate")
    for name, group in ray_groups().items():
        pod = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name}, "spec": group["template"]["spec"]}
        validate.validate(pod, "1.32", strict=True)


def test_replicas_run_beside_no_head_and_in_their_bounds():
    groups = ray_groups()
    assert groups["ray-head"]["rayStartParams"]["num-cpus"] == "0"
    workers = groups["replica"]
    assert workers["minReplicas"] <= workers["replicas"] <= workers["maxReplicas"]
    assert {group["template"]["spec"]["containers"][0]["image"] for group in groups.values()} == {
        "slimsplit/cloud-server-cluster:0.1.0"
    }


def documents(kind: str) -> dict[str, Any]:
    found = [one for path in MANIFESTS for one in yaml.safe_load_all(path.read_text()) if one["kind"] == kind]
    return found[0]


def test_a_pod_has_time_to_drain():
    pod = documents("Deployment")["spec"]["template"]["spec"]
    (container,) = pod["containers"]
    grace = int(container["args"][container["args"].index("--drain-grace-s") + 1])
    pause = int(container["lifecycle"]["preStop"]["exec"]["command"][1])
    assert pod["terminationGracePeriodSeconds"] > grace + pause
    assert (
        documents("HorizontalPodAutoscaler")["spec"]["scaleTargetRef"]["name"]
        == documents("Deployment")["metadata"]["name"]
    )


@names("path", DOCKERFILES, ids=name_of)
def test_an_image_runs_as_nobody_in_particular_and_is_looked_after(path):
    text = path.read_text()
    assert re.search(r"^USER 10001$", text, re.MULTILINE) and re.search(r"^HEALTHCHECK ", text, re.MULTILINE)
    entry = json.loads(re.search(r"^ENTRYPOINT (.+)$", text, re.MULTILINE)[1])
    assert entry == [path.suffix.removeprefix(".")]
    variables = set(re.findall(r"SLIMSPLIT_(\w+)=", text))
    config = cloud_server.__main__.ServeConfig if "cloud-server" in path.name else edge_client.config.RunConfig
    assert {name.lower() for name in variables} <= set(config.__dataclass_fields__)


@names("path", DOCKERFILES, ids=name_of)
@needs("hadolint")
def test_dockerfiles_pass_their_linter(path):
    ran = subprocess.run(["hadolint", str(path)], capture_output=True, text=True)
    assert ran.stdout == ""


@needs("promtool")
def test_prometheus_takes_the_rules():
    ran = subprocess.run(["promtool", "check", "rules", DEPLOY / "prometheus" / "alerts.yml"], capture_output=True)
    assert ran.returncode == 0


def test_compose_builds_what_is_there_and_mounts_what_is_there():
    compose = yaml.safe_load((DEPLOY / "docker" / "compose.yaml").read_text())
    for service in compose["services"].values():
        build = service.get("build")
        if build is not None:
            assert (DEPLOY / "docker" / build["context"] / build["dockerfile"]).is_file()
        for mount in service.get("volumes", ()):
            source = mount.partition(":")[0]
            assert source in compose["volumes"] or (DEPLOY / "docker" / source).exists()


def test_compose_follows_its_schema():
    """COMPOSE_SCHEMA: a copy of schema/compose-spec.json of github.com/compose-spec/compose-spec."""
    if "COMPOSE_SCHEMA" not in os.environ:
        pytest.skip("COMPOSE_SCHEMA names no copy of the schema")
    schema = json.loads(Path(os.environ["COMPOSE_SCHEMA"]).read_text())
    compose = yaml.safe_load((DEPLOY / "docker" / "compose.yaml").read_text())
    pytest.importorskip("jsonschema").Draft7Validator(schema).validate(compose)
