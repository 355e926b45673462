"""The Helm chart: linted, rendered in each of its variants, and compared with the manifests for kustomize. Values that cannot be
meant are refused. A part of check.py."""

import pathlib
import subprocess
import sys
import tempfile
import tomllib

import yaml

FOLDER = pathlib.Path(__file__).resolve().parent
ROOT = FOLDER.parent
CHART = FOLDER / "helm/rpingmesh"
HELM = pathlib.Path(sys.executable).parent / "helm"
RELEASE = "east"
OF_THE_PROMETHEUS_OPERATOR = {"PodMonitor", "PrometheusRule"}

DATABASE = {"hosts": "db-a.example,db-b.example:5433", "fleet": "east"}
TOPOLOGY = '{"links": [["tor0", "spine0"]], "hosts": [{"name": "node0", "tor": "tor0"}]}'
ALL = {
    "mode": "scale",
    "image": {"registry": "images.example/net", "tag": "9.9", "pullSecrets": ["pull"]},
    "database": DATABASE,
    "controller": {"replicas": 3, "service": "LoadBalancer", "settings": '[pinglist]\nlink_rate = 20.0\n'},
    "analyzer": {"replicas": 3, "webHosts": ["rpingmesh.example"], "advertiseWeb": "https://$(POD_NAME).rpingmesh.example", "settings": 'incident_retention = "30d"\n'},
    "agent": {
        "namespace": "rpingmesh-agents",
        "createNamespace": True,
        "deviceResource": "rdma/hca_shared_devices_a",
        "readEnvironment": True,
        "podNames": "kubelet",
        "config": {"from": "configMap", "topology": TOPOLOGY, "settings": "queue_pairs = 4\n"},
    },
    "networkPolicy": {"enabled": True, "nodes": ["10.0.0.0/8", "fd00::/8"], "readers": ["monitoring"]},
    "prometheus": {"podMonitors": True, "rules": True, "labels": {"release": "prometheus"}},
}
VARIANTS = {
    "default": {},
    "scale": {"mode": "scale", "database": DATABASE},
    "servers alone": {"agent": {"enabled": False}, "networkPolicy": {"enabled": True}, "prometheus": {"podMonitors": True}},
    "pods by the API server": {"agent": {"podNames": "apiServer"}},
    "storage class": {"controller": {"storage": {"class": "fast", "size": "2Gi"}}},
    "all": ALL,
}
# What is refused, and words of the reason.
REFUSED = [
    ({"mode": "cluster"}, "mode"),
    ({"mode": "scale"}, "database.hosts"),
    ({"mode": "scale", "database": {"hosts": "db.example"}}, "database.fleet"),
    ({"mode": "scale", "database": {**DATABASE, "hosts": 'db"\nweb = "0.0.0.0:1'}}, "hosts"),
    ({"controller": {"replica": 2}}, "replica"),
    ({"controller": {"replicas": 0}}, "replicas"),
    ({"agent": {"createNamespace": True}}, "agent.namespace"),
    ({"agent": {"podNames": "kubectl"}}, "podNames"),
    ({"agent": {"config": {"from": "configMap"}}}, "agent.config.topology"),
    ({"networkPolicy": {"enabled": True, "nodes": ["10.0.0.0"]}}, "nodes"),
]


def helm(*arguments, values):
    with tempfile.NamedTemporaryFile("w", suffix=".yaml") as file:
        yaml.safe_dump(values, file)
        file.flush()
        return subprocess.run([HELM, *arguments, "--values", file.name], capture_output=True, text=True)


def render(values):
    return helm("template", RELEASE, CHART, "--namespace", "rpingmesh", values=values)


def documents(check, variant, text):
    rendered = {}
    for document in yaml.safe_load_all(text):
        if document:
            key = (document["kind"], document["metadata"]["name"])
            check(key not in rendered, f"Helm chart, {variant}: {key} is there twice")
            rendered[key] = document
    return rendered


def renamed(value):
    """Without the release's name, so that it can be compared with the manifests for kustomize."""
    if isinstance(value, dict):
        return {key: renamed(inner) for key, inner in value.items()}
    if isinstance(value, list):
        return [renamed(inner) for inner in value]
    return value.replace(f"{RELEASE}-", "") if isinstance(value, str) else value


def same_pods(check, manifests, rendered):
    """The chart's defaults start the same pods as `kubectl apply -k`."""
    for (kind, name), manifest in manifests.items():
        template = manifest.get("spec", {}).get("template")
        if not template:
            continue
        other = rendered.get((kind, f"{RELEASE}-{name}"))
        check(other, f"Helm chart: there is no {kind} {name}")
        pod = renamed(other["spec"]["template"]["spec"])
        (container,) = pod["containers"]
        check(container.pop("imagePullPolicy") == "IfNotPresent", f"Helm chart, {name}: imagePullPolicy")
        for key in template["spec"].keys() | pod.keys():
            check(template["spec"].get(key) == pod.get(key), f"{name}: {key} is {template['spec'].get(key)} for kustomize and {pod.get(key)} in the chart")


def everything(check, rendered):
    """The variant that sets most values: each has arrived where it belongs."""
    rules = rendered[("PrometheusRule", RELEASE)]
    check(rules["spec"] == yaml.safe_load((ROOT / "monitoring/prometheus/rpingmesh.rules.yml").read_text()), "Helm chart: other rules than monitoring/")
    controller = rendered[("Deployment", f"{RELEASE}-controller")]
    check(controller["spec"]["replicas"] == 3, "Helm chart: replicas of the controller")
    (container,) = controller["spec"]["template"]["spec"]["containers"]
    check(container["image"] == "images.example/net/controller:9.9", f"Helm chart: image {container['image']}")
    settings = tomllib.loads(rendered[("ConfigMap", f"{RELEASE}-controller")]["data"]["controller.toml"])
    check(settings["pinglist"]["link_rate"] == 20.0, "Helm chart: controller.settings")
    check(settings["store"].startswith("postgres://rpingmesh@db-a.example,db-b.example:5433/rpingmesh?fleet=east&"), settings["store"])
    settings = tomllib.loads(rendered[("ConfigMap", f"{RELEASE}-analyzer")]["data"]["analyzer.toml"])
    check("rpingmesh.example" in settings["web_hosts"], "Helm chart: analyzer.webHosts")
    analyzer = rendered[("StatefulSet", f"{RELEASE}-analyzer")]["spec"]
    check(analyzer["replicas"] == 3, "Helm chart: analyzer.replicas")
    (container,) = analyzer["template"]["spec"]["containers"]
    env = {entry["name"]: entry.get("value") for entry in container["env"]}
    check(env["RPINGMESH_ADVERTISE_WEB"] == "https://$(POD_NAME).rpingmesh.example", "Helm chart: analyzer.advertiseWeb")
    peers = analyzer["serviceName"]
    check(env["RPINGMESH_ADVERTISE"] == f"https://$(POD_NAME).{peers}.rpingmesh.svc:7471", f"Helm chart: {env}")
    check(rendered[("Service", peers)]["spec"]["clusterIP"] == "None", f"Helm chart: {peers} is not headless")
    for number in range(3):
        check(f"{RELEASE}-analyzer-{number}.{peers}.rpingmesh.svc" in settings["web_hosts"], f"Helm chart: {settings['web_hosts']}")
    agent = rendered[("DaemonSet", f"{RELEASE}-agent")]
    check(agent["metadata"]["namespace"] == "rpingmesh-agents", "Helm chart: the agents' namespace")
    check(("Namespace", "rpingmesh-agents") in rendered, "Helm chart: the agents' namespace is not made")
    (container,) = agent["spec"]["template"]["spec"]["containers"]
    check(container["resources"]["limits"]["rdma/hca_shared_devices_a"] == 1, "Helm chart: the RDMA device")
    check("privileged" not in container["securityContext"], "Helm chart: privileged beside a device plugin")
    check("SYS_PTRACE" in container["securityContext"]["capabilities"]["add"], "Helm chart: agent.readEnvironment")
    settings = tomllib.loads(rendered[("ConfigMap", f"{RELEASE}-agent")]["data"]["agent.toml"])
    service = rendered[("Service", f"{RELEASE}-controller")]
    check(settings["controller"] == f"https://{service['metadata']['name']}.rpingmesh.svc:7470", settings["controller"])
    check(service["spec"]["type"] == "LoadBalancer", "Helm chart: controller.service")
    monitors = {name for kind, name in rendered if kind == "PodMonitor"}
    check(monitors == {f"{RELEASE}-{role}" for role in ["controller", "analyzer", "agent"]}, f"Helm chart: PodMonitors {monitors}")


def may_list_pods(check, variant, rendered):
    """Agents may read their node's pods where they ask for them, and nothing else of the API."""
    agent = rendered.get(("DaemonSet", f"{RELEASE}-agent"))
    if not agent:
        return
    pod = agent["spec"]["template"]["spec"]
    env = {entry["name"]: entry.get("value", "") for entry in pod["containers"][0]["env"]}
    asks = env.get("RPINGMESH_SERVICES_KUBERNETES")
    check(pod["automountServiceAccountToken"] == bool(asks), f"Helm chart, {variant}: the agents' token")
    roles = [manifest for (kind, _), manifest in rendered.items() if kind == "ClusterRole"]
    check(len(roles) == bool(asks), f"Helm chart, {variant}: {len(roles)} roles")
    for role in roles:
        kubelet = asks == "https://$(NODE_ADDRESS):10250/pods"
        rules = [{"apiGroups": [""], "resources": ["nodes/pods" if kubelet else "pods"], "verbs": ["get" if kubelet else "list"]}]
        check(role["rules"] == rules, f"Helm chart, {variant}: {role['rules']} to ask {asks}")
        binding = rendered[("ClusterRoleBinding", role["metadata"]["name"])]
        (subject,) = binding["subjects"]
        check(binding["roleRef"]["name"] == role["metadata"]["name"], f"Helm chart, {variant}: {binding}")
        check((subject["name"], subject["namespace"]) == (pod["serviceAccountName"], agent["metadata"]["namespace"]), f"Helm chart, {variant}: {subject}")
        account = rendered[("ServiceAccount", pod["serviceAccountName"])]
        check(account["metadata"]["namespace"] == agent["metadata"]["namespace"], f"Helm chart, {variant}: {account}")


def selected(check, variant, rendered):
    """Whatever selects pods by labels selects those of one workload, and the ports that it names are there."""
    pods = {key: manifest["spec"]["template"] for key, manifest in rendered.items() if "template" in manifest.get("spec", {})}
    for (kind, name), manifest in rendered.items():
        spec = manifest.get("spec", {})
        if kind == "NetworkPolicy":
            labels, ports = spec["podSelector"]["matchLabels"], {port["port"] for rule in spec["ingress"] for port in rule["ports"]}
        elif kind == "PodMonitor":
            labels, ports = spec["selector"]["matchLabels"], {end["port"] for end in spec["podMetricsEndpoints"]}
        elif kind == "PodDisruptionBudget":
            labels, ports = spec["selector"]["matchLabels"], set()
        else:
            continue
        matching = [pod for pod in pods.values() if labels.items() <= pod["metadata"]["labels"].items()]
        check(len(matching) == 1, f"Helm chart, {variant}: {kind} {name} selects {len(matching)} workloads")
        named = {port["name"] for port in matching[0]["spec"]["containers"][0]["ports"]}
        check(ports <= named, f"Helm chart, {variant}: {kind} {name}: nothing listens on {ports - named}")


def variants(check, manifests):
    """All of it; returns the manifests of each variant, for the checks that all manifests undergo."""
    chart = yaml.safe_load((CHART / "Chart.yaml").read_text())
    version = tomllib.loads((ROOT / "Cargo.toml").read_text())["workspace"]["package"]["version"]
    check(chart["version"] == chart["appVersion"] == version, f"{CHART}/Chart.yaml is not of version {version}")
    found = {}
    for variant, values in VARIANTS.items():
        linted = helm("lint", "--strict", CHART, values=values)
        check(linted.returncode == 0, f"Helm chart, {variant}: {linted.stdout}{linted.stderr}")
        result = render(values)
        check(result.returncode == 0, f"Helm chart, {variant}: {result.stderr}")
        found[variant] = documents(check, variant, result.stdout)
        selected(check, variant, found[variant])
        may_list_pods(check, variant, found[variant])
    for values, words in REFUSED:
        result = render(values)
        check(result.returncode != 0, f"Helm chart: accepts {values}")
        check(words in result.stderr, f"Helm chart: {values} is refused without `{words}`: {result.stderr}")
    same_pods(check, manifests, found["default"])
    everything(check, found["all"])
    return found
