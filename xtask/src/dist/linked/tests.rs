use super::*;
use crate::cargo::workspace;

const DECLARED: Glibc = Glibc {
    major: 2,
    minor: 34,
};

/// This test's program, which needs a version of the C library like any other.
fn this_program() -> Vec<u8> {
    fs::read(std::env::current_exe().unwrap()).unwrap()
}

#[test]
fn versions_in_the_packages_words() {
    assert_eq!(
        Glibc::of_depends("libc6 (>= 2.34), libgcc-s1").unwrap(),
        DECLARED
    );
    assert!(Glibc::of_depends("libgcc-s1").is_err());
    let requires = "/bin/sh\nlibc.so.6(GLIBC_2.9)(64bit)\nlibc.so.6(GLIBC_2.34)(64bit)\nlibm.so.6(GLIBC_2.29)(64bit)\n";
    assert_eq!(Glibc::of_requires(requires).unwrap(), DECLARED);
    assert!(Glibc::of_requires("/bin/sh\n").is_err());
    assert!(Glibc::parse("2.9") < Glibc::parse("2.34"));
    assert_eq!(Glibc::parse("2.2.5"), Glibc::parse("2.2"));
    assert_eq!(Glibc::parse("PRIVATE"), None);
}

#[test]
fn a_program_that_needs_a_newer_glibc_is_named_with_its_symbol() {
    // Of the newest version that it needs this program now asks for one that does not exist yet: the strings of both are as
    // long.
    let mut program = this_program();
    let symbols = read(&program).unwrap();
    let (newest, names) = symbols.last_key_value().unwrap();
    let (before, after) = (format!("\0GLIBC_{newest}\0"), "\0GLIBC_2.99\0");
    assert_eq!(before.len(), after.len(), "{newest}");
    let at = program
        .windows(before.len())
        .position(|window| window == before.as_bytes())
        .unwrap();
    program[at..at + after.len()].copy_from_slice(after.as_bytes());
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("rpingmesh-agent");
    fs::write(&path, program).unwrap();

    let error = check(&[&path], DECLARED).unwrap_err().to_string();
    assert!(
        error.starts_with(
            "rpingmesh-agent needs glibc 2.99, the packages declare 2.34: it asks for "
        ),
        "{error}"
    );
    for name in names {
        assert!(error.contains(&format!("{name}@GLIBC_2.99")), "{error}");
    }
}

#[test]
fn what_is_declared_is_what_is_needed() {
    let this = std::env::current_exe().unwrap();
    let needed = Symbols::of(&this).unwrap().newest().unwrap();
    check(&[&this], needed).unwrap();
    let more = Glibc {
        minor: needed.minor + 2,
        ..needed
    };
    let error = check(&[&this], more).unwrap_err().to_string();
    assert!(
        error.starts_with(&format!(
            "the packages declare glibc {more}, the programs need {needed} at most"
        )),
        "{error}"
    );
}

#[test]
fn libraries_that_no_package_declares_are_named() {
    let needed = |library: &str| libraries("rpingmesh", &[library.to_owned()]);
    assert!(needed("libgcc_s.so.1").is_ok());
    assert!(needed("libm.so.6").is_ok());
    assert_eq!(
        needed("libz.so.1").unwrap_err().to_string(),
        "rpingmesh needs libz.so.1, of which the packages say nothing"
    );
    assert!(check_depends("libc6 (>= 2.34), libgcc-s1", DECLARED).is_ok());
    let error = check_depends("libc6 (>= 2.34)", DECLARED).unwrap_err();
    assert!(error.to_string().contains("lacks libgcc-s1"), "{error}");
    let error = check_depends("libc6 (>= 2.36), libgcc-s1", DECLARED).unwrap_err();
    assert_eq!(
        error.to_string(),
        "Depends says glibc 2.36, Cargo.toml 2.34"
    );
}

#[test]
fn the_documents_name_the_glibc_that_the_packages_declare() {
    let declared = Glibc::declared().unwrap().to_string();
    for file in [
        "docs/deployment.md",
        "packaging/README.md",
        "packaging/archive.md",
    ] {
        let text = fs::read_to_string(workspace().join(file)).unwrap();
        let named: Vec<&str> = text
            .split("glibc ")
            .skip(1)
            .filter_map(|rest| {
                rest.split(|c: char| !c.is_ascii_digit() && c != '.')
                    .next()
                    .map(|version| version.trim_end_matches('.'))
            })
            .filter(|version| !version.is_empty())
            .collect();
        assert!(!named.is_empty(), "{file} names no version of glibc");
        assert!(
            named.iter().all(|version| *version == declared),
            "{file} says {named:?}, the packages {declared}"
        );
    }
}
