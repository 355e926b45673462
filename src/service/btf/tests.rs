use proptest::prelude::*;

use super::*;

/// Writes BTF, so that tests say what a kernel's data holds.
#[derive(Default)]
struct Writer {
    types: Vec<u8>,
    strings: Vec<u8>,
    first_string: u32,
    /// (`info_sz`, `elem_sz`) of each kind; none for the header of before 7.1.
    layouts: Vec<(u8, u8)>,
}

impl Writer {
    fn new() -> Self {
        Self {
            strings: vec![0],
            ..Self::default()
        }
    }

    /// Continues a base whose strings are this long.
    fn split(first_string: u32) -> Self {
        Self {
            first_string,
            ..Self::default()
        }
    }

    fn string(&mut self, text: &str) -> u32 {
        if text.is_empty() {
            return 0;
        }
        let offset = self.first_string + u32::try_from(self.strings.len()).expect("short");
        self.strings.extend(text.as_bytes());
        self.strings.push(0);
        offset
    }

    fn words(&mut self, words: &[u32]) {
        for word in words {
            self.types.extend(word.to_le_bytes());
        }
    }

    fn int(&mut self, name: &str, size: u32) {
        let name = self.string(name);
        self.words(&[name, 1 << 24, size, size * 8]);
    }

    fn composite(&mut self, kind: u32, name: &str, size: u32, members: &[(&str, u32, u32)]) {
        let name = self.string(name);
        let count = u32::try_from(members.len()).expect("few");
        self.words(&[name, kind << 24 | count, size]);
        for (member, kind, bits) in members {
            let member = self.string(member);
            self.words(&[member, *kind, *bits]);
        }
    }

    fn finish(&self) -> Vec<u8> {
        let mut data = Vec::new();
        data.extend(MAGIC.to_le_bytes());
        data.extend([1, 0]);
        let types = u32::try_from(self.types.len()).expect("short");
        let strings = u32::try_from(self.strings.len()).expect("short");
        let header = if self.layouts.is_empty() { 24 } else { 32 };
        for word in [header, 0, types, types, strings] {
            data.extend(word.to_le_bytes());
        }
        if !self.layouts.is_empty() {
            let length = u32::try_from(4 * self.layouts.len()).expect("short");
            data.extend((types + strings).to_le_bytes());
            data.extend(length.to_le_bytes());
        }
        data.extend(&self.types);
        data.extend(&self.strings);
        for (once, each) in &self.layouts {
            data.extend([*once, *each, 0, 0]);
        }
        data
    }
}

/// `u8`(1) `u32`(2) pointer(3) `u8[16]`(4) const u32(5) gid(6) anonymous union(7) outer(8)
fn vmlinux() -> Writer {
    let mut writer = Writer::new();
    writer.int("u8", 1);
    writer.int("u32", 4);
    writer.words(&[0, 2 << 24, 2]);
    writer.words(&[0, 3 << 24, 0, 1, 2, 16]);
    writer.words(&[0, 10 << 24, 2]);
    writer.composite(4, "gid", 16, &[("raw", 4, 0)]);
    writer.composite(5, "", 16, &[("number", 5, 0), ("address", 6, 0)]);
    writer.composite(
        4,
        "outer",
        40,
        &[
            ("pointer", 3, 0),
            ("first", 1, 64),
            ("", 7, 128),
            ("last", 5, 256),
        ],
    );
    writer
}

#[test]
fn members_are_found_through_qualifiers_and_anonymous_unions() {
    let btf = Btf::parse(&vmlinux().finish()).expect("valid");
    let at = |path| {
        btf.member("outer", path)
            .map(|member| (member.offset, member.size))
    };
    assert_eq!(at("pointer"), Ok((0, 8)));
    assert_eq!(at("first"), Ok((8, 1)));
    assert_eq!(at("number"), Ok((16, 4)));
    assert_eq!(at("address.raw"), Ok((16, 16)));
    assert_eq!(at("last"), Ok((32, 4)));
    assert_eq!(
        at("missing").expect_err("no such member").to_string(),
        "the kernel's `outer` has no member `missing`"
    );
    assert_eq!(
        btf.member("nothing", "x"),
        Err(BtfError::NoStruct("nothing".to_owned()))
    );
}

#[test]
fn a_module_continues_the_numbering_of_its_base() {
    let base_writer = vmlinux();
    let base_data = base_writer.finish();
    let base = Btf::parse(&base_data).expect("valid");
    let mut module = Writer::split(u32::try_from(base_writer.strings.len()).expect("short"));
    // Type 9, made of types 6 and 2 of the base.
    module.composite(4, "ib_thing", 24, &[("number", 2, 0), ("gid", 6, 64)]);
    let btf = Btf::parse_split(&module.finish(), &base).expect("valid");
    assert_eq!(
        btf.member("ib_thing", "gid"),
        Ok(Member {
            offset: 8,
            size: 16
        })
    );
    assert_eq!(
        btf.member("ib_thing", "gid.raw"),
        Ok(Member {
            offset: 8,
            size: 16
        })
    );
    assert_eq!(
        btf.member("outer", "last"),
        Ok(Member {
            offset: 32,
            size: 4
        })
    );
}

/// The same structures behind something else: their numbers begin one later.
fn vmlinux_after(first: impl FnOnce(&mut Writer)) -> Writer {
    let mut writer = Writer::new();
    first(&mut writer);
    writer.int("u32", 4);
    writer.composite(4, "outer", 12, &[("first", 2, 0), ("last", 2, 64)]);
    writer
}

fn last(data: &[u8]) -> Result<u32, BtfError> {
    Ok(Btf::parse(data)?.member("outer", "last")?.offset)
}

#[test]
fn a_count_has_24_bits() {
    for count in [65_535, 65_536, 65_540, 200_000] {
        for kind in [6, 19, 13] {
            let writer = vmlinux_after(|writer| {
                writer.words(&[0, kind << 24 | count, 4]);
                let words = if kind == 19 { 3 } else { 2 };
                writer.words(&vec![1; (count * words) as usize]);
            });
            assert_eq!(last(&writer.finish()), Ok(8), "{count} of kind {kind}");
        }
    }
    // A structure of more members than 16 bits count.
    let mut writer = Writer::new();
    writer.int("u8", 1);
    let (name, member) = (writer.string("outer"), writer.string("last"));
    let count = 70_000;
    writer.words(&[name, 4 << 24 | count, count]);
    for index in 0..count {
        let name = if index == count - 1 { member } else { 0 };
        writer.words(&[name, 1, index * 8]);
    }
    assert_eq!(last(&writer.finish()), Ok(69_999));
}

#[test]
fn kinds_that_are_not_known_are_passed_over_where_their_length_is_told() {
    let unknown = |kind: u32, count: u32, words: usize| {
        move |writer: &mut Writer| {
            writer.words(&[0, kind << 24 | count, 0]);
            writer.words(&vec![0xffff_ffff; words]);
        }
    };
    let layouts = |kind: usize, entry| {
        let mut layouts = vec![(0, 0); kind + 1];
        layouts[kind] = entry;
        layouts
    };
    // Fixed and per element; fixed alone; nothing; beyond five bits.
    for (kind, count, words, entry) in [
        (20, 3, 5, (8, 4)),
        (21, 0, 2, (8, 4)),
        (22, 7, 0, (0, 0)),
        (33, 1, 1, (4, 0)),
        (127, 2, 2, (0, 4)),
    ] {
        let mut writer = vmlinux_after(unknown(kind, count, words));
        let number = u8::try_from(kind).expect("7 bits");
        assert_eq!(
            last(&writer.finish()),
            Err(BtfError::Kind {
                id: 1,
                kind: number
            })
        );
        writer.layouts = layouts(kind as usize, entry);
        assert_eq!(last(&writer.finish()), Ok(8), "kind {kind}");
    }
    // A section that is too short for it, and a length beyond the data.
    let mut writer = vmlinux_after(unknown(33, 0, 0));
    writer.layouts = layouts(20, (0, 0));
    assert!(matches!(
        last(&writer.finish()),
        Err(BtfError::Kind { kind: 33, .. })
    ));
    let mut writer = vmlinux_after(unknown(20, 0x00ff_ffff, 4));
    writer.layouts = layouts(20, (0, 255));
    assert!(matches!(
        last(&writer.finish()),
        Err(BtfError::Damaged { .. })
    ));
}

#[test]
fn a_module_is_read_by_the_layouts_of_its_base() {
    let mut base_writer = vmlinux_after(|_| {});
    base_writer.layouts = vec![(0, 0); 21];
    base_writer.layouts[20] = (4, 0);
    let base_data = base_writer.finish();
    let base = Btf::parse(&base_data).expect("valid");
    let mut module = Writer::split(u32::try_from(base_writer.strings.len()).expect("short"));
    module.words(&[0, 20 << 24, 0, 7]);
    module.composite(4, "ib_thing", 8, &[("number", 1, 32)]);
    let btf = Btf::parse_split(&module.finish(), &base).expect("valid");
    assert_eq!(
        btf.member("ib_thing", "number"),
        Ok(Member { offset: 4, size: 4 })
    );
}

#[test]
fn old_and_new_headers_give_the_same() {
    let mut writer = vmlinux();
    let old = writer.finish();
    writer.layouts = vec![(0, 0), (4, 0), (0, 0), (12, 0), (0, 12), (0, 12)];
    let new = writer.finish();
    for path in ["pointer", "number", "address.raw", "last"] {
        let member = |data: &[u8]| Btf::parse(data).expect("valid").member("outer", path);
        assert_eq!(member(&old), member(&new));
    }
    // A layout section that lies outside is of no account while nothing needs it.
    let mut damaged = new;
    damaged[24..28].copy_from_slice(&u32::MAX.to_le_bytes());
    assert!(Btf::parse(&damaged).is_ok());
}

#[test]
fn bit_fields_are_refused() {
    let mut writer = Writer::new();
    writer.int("u32", 4);
    let name = writer.string("flags");
    let member = writer.string("bits");
    let whole = writer.string("whole");
    writer.words(&[name, 1 << 31 | 4 << 24 | 2, 8]);
    writer.words(&[member, 1, 3 << 24 | 8, whole, 1, 32]);
    let btf = Btf::parse(&writer.finish()).expect("valid");
    assert!(matches!(
        btf.member("flags", "bits"),
        Err(BtfError::BitField { .. })
    ));
    assert_eq!(
        btf.member("flags", "whole"),
        Ok(Member { offset: 4, size: 4 })
    );
}

#[test]
fn damage_is_named() {
    let good = vmlinux().finish();
    assert_eq!(
        Btf::parse(&good[..10]).expect_err("cut").to_string(),
        "BTF is damaged: header is cut off at byte 10"
    );
    assert!(matches!(
        Btf::parse(&good[..60]),
        Err(BtfError::Damaged { .. })
    ));
    let mut other = good.clone();
    other[0] = 0;
    assert_eq!(
        Btf::parse(&other).expect_err("magic"),
        BtfError::Magic(0xeb00)
    );
    let mut newer = good;
    newer[2] = 2;
    assert_eq!(
        Btf::parse(&newer).expect_err("version"),
        BtfError::Version(2)
    );
}

#[test]
fn types_that_refer_to_themselves_end() {
    let mut writer = Writer::new();
    writer.composite(4, "loop", 8, &[("", 1, 0)]);
    // A typedef of itself.
    writer.words(&[0, 8 << 24, 2]);
    writer.composite(4, "user", 8, &[("x", 2, 0)]);
    let btf = Btf::parse(&writer.finish()).expect("valid");
    assert!(btf.member("loop", "x").is_err());
    assert!(btf.member("user", "x").is_err());
}

proptest! {
    #[test]
    fn no_bytes_panic(mut data in proptest::collection::vec(any::<u8>(), 0..400), valid_header: bool) {
        if valid_header && data.len() > 32 {
            let header = if data[8] % 2 == 0 { 24 } else { 32 };
            data[..8].copy_from_slice(&[0x9f, 0xeb, 1, 0, header, 0, 0, 0]);
            // Sections that lie within the data, most of the time.
            for at in [9, 10, 11, 13, 14, 15, 17, 18, 19, 21, 22, 23, 25, 26, 27, 29, 30, 31] {
                data[at] = 0;
            }
        }
        if let Ok(btf) = Btf::parse(&data) {
            let _ = btf.member("ib_qp", "qp_num");
        }
    }

    #[test]
    fn any_count_and_told_length_are_passed_over(
        kind in 20u32..128, count in 0u32..2_000, once in (0u8..64).prop_map(|n| n * 4), each in 0u8..64
    ) {
        let each = each / 4 * 4;
        let words = (u32::from(once) + count * u32::from(each)) / 4;
        let mut writer = vmlinux_after(|writer| {
            writer.words(&[0, kind << 24 | count, 0]);
            writer.words(&vec![0x5a5a_5a5a; words as usize]);
        });
        writer.layouts = vec![(0, 0); 128];
        writer.layouts[kind as usize] = (once, each);
        prop_assert_eq!(last(&writer.finish()), Ok(8));
    }

    #[test]
    fn no_damage_panics(position in 24usize..500, value: u8) {
        let mut data = vmlinux().finish();
        if let Some(byte) = data.get_mut(position) {
            *byte = value;
        }
        if let Ok(btf) = Btf::parse(&data) {
            for path in ["pointer", "number", "address.raw", "last", "x"] {
                let _ = btf.member("outer", path);
            }
        }
    }

    /// Types that refer to each other in circles, to themselves, and to types that there are not, also from a module to its base.
    #[test]
    fn any_graph_of_types_ends(
        types in proptest::collection::vec((0u8..6, 0u32..14, any::<u32>()), 1..12), base in 0usize..12
    ) {
        let (below, above) = types.split_at(base.min(types.len()));
        let mut vmlinux = Writer::new();
        graph(&mut vmlinux, below);
        let vmlinux_data = vmlinux.finish();
        let vmlinux = Btf::parse(&vmlinux_data).expect("well formed");
        let mut module = Writer::split(u32::try_from(vmlinux.strings.len()).expect("short"));
        graph(&mut module, above);
        let module_data = module.finish();
        let module = Btf::parse_split(&module_data, &vmlinux).expect("well formed");
        for path in ["x", "x.x", "x.x.x.x", "absent"] {
            // A size or offset that does not fit is none.
            if let Ok(member) = module.member("s", path) {
                prop_assert!(path != "absent", "{member:?}");
            }
        }
    }
}

/// One type for each entry: its form, the type that it refers to, a count or offset.
fn graph(writer: &mut Writer, types: &[(u8, u32, u32)]) {
    for (form, target, number) in types {
        match form {
            // A typedef, a pointer, a qualifier, an array, and structures with a named or a nameless member.
            0 => writer.words(&[0, 8 << 24, *target]),
            1 => writer.words(&[0, 2 << 24, *target]),
            2 => writer.words(&[0, 10 << 24, *target]),
            3 => writer.words(&[0, 3 << 24, 0, *target, 1, *number]),
            4 => writer.composite(
                4,
                "s",
                8,
                &[("", *target, *number), ("x", *target, *number)],
            ),
            _ => writer.composite(5, "", 8, &[("", *target, 0), ("x", *target, *number)]),
        }
    }
}
