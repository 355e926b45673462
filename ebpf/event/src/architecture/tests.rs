extern crate std;

use std::string::ToString as _;
use std::vec::Vec;

use super::*;

/// An object with a section of that name and content, as small as it can be: header, both contents, three headers.
fn object(section: &str, content: &[u8]) -> Vec<u8> {
    let mut names = std::vec![0];
    names.extend(section.as_bytes());
    names.extend(b"\0names\0");
    let mut file = std::vec![0; 64];
    file[..6].copy_from_slice(b"\x7fELF\x02\x01");
    file[18..20].copy_from_slice(&247u16.to_le_bytes());
    let of_content = file.len() as u64;
    file.extend(content);
    let of_names = file.len() as u64;
    file.extend(&names);
    let table = file.len() as u64;
    file[40..48].copy_from_slice(&table.to_le_bytes());
    file[58..60].copy_from_slice(&64u16.to_le_bytes());
    file[60..62].copy_from_slice(&3u16.to_le_bytes());
    file[62..64].copy_from_slice(&2u16.to_le_bytes());
    let mut header = |name: u32, at: u64, size: usize| {
        let start = file.len();
        file.resize(start + 64, 0);
        file[start..start + 4].copy_from_slice(&name.to_le_bytes());
        file[start + 24..start + 32].copy_from_slice(&at.to_le_bytes());
        file[start + 32..start + 40].copy_from_slice(&(size as u64).to_le_bytes());
    };
    header(0, 0, 0);
    header(1, of_content, content.len());
    header(2 + section.len() as u32, of_names, names.len());
    file
}

#[test]
fn the_mark_is_read() {
    for name in ["x86_64", "aarch64"] {
        let file = object(SECTION, &mark(name));
        assert_eq!(of(&file), Ok(name));
        assert_eq!(check(&file, name), Ok(()));
    }
}

#[test]
fn an_object_for_another_processor_is_refused() {
    let file = object(SECTION, &mark("x86_64"));
    let error = check(&file, "aarch64").unwrap_err();
    assert_eq!(
        error,
        Unfit::Other {
            found: "x86_64",
            wanted: "aarch64"
        }
    );
    assert_eq!(error.to_string(), "is for x86_64, and aarch64 is wanted");
}

#[test]
fn an_object_without_a_mark_is_refused() {
    let file = object(".rodata", &mark("x86_64"));
    assert_eq!(check(&file, "x86_64"), Err(Unfit::Unmarked));
    // The name has to be the whole one.
    let file = object("rpingmesh_architecture", &mark("x86_64"));
    assert_eq!(check(&file, "x86_64"), Err(Unfit::Unmarked));
    assert!(Unfit::Unmarked.to_string().contains(SECTION));
}

#[test]
fn what_is_no_ebpf_object_is_refused() {
    let mut host = object(SECTION, &mark("x86_64"));
    host[18..20].copy_from_slice(&62u16.to_le_bytes());
    assert_eq!(of(&host), Err(Unfit::NotEbpf));
    let mut big_endian = object(SECTION, &mark("x86_64"));
    big_endian[5] = 2;
    assert_eq!(of(&big_endian), Err(Unfit::NotEbpf));
    assert_eq!(of(b""), Err(Unfit::NotEbpf));
    assert_eq!(of(b"#!/bin/sh\n"), Err(Unfit::NotEbpf));
}

#[test]
fn a_damaged_object_is_refused() {
    let file = object(SECTION, &mark("x86_64"));
    for end in 0..file.len() {
        let unfit = of(&file[..end]).unwrap_err();
        assert!(
            matches!(unfit, Unfit::NotEbpf | Unfit::Damaged),
            "{end} bytes: {unfit:?}"
        );
    }
    for mark in [
        &[b'x'; 8][..],
        &[0; 16],
        b"a name of 16 bts",
        b"x86_64\n\0\0\0\0\0\0\0\0\0",
    ] {
        assert_eq!(of(&object(SECTION, mark)), Err(Unfit::Damaged), "{mark:?}");
    }
    // Numbers that lead out of the file or beyond the largest number.
    for at in [40, 58, 62] {
        let mut file = object(SECTION, &mark("x86_64"));
        let end = if at == 40 { 48 } else { at + 2 };
        file[at..end].fill(0xff);
        assert_eq!(of(&file), Err(Unfit::Damaged), "offset {at}");
    }
}

#[test]
fn a_mark_of_full_length_is_a_name() {
    assert_eq!(mark("x86_64"), *b"x86_64\0\0\0\0\0\0\0\0\0\0");
    assert_eq!(read(b"fifteen-letters\0"), Ok("fifteen-letters"));
}
