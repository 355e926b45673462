//! The tests on a device, and the tracer's queue pair, on emulated RNICs (`tests/emulated-rnic`): this program runs itself with a
//! libibverbs whose devices stand in a file.

use std::fs;
use std::path::PathBuf;
use std::process::Command;

use rpingmesh::service::proof::Specimen;

use crate::rdma_settings::Settings;

/// The variable that `tests/emulated-rnic` reads.
const TABLE: &str = "RPINGMESH_EMULATED_RNICS";

/// One RNIC at this address.
const ONE: &str = "dev mlx5_0 0 0 0\nclock 48 156250\nport 1 4 2 5 256 0\ngid 1 3 10.0.0.1 2 0\n";

/// The library lies beside this test's own program: it is one of its dependencies.
fn library() -> PathBuf {
    let own = std::env::current_exe().expect("a path");
    let folder = own.parent().expect("a folder");
    folder.join("libemulated_rnic.so")
}

/// This program, as it was started itself: under an emulator where `RPINGMESH_TEST_RUNNER` has its command line
/// (`cargo xtask cross --test`).
fn own() -> Command {
    let own = std::env::current_exe().expect("a path");
    let runner = std::env::var("RPINGMESH_TEST_RUNNER").unwrap_or_default();
    let mut words = runner.split_whitespace();
    let Some(first) = words.next() else {
        return Command::new(own);
    };
    let mut command = Command::new(first);
    command.args(words).arg(own);
    command
}

/// Runs one of this program's ignored tests with these RNICs; what it printed.
fn run(test: &str, table: &str) -> String {
    let folder = tempfile::tempdir().expect("a folder");
    let library_name = folder.path().join("libibverbs.so.1");
    std::os::unix::fs::symlink(library(), library_name).expect("linked");
    let file = folder.path().join("table");
    fs::write(&file, table).expect("written");
    let output = own()
        .args(["--ignored", "--exact", "--nocapture", test])
        .env("LD_LIBRARY_PATH", folder.path())
        .env(TABLE, &file)
        .output()
        .expect("runs");
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{test}: {text}{errors}");
    assert!(text.contains("1 passed"), "{test}: {text}");
    text
}

/// Without those that take an interface down, and the one that needs queue pairs that steer: each label has an address handle
/// of its own here.
#[test]
fn the_tests_on_a_device_pass_on_emulated_rnics() {
    for steering in ["", "steer label\n", "clockless\n"] {
        let table = format!("{ONE}{steering}");
        for test in [
            "datagrams_are_exchanged_over_an_extended_completion_queue",
            "datagrams_are_exchanged_over_a_plain_completion_queue",
            "a_privileged_key_is_refused",
            "what_does_not_carry_the_key_is_not_received",
            "the_inventory_describes_the_device",
        ] {
            run(&format!("verbs::device_tests::{test}"), &table);
        }
    }
}

#[test]
#[ignore = "run by the test below"]
fn print_a_specimen() {
    println!("specimen {:?}", super::specimen(&Settings::default()));
}

fn specimen(table: &str) -> String {
    let text = run("verbs::emulated_tests::print_a_specimen", table);
    let line = text.lines().find_map(|line| line.split_once("specimen "));
    line.expect("a line").1.to_owned()
}

#[test]
fn a_specimen_is_made_on_the_first_port_that_has_connections() {
    let whole = specimen(ONE);
    assert!(
        whole.starts_with("Ok(Specimen { device: \"mlx5_0\", qpn: "),
        "{whole}"
    );
    assert!(
        whole.contains("port: 1, gid: Gid(10.0.0.1), gid_index: 3"),
        "{whole}"
    );
    assert!(whole.ends_with("refused: None })"), "{whole}");
    // No device; no queue pair on the first, which the second has.
    let none = specimen("");
    assert!(
        none.starts_with("Err(") && none.contains("libibverbs lists no device"),
        "{none}"
    );
    let broken = ONE.replace("mlx5_0", "mlx5_1") + "fail ibv_create_qp 95\n";
    let one = specimen(&broken);
    assert!(
        one.contains("mlx5_1/1: ibv_create_qp (RC) failed: Operation not supported"),
        "{one}"
    );
    for call in [
        "ibv_alloc_pd",
        "ibv_create_comp_channel",
        "ibv_create_cq",
        "ibv_modify_qp",
    ] {
        let failing = specimen(&format!("{ONE}fail {call} 71\n"));
        assert!(failing.contains(call), "{failing}");
    }
    let mut second = ONE.replace("mlx5_0", "mlx5_9");
    second.insert_str(0, &broken);
    let found = specimen(&second);
    assert!(found.contains("device: \"mlx5_9\""), "{found}");
}

/// What [`Specimen`] prints is what the tests above read.
#[test]
fn a_specimen_prints_its_fields_in_order() {
    let specimen = Specimen {
        device: "a".to_owned(),
        qpn: 1,
        port: 1,
        gid: "10.0.0.1".parse().expect("a GID"),
        gid_index: 3,
        flow_label: 1,
        traffic_class: 0,
        refused: None,
    };
    let text = format!("{specimen:?}");
    assert!(
        text.starts_with("Specimen { device: \"a\", qpn: 1, port: 1, gid: "),
        "{text}"
    );
}
