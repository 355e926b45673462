use std::fmt::Write as _;

use proptest::prelude::*;

use super::*;

#[test]
fn cgroup_paths_that_occur() {
    let id = "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef";
    let uid = "1a2b3c4d_5e6f_7a8b_9c0d_112233445566";
    let paths = [
        Some("/system.slice/training@7.service".to_owned()),
        Some(format!("/system.slice/docker-{id}.scope")),
        Some(format!("/docker/{id}")),
        Some(format!("/machine.slice/libpod-{id}.scope/container")),
        Some(format!(
            "/kubepods.slice/kubepods-burstable.slice/kubepods-burstable-pod{uid}.slice/cri-containerd-{id}.scope"
        )),
        Some(format!("/kubepods.slice/kubepods-pod{uid}.slice")),
        Some(format!(
            "/kubepods/besteffort/pod{}/{id}",
            uid.replace('_', "-")
        )),
        Some("/user.slice/user-1000.slice/user@1000.service/app.slice/run-u5.service".to_owned()),
        Some("/user.slice/user-0.slice/session-4.scope".to_owned()),
        Some("/user.slice/user-1000.slice/user@1000.service/init.scope".to_owned()),
        Some("/job_17/uid_1000/step_0".to_owned()),
        Some("/pbs_jobs.service/jobid/123.head".to_owned()),
        Some("/system.slice/pbs.service".to_owned()),
        Some("/lsf/cluster1/job.4711.12345.1790000000".to_owned()),
        Some("/lsf/cluster1".to_owned()),
        Some("/htcondor/condor_var_lib_condor_execute_slot1".to_owned()),
        Some(
            "/system.slice/htcondor/condor_var_lib_condor_execute_slot1_23@n7.example/inner"
                .to_owned(),
        ),
        Some("/htcondor.slice/condor_slots_slot2_1@n7.service".to_owned()),
        Some("/system.slice/condor.service".to_owned()),
        Some("/lxc.payload.c1/system.slice/train.service".to_owned()),
        Some("/lxc.payload.c1/init.scope".to_owned()),
        Some(format!("/lxc.payload.c1/system.slice/docker-{id}.scope")),
        Some(
            "/machine.slice/systemd-nspawn@c1.service/payload/system.slice/train.service"
                .to_owned(),
        ),
        Some("/machine.slice/machine-c2.scope/payload/init.scope".to_owned()),
        Some(format!("/system.slice/train.service/libpod-payload-{id}")),
        Some(format!("/ecs/0f1e2d3c/{id}")),
        Some(format!("/default/{id}")),
        Some("/".to_owned()),
        None,
    ];
    let mut table = String::new();
    for path in &paths {
        let service = Service::identify(path.as_deref(), "ib_write_bw");
        let shown = path
            .as_deref()
            .unwrap_or("(unknown)")
            .replace(id, "<id>")
            .replace(uid, "<uid>");
        let _ = writeln!(table, "{shown} => {service}");
    }
    insta::assert_snapshot!(table);
}

proptest! {
    #[test]
    fn any_path_has_a_service(path: String, comm: String) {
        prop_assert!(!Service::identify(Some(&path), &comm).to_string().is_empty());
    }
}

#[test]
fn the_path_is_found_in_the_process_file() {
    for (text, path) in [
        (
            "0::/system.slice/a.service\n",
            Some("/system.slice/a.service"),
        ),
        ("12:cpu:/x\n1:name=systemd:/y\n0::/z\n", Some("/z")),
        ("0::/gone (deleted)\n", Some("/gone")),
        ("0::/\n", Some("/")),
        ("0::/../../other\n", None),
        ("12:cpu:/x\n", None),
        (
            "12:cpu:/x\n1:name=systemd:/a.service\n0::/\n",
            Some("/a.service"),
        ),
        (
            "9:freezer:/slurm/uid_7/job_5/step_0\n1:name=systemd:/system.slice/slurmd.service\n0::/\n",
            Some("/slurm/uid_7/job_5/step_0"),
        ),
        (
            "4:memory:/slurm/uid_7/job_5\n0::/system.slice/slurmstepd.scope/job_6/step_0\n",
            Some("/system.slice/slurmstepd.scope/job_6/step_0"),
        ),
        ("3:cpu:/kubepods/x\n1:name=systemd:/\n", Some("/")),
        ("0::\n", None),
        ("", None),
    ] {
        assert_eq!(cgroup_path(text), path, "{text:?}");
    }
}

const ID: &str = "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef";
const OTHER: &str = "fedcba9876543210fedcba9876543210fedcba9876543210fedcba9876543210";
const UID: &str = "0b1c2d3e_4f50_6172_8394_a5b6c7d8e9f0";
const DASHED: &str = "0b1c2d3e-4f50-6172-8394-a5b6c7d8e9f0";

fn named(path: &str) -> String {
    Service::identify(Some(path), "python3").to_string()
}

#[test]
fn a_slurm_job_is_one_service_on_all_its_hosts() {
    for path in [
        "/system.slice/slurmstepd.scope/job_4711/step_0/user/task_0",
        "/system.slice/slurmstepd.scope/job_4711/step_0/user/task_127",
        "/system.slice/slurmstepd.scope/job_4711/step_batch/user/task_special",
        "/system.slice/slurmstepd.scope/job_4711/step_extern/slurm",
        "/system.slice/slurmstepd.scope/job_4711/step_interactive",
        "/system.slice/slurmstepd.scope/job_4711",
        "/system.slice/node17_slurmstepd.scope/job_4711/step_batch/user/task_special",
        "/system.slice/gpu_node-17_slurmstepd.scope/job_4711/step_3/user/task_2",
        "/slurm/uid_1000/job_4711/step_0/task_0",
        "/slurm/uid_1000/job_4711",
        "/slurm_node17/uid_1000/job_4711/step_batch",
        "/slurm_gpu_17/uid_0/job_4711/step_extern/task_1",
    ] {
        assert_eq!(named(path), "slurm/4711", "{path}");
    }
}

#[test]
fn a_slurm_job_in_a_container_and_a_container_in_a_job_are_the_job() {
    for path in [
        format!(
            "/kubepods.slice/kubepods-pod{UID}.slice/cri-containerd-{ID}.scope/system.slice/slurmstepd.scope/job_9/step_0"
        ),
        format!("/system.slice/slurmstepd.scope/job_9/step_0/user/task_0/docker-{ID}.scope"),
        format!("/docker/{ID}/slurm/uid_5/job_9/step_0"),
        // A job that names a cgroup of its own like another job's.
        "/system.slice/slurmstepd.scope/job_9/step_0/user/slurmstepd.scope/job_1/step_0".to_owned(),
    ] {
        assert_eq!(named(&path), "slurm/9", "{path}");
    }
}

#[test]
fn what_only_looks_like_a_slurm_job_is_none() {
    for (path, name) in [
        ("/system.slice/slurmstepd.scope/system", "slurmstepd.scope"),
        ("/system.slice/slurmd.service", "slurmd.service"),
        ("/slurm/system", "cgroup/slurm/system"),
        ("/slurm/uid_x/job_1", "cgroup/slurm/uid_x/job_1"),
        ("/slurm/job_1", "cgroup/slurm/job_1"),
        ("/job_17/uid_1000/step_0", "cgroup/job_17/uid_1000/step_0"),
        (
            "/system.slice/slurmstepd.scope/job_/step_0",
            "slurmstepd.scope",
        ),
        (
            "/system.slice/slurmstepd.scope/job_+5/step_0",
            "slurmstepd.scope",
        ),
        (
            "/system.slice/slurmstepd.scope/job_99999999999999999999/step_0",
            "slurmstepd.scope",
        ),
        (
            "/system.slice/notslurmstepd.scope/job_5",
            "notslurmstepd.scope",
        ),
    ] {
        assert_eq!(named(path), name, "{path}");
    }
}

#[test]
fn pods_are_found_below_any_root_of_the_kubelet() {
    let pod = format!("pod/{DASHED}/0123456789ab");
    for path in [
        format!(
            "/kubelet.slice/kubelet-kubepods.slice/kubelet-kubepods-burstable.slice/kubelet-kubepods-burstable-pod{UID}.slice/cri-containerd-{ID}.scope"
        ),
        format!(
            "/kubelet.slice/kubelet-kubepods.slice/kubelet-kubepods-pod{UID}.slice/crio-{ID}.scope"
        ),
        format!(
            "/a.slice/a-b.slice/a-b-kubepods.slice/a-b-kubepods-besteffort.slice/a-b-kubepods-besteffort-pod{UID}.slice/docker-{ID}.scope"
        ),
        // kind: a node is a container.
        format!(
            "/system.slice/docker-{OTHER}.scope/kubelet.slice/kubelet-kubepods.slice/kubelet-kubepods-pod{UID}.slice/cri-containerd-{ID}.scope"
        ),
        format!("/docker/{OTHER}/kubelet/kubepods/burstable/pod{DASHED}/{ID}"),
        // A pod that is itself a node.
        format!(
            "/kubepods/burstable/pod11111111-2222-3333-4444-555555555555/{OTHER}/kubelet/kubepods/pod{DASHED}/{ID}"
        ),
        // The cgroupfs driver.
        format!("/kubelet/kubepods/besteffort/pod{DASHED}/{ID}"),
        format!("/kubepods/pod{DASHED}/crio-{ID}"),
        format!("/kubepods/burstable/pod{DASHED}/{ID}/init.scope"),
        // Docker in a pod's container.
        format!("/kubepods/burstable/pod{DASHED}/{ID}/docker/{OTHER}"),
        // A systemd-style name that reached the cgroupfs driver.
        format!(
            "/system.slice/containerd.service/kubepods-burstable-pod{UID}.slice:cri-containerd:{ID}"
        ),
        format!("/kubelet-kubepods-pod{UID}.slice:crio:{ID}"),
    ] {
        assert_eq!(named(&path), pod, "{path}");
    }
    // A pod from a file on its host: its UID is a hash.
    assert_eq!(
        named(&format!(
            "/kubelet/kubepods/pod0123456789abcdef0123456789abcdef/{ID}"
        )),
        "pod/0123456789abcdef0123456789abcdef/0123456789ab"
    );
}

#[test]
fn what_only_looks_like_a_pod_is_none() {
    for (path, name) in [
        (
            format!("/kubelet-xkubepods-pod{UID}.slice"),
            format!("cgroup/kubelet-xkubepods-pod{UID}.slice"),
        ),
        (
            format!("/tripod{UID}.slice"),
            format!("cgroup/tripod{UID}.slice"),
        ),
        (
            "/kubepods-pod1234.slice".to_owned(),
            "cgroup/kubepods-pod1234.slice".to_owned(),
        ),
        (
            format!("/kubepods-pod{UID}{UID}.slice"),
            format!("cgroup/kubepods-pod{UID}{UID}.slice"),
        ),
    ] {
        assert_eq!(named(&path), name, "{path}");
    }
}

#[test]
fn names_hold_no_control_characters() {
    assert_eq!(named("/a\u{1b}[31m.service"), "a\u{fffd}[31m.service");
    assert_eq!(named("/x\ty/\u{7f}"), "cgroup/x\u{fffd}y/\u{fffd}");
    assert_eq!(
        Service::identify(None, "a\r\nb").to_string(),
        "process/a\u{fffd}\u{fffd}b"
    );
    assert_eq!(
        named(&format!("/x\u{9b}-{ID}.scope")),
        "x\u{fffd}/0123456789ab"
    );
}

proptest! {
    #[test]
    fn hostile_folders_neither_panic_nor_leave_control_characters(
        folders in proptest::collection::vec(
            prop_oneof![
                Just("slurmstepd.scope".to_owned()), Just("slurm".to_owned()), Just("uid_1".to_owned()),
                "job_[0-9]{0,12}", "(kubelet-)?kubepods-pod[0-9a-f_]{0,40}\\.slice(:[a-z]*:[0-9a-f]*)?", any::<String>(),
            ],
            0..8,
        )
    ) {
        let service = named(&format!("/{}", folders.join("/")));
        prop_assert!(!service.is_empty() && !service.contains(char::is_control), "{service:?}");
    }
}
