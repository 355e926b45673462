use super::*;

fn tree(files: &[(&str, &str)]) -> tempfile::TempDir {
    let folder = tempfile::tempdir().expect("folder");
    for (path, text) in files {
        let file = folder.path().join(path);
        fs::create_dir_all(file.parent().expect("below the folder")).expect("folder");
        fs::write(file, text).expect("file");
    }
    folder
}

fn port(device: &str, port: u8) -> RnicName {
    RnicName {
        device: device.into(),
        port,
    }
}

fn shown(counters: &Counters) -> Vec<String> {
    counters
        .iter()
        .map(|(name, value)| format!("{}={value}", name.as_str()))
        .collect()
}

#[test]
fn both_folders_are_read_and_what_is_no_number_is_left_out() {
    let folder = tree(&[
        (
            "mlx5_0/ports/1/counters/port_rcv_data",
            "18446744073709551615\n",
        ),
        ("mlx5_0/ports/1/counters/VL15_dropped", "0\n"),
        ("mlx5_0/ports/1/counters/port_xmit_wait", "N/A (no PMA)\n"),
        ("mlx5_0/ports/1/hw_counters/out_of_sequence", "42\n"),
        ("mlx5_0/ports/1/hw_counters/lifespan", "10\n"),
        ("mlx5_0/ports/1/hw_counters/negative", "-1\n"),
        ("mlx5_0/ports/1/hw_counters/too large", "1\n"),
        (
            "mlx5_0/ports/1/hw_counters/huge",
            "99999999999999999999999999999999999999\n",
        ),
        ("mlx5_0/ports/1/hw_counters/empty", ""),
        ("mlx5_0/ports/1/hw_counters/folder/file", "1"),
        ("mlx5_0/ports/2/hw_counters/out_of_sequence", "7\n"),
    ]);
    let reader = Reader::new(folder.path());
    assert_eq!(
        shown(&reader.read(&port("mlx5_0", 1))),
        [
            "VL15_dropped=0",
            "out_of_sequence=42",
            "port_rcv_data=18446744073709551615"
        ]
    );
    assert_eq!(
        shown(&reader.read(&port("mlx5_0", 2))),
        ["out_of_sequence=7"]
    );
}

#[test]
fn what_is_not_there_counts_nothing() {
    let folder = tree(&[
        ("mlx5_0/ports/1/counters/symbol_error", "1\n"),
        ("secret/1/counters/x", "1"),
    ]);
    let reader = Reader::new(folder.path());
    for absent in [
        port("mlx5_1", 1),
        port("mlx5_0", 9),
        port("", 1),
        port("../mlx5_0", 1),
        port("..", 1),
        port("mlx5_0/ports/1/..", 1),
    ] {
        assert!(reader.read(&absent).is_empty(), "{absent}");
    }
    fs::remove_dir_all(folder.path().join("mlx5_0")).expect("removed");
    assert!(
        reader.read(&port("mlx5_0", 1)).is_empty(),
        "the device has gone"
    );
    assert!(
        Reader::new("/nonexistent")
            .read(&port("mlx5_0", 1))
            .is_empty()
    );
}

#[test]
fn a_port_with_a_thousand_files_gives_a_bounded_number() {
    let names: Vec<_> = (0..1000)
        .map(|n| format!("mlx5_0/ports/1/hw_counters/c{n:04}"))
        .collect();
    let files: Vec<_> = names.iter().map(|name| (name.as_str(), "1\n")).collect();
    let folder = tree(&files);
    let counters = Reader::new(folder.path()).read(&port("mlx5_0", 1));
    assert_eq!(counters.len(), MOST_PER_PORT);
}
