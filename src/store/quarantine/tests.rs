use super::*;

#[test]
fn a_file_and_its_log_get_new_names_and_keep_their_bytes() {
    let folder = tempfile::tempdir().expect("folder");
    let file = folder.path().join("a.db");
    let log = folder.path().join("a.db-wal");
    for content in ["first", "second"] {
        std::fs::write(&file, content).expect("file");
        std::fs::write(&log, content).expect("log");
        let target = set_aside(&file).expect("renamed");
        let name = target.file_name().expect("a name").to_string_lossy();
        assert!(name.starts_with("a.db.damaged-"), "{name}");
        assert_eq!(std::fs::read_to_string(&target).expect("file"), content);
        let beside = with_suffix(&target, "-wal");
        assert_eq!(std::fs::read_to_string(beside).expect("log"), content);
        assert!(!file.exists() && !log.exists());
    }
    let error = set_aside(&file).expect_err("there is none");
    assert_eq!(error.kind(), io::ErrorKind::NotFound);
}

#[test]
fn a_folder_does_not_fill_up_with_damaged_files() {
    let folder = tempfile::tempdir().expect("folder");
    let file = folder.path().join("a.db");
    for _ in 0..MOST_KEPT {
        std::fs::write(&file, "x").expect("file");
        set_aside(&file).expect("renamed");
    }
    std::fs::write(&file, "x").expect("file");
    let error = set_aside(&file).expect_err("enough");
    assert!(error.to_string().contains("remove them"), "{error}");
    assert!(file.exists());
}
