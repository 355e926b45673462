"""Whether the images of deploy/ and nix/, Compose and Kubernetes agree on names, versions, start commands, users, folders and
privileges, and whether an image's build gets the sources and the eBPF object that it needs. A part of check.py."""

import fnmatch
import json
import os
import pathlib
import re
import shutil
import subprocess
import tempfile
import tomllib

FOLDER = pathlib.Path(__file__).resolve().parent
ROOT = FOLDER.parent
DOCKERFILE = FOLDER / "Dockerfile"

# Roles that need no privilege, and what the processes have in common.
SERVERS = {"controller", "analyzer"}
USER = 65532

# Compose's default is said in the file, Kubernetes' is to be replaced by kustomize.
REGISTRY = re.compile(r"^(\$\{RPINGMESH_REGISTRY:-registry\.example/rpingmesh\}|registry\.example/rpingmesh)/")

# Which key tells the entries of a list apart, in strategic merge patches of Kubernetes.
MERGED_BY = {"containers": "name", "volumes": "name", "volumeMounts": "mountPath"}


def stages():
    """What each stage of the Dockerfile says about how it starts."""
    found, stage = {}, None
    for line in DOCKERFILE.read_text().splitlines():
        words = line.split()
        if not words:
            continue
        if words[0] == "FROM":
            stage = found.setdefault(words[3], {"lines": []})
        elif stage is not None:
            stage["lines"].append(line)
            if words[0] in ("ENTRYPOINT", "CMD"):
                stage[words[0]] = json.loads(line.partition(" ")[2])
            elif words[0] == "USER":
                stage["USER"] = int(words[1])
    return found


def start(role):
    return ["run", "--config", f"/etc/rpingmesh/{role}.toml"]


def dockerfile(check):
    found = stages()
    for role in ["agent", *SERVERS]:
        stage = found.get(role)
        check(stage, f"{DOCKERFILE} has no stage {role}")
        check(stage.get("ENTRYPOINT") == [f"/usr/bin/rpingmesh-{role}"], f"{DOCKERFILE}, {role}: ENTRYPOINT")
        check(stage.get("CMD") == start(role), f"{DOCKERFILE}, {role}: CMD is {stage.get('CMD')}")
        check(stage.get("USER") == (USER if role in SERVERS else None), f"{DOCKERFILE}, {role}: USER")
        if role in SERVERS:
            folder = f"RUN install -d -o {USER} -g {USER} /var/lib/rpingmesh-{role}"
            check(folder in stage["lines"], f"{DOCKERFILE}, {role}: lacks `{folder}`: a new volume would be root's")
    (toolchain,) = re.findall(r'^channel = "(\d+\.\d+)', (ROOT / "rust-toolchain.toml").read_text(), re.MULTILINE)
    check(f"FROM rust:{toolchain}-" in DOCKERFILE.read_text(), f"{DOCKERFILE}: not Rust {toolchain}, as rust-toolchain.toml")
    check("dist" in tomllib.loads((ROOT / "Cargo.toml").read_text())["profile"], "Cargo.toml has no profile dist")


def nix(check):
    path = ROOT / "nix/packages/image.nix"
    text = path.read_text()
    check('name = "rpingmesh/${role}";' in text, f"{path}: the image's name is not rpingmesh/ROLE")
    (words,) = re.findall(r"\bCmd = \[([^]]*)\]", text)
    check(re.findall(r'"([^"]*)"', words) == start("${role}"), f"{path}: Cmd is {words.split()}")
    users = re.findall(r'role != "agent"\) \{ User = "(\d+)"; \}', text)
    check(users == [str(USER)], f"{path}: the servers' user is {users}")


def image(check, where, name, version):
    """The role that an image is of."""
    registry = REGISTRY.match(name)
    check(registry, f"{where}: image {name} is not of the project's registry")
    role, _, tag = name[registry.end() :].partition(":")
    check(tag == version, f"{where}: image {name} is not of version {version}")
    check(role in stages(), f"{where}: {DOCKERFILE} has no stage {role}")
    return role


def compose(check, documents, version):
    roles = set()
    for path, document in documents.items():
        for name, service in document["services"].items():
            where = f"{path}, {name}"
            if not REGISTRY.match(service.get("image", "")):
                continue
            role = image(check, where, service["image"], version)
            roles.add(role)
            check(role == name, f"{where}: its image is that of {role}")
            check("command" not in service and "entrypoint" not in service, f"{where}: starts otherwise than the image")
            user = int(service.get("user", 0))
            check(user == (USER if role in SERVERS else 0), f"{where}: user {user}")
            targets = {volume.split(":")[1] for volume in service["volumes"]}
            for folder in ["/etc/rpingmesh", f"/var/lib/rpingmesh-{role}"]:
                check(folder in targets, f"{where}: nothing is mounted at {folder}")
    check(roles == {"agent", *SERVERS}, f"Compose starts {sorted(roles)} only")


def kubernetes(check, manifests, version):
    for (_, name), manifest in manifests.items():
        template = manifest.get("spec", {}).get("template")
        if not template:
            continue
        (container,) = template["spec"]["containers"]
        role = image(check, name, container["image"], version)
        check("command" not in container, f"{name}: replaces the image's program")
        check(container["args"] == start(role), f"{name}: args are {container['args']}")
        own = {**template["spec"].get("securityContext", {}), **container["securityContext"]}
        check(own["runAsUser"] == (USER if role in SERVERS else 0), f"{name}: user {own['runAsUser']}")
        targets = {mount["mountPath"] for mount in container["volumeMounts"]}
        for folder in ["/etc/rpingmesh", f"/var/lib/rpingmesh-{role}"]:
            check(folder in targets, f"{name}: nothing is mounted at {folder}")
        devices(check, name, template["spec"])


def devices(check, name, pod):
    """Runtimes let no container use what is only mounted from /dev."""
    (container,) = pod["containers"]
    own = container["securityContext"]
    paths = [volume.get("hostPath", {}).get("path", "") for volume in pod["volumes"]]
    mounted = [path for path in paths if path.startswith("/dev")]
    privileged = own.get("privileged", False)
    check(privileged == bool(mounted), f"{name}: privileged: {privileged}, while it mounts {mounted} of the host")
    if privileged:
        # The API server refuses the first; the runtime ignores the second.
        check(own.get("allowPrivilegeEscalation", True), f"{name}: privileged without allowPrivilegeEscalation")
        check("capabilities" not in own, f"{name}: privileged, so its capabilities mean nothing")
    else:
        check(own["allowPrivilegeEscalation"] is False, f"{name}: allowPrivilegeEscalation")
        check(own["capabilities"]["drop"] == ["ALL"], f"{name}: keeps the runtime's capabilities")


def patched(base, patch):
    """Strategic merge, as far as the patch here needs it."""
    if isinstance(patch, dict):
        result = dict(base or {})
        for key, value in patch.items():
            if key in MERGED_BY and isinstance(value, list):
                result[key] = patched_list(result.get(key, []), value, MERGED_BY[key])
            else:
                result[key] = patched(result.get(key), value)
        return result
    return patch


def patched_list(base, patch, key):
    result = list(base)
    for change in patch:
        at = [index for index, entry in enumerate(result) if entry[key] == change[key]]
        if not at:
            raise SystemExit(f"the patch names {key} {change[key]}, which is not there")
        if change.get("$patch") == "delete":
            del result[at[0]]
        else:
            result[at[0]] = patched(result[at[0]], change)
    return result


def device_plugin(check, manifests, patch, version, compose_agent):
    """The variant for clusters with a device plugin, and the documents about both. Returns the changed manifest."""
    kind, name = patch["kind"], patch["metadata"]["name"]
    check((kind, name) in manifests, f"device-plugin: there is no {kind} {name} to change")
    manifest = patched(manifests[(kind, name)], patch)
    kubernetes(check, {(kind, f"{name} with device-plugin"): manifest}, version)
    (container,) = manifest["spec"]["template"]["spec"]["containers"]
    limits = container["resources"]["limits"]
    check(any(limit.startswith("rdma/") for limit in limits), f"device-plugin: asks for no RDMA device: {limits}")
    check("memory" in limits, "device-plugin: lost the limit of memory")
    capabilities = set(container["securityContext"]["capabilities"]["add"])
    in_compose = set(compose_agent["cap_add"])
    check(capabilities == in_compose, f"capabilities: Kubernetes {capabilities}, Compose {in_compose}")
    check("/dev/infiniband:/dev/infiniband" in compose_agent["devices"], "Compose gives the agent no RDMA device")
    text = (ROOT / "docs/deployment.md").read_text()
    for words in ["privileged: true", "deploy/kubernetes/device-plugin", *(f"CAP_{name}" for name in capabilities)]:
        check(words in text, f"docs/deployment.md does not mention {words}")
    return manifest


def ignored(patterns, path):
    """Docker's rule: the last pattern that matches a path or a folder above it decides."""
    parts = path.split("/")
    above = ["/".join(parts[:end]) for end in range(1, len(parts) + 1)]
    verdict = False
    for pattern in patterns:
        keep = pattern.startswith("!")
        depth = pattern.count("/") + 1
        for candidate in above:
            if candidate.count("/") + 1 == depth and fnmatch.fnmatchcase(candidate, pattern.removeprefix("!")):
                verdict = not keep
    return verdict


def context(check):
    """What a build of the images sees: cargo finds everything that the manifests name, and nothing built comes along."""
    lines = (ROOT / ".dockerignore").read_text().splitlines()
    patterns = [line for line in lines if line and not line.startswith("#")]
    listing = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"], cwd=ROOT, capture_output=True, check=True
    )
    files = [path for path in listing.stdout.decode().split("\0") if path and (ROOT / path).is_file()]
    seen = [path for path in files if not ignored(patterns, path)]
    for path in ["target/ebpf/bpfel-x86_64.o", "target/ebpf/bpfel-aarch64.o", "deploy/build.sh"]:
        check(not ignored(patterns, path), f".dockerignore keeps {path} out")
    for path in ["target/debug/rpingmesh", "ebpf/target/x", "docs/guide.md", ".git/config", "rust-toolchain.toml"]:
        check(ignored(patterns, path), f".dockerignore lets {path} in")
    # The flake's list of what the programs need, which `cargo xtask flake --phases` builds from.
    text = (ROOT / "nix/sources.nix").read_text()
    (programs,) = re.findall(r"programs = fileset\.unions \[([^]]*)\]", text)
    for path in re.findall(r"\.\./(\S+)", programs):
        check(any(file == path or file.startswith(f"{path}/") for file in seen), f".dockerignore keeps {path} out")
    with tempfile.TemporaryDirectory() as folder:
        for path in seen:
            to = pathlib.Path(folder, path)
            to.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(ROOT / path, to)
        metadata = subprocess.run(
            ["cargo", "metadata", "--locked", "--offline", "--no-deps", "--format-version", "1"],
            cwd=folder,
            capture_output=True,
            text=True,
            env={**os.environ, "CARGO_TARGET_DIR": f"{folder}/target"},
        )
        check(metadata.returncode == 0, f"the sources that .dockerignore leaves are not complete: {metadata.stderr}")
        for package in json.loads(metadata.stdout)["packages"]:
            for target in package["targets"]:
                path = pathlib.Path(target["src_path"])
                check(path.is_file(), f".dockerignore keeps {path.relative_to(folder)} out")


def build_script(check):
    """deploy/build.sh with a cargo that says what it is called with, and a dpkg that says which processor it is on."""

    def run(processor, target, objects, present=()):
        with tempfile.TemporaryDirectory() as name:
            folder = pathlib.Path(name)
            for program, line in {
                "cargo": 'echo "${RPINGMESH_EBPF_OBJECT#$PWD/} $*"',
                "dpkg": f"echo {processor}",
            }.items():
                stub = folder / program
                stub.write_text(f"#!/bin/sh\n{line}\n")
                stub.chmod(0o755)
            for path in present:
                (folder / path).parent.mkdir(parents=True, exist_ok=True)
                (folder / path).touch()
            result = subprocess.run(
                ["sh", FOLDER / "build.sh", target, objects],
                cwd=folder,
                capture_output=True,
                text=True,
                env={"PATH": f"{folder}:/usr/bin:/bin"},
            )
            return result.returncode, (result.stdout + result.stderr).strip()

    both = ["target/ebpf/bpfel-x86_64.o", "target/ebpf/bpfel-aarch64.o"]
    built = "build --locked --profile dist --package rpingmesh --bins"
    for processor, target, objects, present, expected in [
        ("amd64", "amd64", "target/ebpf", both, (0, f"target/ebpf/bpfel-x86_64.o {built}")),
        ("arm64", "arm64", "target/ebpf", both, (0, f"target/ebpf/bpfel-aarch64.o {built}")),
        ("arm64", "", "target/ebpf", both, (0, f"target/ebpf/bpfel-aarch64.o {built}")),
        ("amd64", "amd64", "none", [], (0, f"none {built}")),
        ("riscv64", "riscv64", "none", [], (0, f"none {built}")),
    ]:
        found = run(processor, target, objects, present)
        check(found == expected, f"build.sh on {processor} for {target!r} with {objects}: {found}")
    for processor, target, present, words in [
        ("amd64", "arm64", both, "the image is for arm64, but its programs would be built for amd64"),
        ("arm64", "arm64", both[:1], "there is no target/ebpf/bpfel-aarch64.o"),
        ("riscv64", "riscv64", both, "there is no target/ebpf/bpfel-riscv64.o"),
    ]:
        status, said = run(processor, target, "target/ebpf", present)
        check(status == 1 and words in said, f"build.sh on {processor} for {target}: {said}")
    text = DOCKERFILE.read_text()
    for line in ["ARG TARGETARCH", "ARG EBPF_OBJECTS=target/ebpf"]:
        check(line in text.splitlines(), f"{DOCKERFILE} lacks `{line}`")
    check('sh deploy/build.sh "$TARGETARCH" "$EBPF_OBJECTS"' in text, f"{DOCKERFILE} does not call build.sh")


def consistency(check, manifests, compose_documents, patch):
    """All of it; returns manifests that the schema has to be asked about, too."""
    version = tomllib.loads((ROOT / "Cargo.toml").read_text())["workspace"]["package"]["version"]
    dockerfile(check)
    nix(check)
    compose(check, compose_documents, version)
    kubernetes(check, manifests, version)
    agent = compose_documents[FOLDER / "compose/agent.yaml"]["services"]["agent"]
    changed = device_plugin(check, manifests, patch, version, agent)
    context(check)
    build_script(check)
    return [changed]
