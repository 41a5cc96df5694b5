"""deploy/spark/: container files agree with each other, with the start script, and with what vingate is told there.

No image can be had where these tests run, so nothing is built or started in a container; the start script itself starts
every cluster of `tests/pipelines/test_spark.py`.
"""

from __future__ import annotations

import os
import re
import socket
import subprocess
import sys
import time
import xml.etree.ElementTree as ElementTree
from pathlib import Path

import pytest
import yaml

from pipelines.runnable import EXTERNAL, POOL, environment, runnable
from pipelines.settings import load

ROOT = Path(__file__).parents[1]
SPARK = ROOT / "deploy" / "spark"
sys.path.insert(0, str(SPARK))
from local_cluster import Cluster  # noqa: E402

HOME = Path(os.environ.get("SPARK_CLUSTER") or ROOT / "var" / "spark")
START = (SPARK / "start").read_text("utf-8")
READ = set(re.findall(r"\$\{([A-Z_]+)[:}]", START))
"""Variables that the start script takes."""
COMPOSE = yaml.safe_load((SPARK / "compose.yaml").read_text("utf-8"))["services"]
OBJECTS = list(yaml.safe_load_all((SPARK / "kubernetes.yaml").read_text("utf-8")))
KNOWN = {
    "build", "image", "restart", "init", "command", "environment", "depends_on", "entrypoint", "volumes",
    "network_mode", "profiles",
}  # fmt: skip
"""Members of a service in the Compose Specification that the file uses."""
VINGATE, JAVA = "vingate", "vingate-spark"


def of_kind(*kinds):
    return {one["metadata"]["name"]: one for one in OBJECTS if one["kind"] in kinds}


def pods():
    """Name -> labels and containers of what runs."""
    made = {name: one["spec"]["template"] for name, one in of_kind("Deployment", "Job").items()}
    return {name: (one["metadata"]["labels"], one["spec"]) for name, one in made.items()}


def containers():
    return [(name, one) for name, (_, spec) in pods().items() for one in spec["containers"]]


def ran(arguments):
    """The exchange that `vingate run` would run by these arguments."""
    settings, *told = arguments
    options = dict(one.removeprefix("--").split("=", 1) for one in told if not one.startswith("--set="))
    said = [one.removeprefix("--set=") for one in told if one.startswith("--set=")]
    state = options.pop("state")
    named = [f"{name.replace('-', '_')}={value}" for name, value in options.items()]
    exchange = load(ROOT / settings, [*said, *named], {})
    runnable(exchange)
    return exchange, state


def test_versions_are_those_that_were_tried_together():
    pyspark = re.search(r"^pyspark==([\d.]+)", (ROOT / "requirements-cluster.lock").read_text("utf-8"))[1]
    image = re.search(r"^FROM apache/spark:([\d.]+)-scala([\d.]+)-java17", (SPARK / "Dockerfile").read_text(), re.M)
    assert image[1] == pyspark
    assert f"SPARK_SCALA_VERSION={image[2]}" in START
    namespace = {"m": "http://maven.apache.org/POM/4.0.0"}
    found = ElementTree.parse(SPARK / "pom.xml").findall(".//m:dependency", namespace)  # noqa: S314 - our own file
    versions = {one.find("m:artifactId", namespace).text: one.find("m:version", namespace).text for one in found}
    assert versions == {"beam-runners-spark-3": "2.70.0", "beam-runners-java-job-service": "2.65.0"}


def test_every_file_that_an_image_is_made_of_is_there():
    for line in re.findall(r"^COPY (?!--)(.+)$", (SPARK / "Dockerfile").read_text(), re.M):
        *files, _ = line.split()
        assert [one for one in files if not (ROOT / one).exists()] == []
    for service in COMPOSE.values():
        assert (SPARK / service["build"]["context"] / service["build"]["dockerfile"]).is_file()
        assert service["image"] == (JAVA if "spark" in service["build"]["dockerfile"] else VINGATE)


def test_an_unknown_role_is_told(tmp_path):
    environment = {**os.environ, "LISTEN": "127.0.0.1", "WORK": str(tmp_path)}
    done = subprocess.run(["bash", str(SPARK / "start"), "driver"], capture_output=True, text=True, env=environment)
    assert (done.returncode, "no such role: driver" in done.stderr) == (2, True)


# -- compose -----------------------------------------------------------------------------------------------------------


def test_compose_services_are_of_the_known_form_and_set_what_the_start_script_reads():
    for name, service in COMPOSE.items():
        assert set(service) <= KNOWN, name
        assert set(service.get("environment", {})) <= READ, name
        assert set(service.get("depends_on", [])) <= set(COMPOSE), name
        if service["image"] == JAVA:
            assert re.search(rf"^{service['command'][0]}\)$", START, re.M), name


def test_in_compose_each_spark_worker_has_workers_of_steps_in_its_network():
    workers = {name for name, one in COMPOSE.items() if one.get("command") == ["worker"]}
    beside = {one["network_mode"].removeprefix("service:") for one in COMPOSE.values() if "network_mode" in one}
    assert workers == beside
    assert len(workers) == 2
    for one in COMPOSE.values():
        assert "ports" not in one, "nobody outside may reach these"
        if "network_mode" in one:
            assert (one["entrypoint"], one["command"]) == (["vingate", "workers"], ["--listen", "127.0.0.1:50000"])
            assert one["volumes"] == COMPOSE["run"]["volumes"], "the same paths as the coordinator"


def test_in_compose_the_run_finds_the_job_server_and_the_job_server_the_master():
    exchange, state = ran(COMPOSE["run"]["command"])
    host, _, port = exchange.job_endpoint.partition(":")
    assert COMPOSE[host]["environment"]["JOB_PORT"] == port
    for name in ("job-server", "spark-worker-1", "spark-worker-2"):
        assert COMPOSE[name]["environment"]["MASTER"] == "spark://spark-master:7077"
    assert "${MASTER_PORT:-7077}" in START
    shared = COMPOSE["run"]["volumes"][0].split(":")[1]
    for path in (state, exchange.source.options["path"], exchange.sinks["provinces"].options["path"]):
        assert path.startswith(f"{shared}/")


# -- kubernetes --------------------------------------------------------------------------------------------------------


def test_every_selector_of_the_manifests_finds_its_pods():
    labels = {name: found for name, (found, _) in pods().items()}
    for name, one in of_kind("Deployment").items():
        assert one["spec"]["selector"]["matchLabels"] == labels[name]
    for name, one in of_kind("Service").items():
        assert one["spec"]["selector"] == labels[name]
    (policy,) = of_kind("NetworkPolicy").values()
    ours = policy["spec"]["podSelector"]["matchLabels"].items()
    assert all(ours <= found.items() for found in labels.values())
    assert policy["spec"]["ingress"] == [{"from": [{"podSelector": policy["spec"]["podSelector"]}]}]


def test_ports_of_services_are_those_of_containers_and_of_the_start_script():
    for name, service in of_kind("Service").items():
        (container,) = pods()[name][1]["containers"]
        ports = {one["name"]: one["containerPort"] for one in container["ports"]}
        assert {one["targetPort"]: one["port"] for one in service["spec"]["ports"]} == ports
        told = {one["name"]: one.get("value") for one in container["env"]}
        assert {str(port) for port in ports.values()} == {value for key, value in told.items() if key.endswith("_PORT")}


def test_containers_set_what_the_start_script_reads_and_run_roles_that_it_has():
    for name, one in containers():
        assert one["image"] in (JAVA, VINGATE), name
        assert {told["name"] for told in one.get("env", ())} <= READ, name
        assert one["securityContext"]["allowPrivilegeEscalation"] is False
        if one["image"] == JAVA:
            assert re.search(rf"^{one['args'][0]}\)$", START, re.M)
            assert {"name": "work", "mountPath": "/work"} in one["volumeMounts"]
        else:
            assert one["volumeMounts"] == [{"name": "data", "mountPath": "/data"}], "the same paths everywhere"


def test_volumes_are_there_and_shared_ones_can_be_written_by_many():
    claims = of_kind("PersistentVolumeClaim")
    for _, spec in pods().values():
        mounted = {one["name"] for container in spec["containers"] for one in container["volumeMounts"]}
        assert mounted == {one["name"] for one in spec["volumes"]}
        named = [one["persistentVolumeClaim"]["claimName"] for one in spec["volumes"] if "persistentVolumeClaim" in one]
        assert all(claims[one]["spec"]["accessModes"] == ["ReadWriteMany"] for one in named)


def test_on_kubernetes_everybody_finds_everybody():
    services = of_kind("Service")
    for _, one in containers():
        for told in one.get("env", ()):
            if told["name"] == "MASTER":
                name, _, port = told["value"].removeprefix("spark://").partition(":")
                assert int(port) in [found["port"] for found in services[name]["spec"]["ports"]]
    (run,) = pods()["bulk"][1]["containers"]
    exchange, state = ran(run["args"])
    name, _, port = exchange.job_endpoint.partition(":")
    assert int(port) in [found["port"] for found in services[name]["spec"]["ports"]]
    assert all(path.startswith("/data/") for path in (state, exchange.source.options["path"]))
    steps = next(one for _, one in containers() if one["name"] == "steps")
    assert environment(exchange) == (EXTERNAL, POOL)
    assert steps["args"][1].rpartition(":")[2] == POOL.rpartition(":")[2], "where executors look for it"
    workers = of_kind("Deployment")["spark-worker"]["spec"]["replicas"]
    assert int(next(t["value"] for _, c in containers() for t in c.get("env", ()) if t["name"] == "PARALLELISM")) == (
        4 * workers
    )


# -- on this machine ---------------------------------------------------------------------------------------------------


@pytest.mark.skipif(not (HOME / ".ready").exists(), reason="no Spark: scripts/cluster fills var/spark")
def test_a_cluster_ends_with_who_started_it_even_where_that_is_killed(tmp_path):
    command = [sys.executable, str(SPARK / "local_cluster.py"), "--home", str(HOME), "--workers", "1"]
    environment = {**os.environ, "TMPDIR": str(tmp_path), "PYTHONPATH": os.pathsep.join(sys.path)}
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment) as process:
        assert process.stdout.readline().startswith("--runner spark --job-endpoint 127.0.0.1:")
        servers = [int(one) for one in Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()]
        process.kill()
    assert len(servers) == 4
    end = time.monotonic() + 60
    while time.monotonic() < end and any(Path(f"/proc/{one}").exists() for one in servers):
        time.sleep(0.1)
    assert [one for one in servers if Path(f"/proc/{one}").exists()] == []


# -- the job server ----------------------------------------------------------------------------------------------------


@pytest.mark.skipif(not (HOME / ".ready").exists(), reason="no Spark: scripts/cluster fills var/spark")
def test_a_job_server_with_ports_of_its_own_listens_at_its_host_alone(tmp_path):
    with socket.socket() as one, socket.socket() as two:
        one.bind(("127.0.0.2", 0))
        two.bind(("127.0.0.2", 0))
        jobs, artifacts = one.getsockname()[1], two.getsockname()[1]
    told = {"LISTEN": "127.0.0.2", "JOB_PORT": jobs, "ARTIFACT_PORT": artifacts, "MASTER": "spark://127.0.0.2:1"}
    with Cluster(HOME, tmp_path, 0) as cluster:
        cluster.start_server("job-server-2", "job-server", **told)
        cluster.port("job-server-2", r"JobService started on [^:]*:(\d+)")
        end = time.monotonic() + 60
        wanted = {f"::ffff:7f00:2:{port}" for port in (jobs, artifacts)}
        while not wanted <= set(cluster.listening()) and time.monotonic() < end:
            time.sleep(0.1)
        found = {place for place in cluster.listening() if place.rpartition(":")[2] in (str(jobs), str(artifacts))}
    assert found == wanted
