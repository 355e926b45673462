//! The rules find what they must, in small sources that break them.

use super::*;

fn source(file: &str, text: &str) -> Source {
    Source {
        file: file.to_owned(),
        text: text.to_owned(),
    }
}

/// Each use as `from -> to`, without the folder `src/`.
fn uses(sources: &[Source]) -> Vec<String> {
    let short = |file: &str| file.trim_start_matches("src/").to_owned();
    let mut found: Vec<_> = Graph::read(sources, false)
        .uses()
        .iter()
        .map(|found| format!("{} -> {}", short(&found.from), short(&found.to)))
        .collect();
    found.dedup();
    found
}

#[test]
fn the_floors_rule_finds_what_it_must() {
    for (from, to) in [
        ("probe", "agent"),
        ("probe", "transport"),
        ("agent", "controller"),
        ("wire", "probe"),
        ("agent", "nowhere"),
        ("nowhere", "id"),
    ] {
        assert!(forbidden(from, to, false).is_some(), "{from} uses {to}");
    }
    assert!(forbidden("lab", "controller", false).is_none());
    assert!(forbidden("probe", "transport", true).is_none());
    let sources = [
        source("src/lib.rs", "pub mod wire; pub mod probe;"),
        source("src/wire.rs", "mod inner;"),
        source("src/wire/inner.rs", "fn f() { super::super::probe::go(); }"),
        source("src/probe.rs", "pub fn go() {}"),
    ];
    let found: Vec<_> = Graph::read(&sources, true)
        .uses()
        .iter()
        .filter_map(fault)
        .collect();
    assert_eq!(
        found,
        ["src/wire/inner.rs:1: `wire` (values) uses `probe` (logic): super::super::probe::go"]
    );
}

#[test]
fn paths_are_found_in_every_form() {
    let library = [
        source("src/lib.rs", "pub mod a; pub mod b; pub mod c;"),
        source("src/b.rs", "pub struct B; pub fn make() {}"),
        source("src/c.rs", "pub mod d;"),
        source("src/c/d.rs", "pub enum D { One }"),
    ];
    for text in [
        "use crate::{b::{self, B}, c::d::D};",
        "use crate::{\n    b::B,\n    c::{d::{D as E}},\n};",
        "use super::b::B; use super::c::d::*;",
        "fn f(_: crate::b::B) { let _ = super::c::d::D::One; }",
        "use crate::{b, c}; fn f() { b::make(); c::d::D::One; }",
        "mod inner { fn f() { super::super::b::make(); crate::c::d::D::One; } }",
        "/* use crate::a; */ fn f() -> crate::b::B { let _ = \"crate::c::d\"; r#\"\"\"#; crate::c::d::D::One }",
        "fn f<'a>(_: &'a crate::b::B) { let _ = ('\\'', '\"', crate::c::d::D::One); }",
    ] {
        let mut sources = vec![source("src/a.rs", text)];
        sources.extend(library.iter().map(|known| source(&known.file, &known.text)));
        assert_eq!(uses(&sources), ["a.rs -> b.rs", "a.rs -> c/d.rs"], "{text}");
    }
    let program = [
        source("src/bin/p/main.rs", "mod part; use rpingmesh::b::B;"),
        source("src/bin/p/part.rs", "use crate::C; use rpingmesh::c::d::D;"),
    ];
    let mut sources = Vec::from(program);
    sources.extend(library);
    assert_eq!(
        uses(&sources),
        [
            "bin/p/main.rs -> b.rs",
            "bin/p/part.rs -> bin/p/main.rs",
            "bin/p/part.rs -> c/d.rs"
        ]
    );
}

#[test]
fn names_lead_through_re_exports_to_the_file_that_defines_them() {
    let sources = [
        source("src/lib.rs", "pub mod a; pub mod b;"),
        source("src/a.rs", "mod x; mod y; pub use x::X; pub use y::*;"),
        source("src/a/x.rs", "pub struct X;"),
        source("src/a/y.rs", "pub struct Y; #[cfg(test)] mod tests;"),
        source("src/a/y/tests.rs", "use crate::b::f;"),
        source("src/b.rs", "use crate::a::{X, Y}; pub fn f() {}"),
    ];
    assert_eq!(
        uses(&sources),
        [
            "a.rs -> a/x.rs",
            "a.rs -> a/y.rs",
            "b.rs -> a/x.rs",
            "b.rs -> a/y.rs"
        ]
    );
}

#[test]
fn a_circle_is_found_and_described() {
    let sources = [
        source("src/lib.rs", "pub mod a; pub mod b; pub mod c;"),
        source("src/a.rs", "use crate::b::B; pub struct A;"),
        source("src/b.rs", "pub mod inner; pub struct B;"),
        source(
            "src/b/inner.rs",
            "pub struct C; fn f(_: super::super::c::C) {}",
        ),
        source(
            "src/c.rs",
            "pub struct C; impl C { fn g(_: crate::a::A) {} }",
        ),
    ];
    let uses = Graph::read(&sources, false).uses();
    assert_eq!(
        described(&uses, node),
        [
            "a b c\n  src/a.rs:1 uses src/b.rs: crate::b::B\n  src/b/inner.rs:1 uses src/c.rs: super::super::c::C\n  \
          src/c.rs:1 uses src/a.rs: crate::a::A"
        ]
    );
    assert!(described(&uses, |file| Some(file.to_owned())).is_empty());
    let parent_and_child = [
        source("src/lib.rs", "pub mod a;"),
        source("src/a.rs", "mod x; pub struct A; fn f() { x::g(); }"),
        source("src/a/x.rs", "use super::A; pub fn g() {}"),
    ];
    let uses = Graph::read(&parent_and_child, false).uses();
    assert!(described(&uses, node).is_empty());
    assert_eq!(described(&uses, |file| Some(file.to_owned())).len(), 1);
}
