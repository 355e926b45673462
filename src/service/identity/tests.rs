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
        Some("/job_17/uid_1000/step_0".to_owned()),
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
        ("0::\n", None),
        ("", None),
    ] {
        assert_eq!(cgroup_path(text), path, "{text:?}");
    }
}
