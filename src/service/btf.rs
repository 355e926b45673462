//! A small reader of BTF, the kernel's own description of its types (Linux `Documentation/bpf/btf.rst`).
//!
//! It answers one question: where in a structure does a member lie? Module BTF is *split*: its types and strings
//! continue the numbering of `vmlinux`, so a reader may stand on a base. Every access is checked; any bytes may come.
//!
//! A type's second word, `info`:
//! ```text
//!  31  30        24 23                    0
//! +---+------------+-----------------------+
//! | F |    kind    |         count         |   F: members may be bit fields (and more, by kind)
//! +---+------------+-----------------------+
//! ```
//! Until Linux 7.0 the kind had 5 bits and the count 16, and the kernel refused data with any of the others set
//! (`BTF_INFO_MASK`), so that reading all bits is right for old data, too. Since 7.1 a longer header may point to a layout
//! section: for each kind the bytes that follow the fixed part, once and per element. With it a kind that is not known can
//! be passed over.

use std::collections::HashMap;

const MAGIC: u16 = 0xeb9f;
const HEADER: usize = 24;
/// A header that is at least this long has offset and length of the layout section at its end.
const HEADER_WITH_LAYOUT: usize = 32;
/// Bytes of a layout: `info_sz`, `elem_sz`, and two of flags.
const LAYOUT: usize = 4;
/// How deep typedefs, qualifiers and anonymous members may nest before the data counts as damaged.
const MAX_DEPTH: u32 = 32;
/// How many members one look-up may visit: a kernel's largest structures have a few thousand, damaged data could
/// nest anonymous members without end.
const MAX_VISITS: u32 = 1 << 20;

/// Why BTF cannot be read or does not have what is looked for.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BtfError {
    /// Not BTF of this byte order.
    #[error("not little-endian BTF: magic {0:#06x}")]
    Magic(u16),
    /// A version whose layout is not known.
    #[error("BTF version {0} is not known")]
    Version(u8),
    /// Cut off or damaged.
    #[error("BTF is damaged: {what} at byte {at}")]
    Damaged {
        /// What does not fit.
        what: &'static str,
        /// Where, within the data.
        at: usize,
    },
    /// A kind of type that is not known, whose length therefore is not known either.
    #[error("BTF type {id} is of kind {kind}, which this version does not know")]
    Kind {
        /// The type.
        id: u32,
        /// Its kind.
        kind: u8,
    },
    /// No structure of this name.
    #[error("the kernel's BTF has no structure `{0}`")]
    NoStruct(String),
    /// No such member.
    #[error("the kernel's `{structure}` has no member `{member}`")]
    NoMember {
        /// The structure.
        structure: String,
        /// The path of members.
        member: String,
    },
    /// The member is a bit field or does not start at a byte.
    #[error("the kernel's `{structure}.{member}` is a bit field")]
    BitField {
        /// The structure.
        structure: String,
        /// The path of members.
        member: String,
    },
}

/// Where a member lies in its structure.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Member {
    /// Bytes from the structure's start.
    pub offset: u32,
    /// Bytes of the member itself.
    pub size: u32,
}

/// Parsed BTF, alone or on a base.
#[derive(Debug, Clone)]
pub struct Btf<'base> {
    base: Option<&'base Btf<'base>>,
    types: Vec<u8>,
    strings: Vec<u8>,
    /// The layout section, empty where there is none.
    layouts: Vec<u8>,
    /// Start of each type in `types`; the first has the id `first_id`.
    starts: Vec<u32>,
    first_id: u32,
    first_string: u32,
    structs: HashMap<Vec<u8>, u32>,
}

/// A type's fixed part.
#[derive(Debug, Clone, Copy)]
struct Type {
    name: u32,
    kind: TypeKind,
    count: u32,
    bit_fields: bool,
    /// Size in bytes or the id of another type, by kind.
    value: u32,
    /// Where its variable part starts.
    at: usize,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum TypeKind {
    Sized,
    Pointer,
    Array,
    Composite,
    Forward,
    /// Typedef, const, volatile, restrict, type tag: stands for another type.
    Alias,
    Other,
}

/// Kind and length of the variable part, from `BTF_KIND_*` in `include/uapi/linux/btf.h`.
fn layout(kind: u8, count: usize) -> Option<(TypeKind, usize)> {
    Some(match kind {
        1 => (TypeKind::Sized, 4),
        2 => (TypeKind::Pointer, 0),
        3 => (TypeKind::Array, 12),
        4 | 5 => (TypeKind::Composite, 12 * count),
        6 => (TypeKind::Sized, 8 * count),
        7 => (TypeKind::Forward, 0),
        8..=11 | 18 => (TypeKind::Alias, 0),
        12 => (TypeKind::Other, 0),
        13 => (TypeKind::Other, 8 * count),
        14 | 17 => (TypeKind::Other, 4),
        15 => (TypeKind::Other, 12 * count),
        16 => (TypeKind::Sized, 0),
        19 => (TypeKind::Sized, 12 * count),
        _ => return None,
    })
}

fn word(bytes: &[u8], at: usize) -> Option<u32> {
    let bytes = bytes.get(at..at.checked_add(4)?)?;
    Some(u32::from_le_bytes(bytes.try_into().ok()?))
}

fn section(data: &[u8], header: usize, at: usize, what: &'static str) -> Result<Vec<u8>, BtfError> {
    let damaged = || BtfError::Damaged { what, at };
    let offset = word(data, at).ok_or_else(damaged)? as usize;
    let length = word(data, at + 4).ok_or_else(damaged)? as usize;
    let start = header.checked_add(offset).ok_or_else(damaged)?;
    let end = start.checked_add(length).ok_or_else(damaged)?;
    data.get(start..end).map(<[u8]>::to_vec).ok_or_else(damaged)
}

impl<'base> Btf<'base> {
    /// Parses BTF that stands alone (`/sys/kernel/btf/vmlinux`).
    ///
    /// # Errors
    /// [`BtfError`] when the data is not BTF or is damaged.
    pub fn parse(data: &[u8]) -> Result<Self, BtfError> {
        Self::parse_on(data, None)
    }

    /// Parses split BTF (`/sys/kernel/btf/<module>`) that continues `base`.
    ///
    /// # Errors
    /// [`BtfError`] when the data is not BTF or is damaged.
    pub fn parse_split(data: &[u8], base: &'base Self) -> Result<Self, BtfError> {
        Self::parse_on(data, Some(base))
    }

    fn parse_on(data: &[u8], base: Option<&'base Self>) -> Result<Self, BtfError> {
        let fixed: &[u8; HEADER] = data.first_chunk().ok_or(BtfError::Damaged {
            what: "header is cut off",
            at: data.len(),
        })?;
        let magic = u16::from_le_bytes([fixed[0], fixed[1]]);
        if magic != MAGIC {
            return Err(BtfError::Magic(magic));
        }
        if fixed[2] != 1 {
            return Err(BtfError::Version(fixed[2]));
        }
        let header = word(data, 4).unwrap_or_default() as usize;
        let mut btf = Self {
            base,
            types: section(data, header, 8, "type section")?,
            strings: section(data, header, 16, "string section")?,
            // Only what is not known needs it: damage shows there.
            layouts: if header >= HEADER_WITH_LAYOUT {
                section(data, header, 24, "layout section").unwrap_or_default()
            } else {
                Vec::new()
            },
            starts: Vec::new(),
            first_id: base.map_or(1, |base| base.first_id.saturating_add(base.len())),
            first_string: base.map_or(0, |base| {
                let own = u32::try_from(base.strings.len()).unwrap_or(u32::MAX);
                base.first_string.saturating_add(own)
            }),
            structs: HashMap::new(),
        };
        btf.index()?;
        Ok(btf)
    }

    fn len(&self) -> u32 {
        u32::try_from(self.starts.len()).unwrap_or(u32::MAX)
    }

    /// Walks the types once: remembers where each starts and which structures have names.
    fn index(&mut self) -> Result<(), BtfError> {
        let mut at = 0;
        while at < self.types.len() {
            let id = self.first_id.saturating_add(self.len());
            let (kind, found, next) = self.read_at(id, at)?;
            self.starts
                .push(u32::try_from(at).map_err(|_| BtfError::Damaged {
                    what: "type section is too long",
                    at,
                })?);
            if kind == 4 && found.name != 0 {
                let name = self.string(found.name).to_vec();
                self.structs.entry(name).or_insert(id);
            }
            at = next;
        }
        Ok(())
    }

    fn read_at(&self, id: u32, at: usize) -> Result<(u8, Type, usize), BtfError> {
        let damaged = BtfError::Damaged {
            what: "type is cut off",
            at,
        };
        let read = |offset| word(&self.types, at + offset).ok_or_else(|| damaged.clone());
        let (name, info, value) = (read(0)?, read(4)?, read(8)?);
        let count = info & 0x00ff_ffff;
        let number = ((info >> 24) & 0x7f) as u8;
        let (kind, length) = layout(number, count as usize)
            .or_else(|| {
                Some((
                    TypeKind::Other,
                    self.described_length(number, count as usize)?,
                ))
            })
            .ok_or(BtfError::Kind { id, kind: number })?;
        let next = (at + 12)
            .checked_add(length)
            .filter(|next| *next <= self.types.len())
            .ok_or_else(|| damaged.clone())?;
        let bit_fields = info >> 31 == 1;
        Ok((
            number,
            Type {
                name,
                kind,
                count,
                bit_fields,
                value,
                at: at + 12,
            },
            next,
        ))
    }

    /// Bytes of the variable part of a kind that is not known, where the layout section (the own one, else the base's)
    /// tells them. Kind 0 is none.
    fn described_length(&self, kind: u8, count: usize) -> Option<usize> {
        if self.layouts.is_empty() {
            return self.base?.described_length(kind, count);
        }
        let at = usize::from(kind) * LAYOUT;
        let entry = self.layouts.get(at..at + LAYOUT).filter(|_| kind != 0)?;
        usize::from(entry[1])
            .checked_mul(count)?
            .checked_add(usize::from(entry[0]))
    }

    /// The string at an offset, without its zero; empty where there is none.
    fn string(&self, offset: u32) -> &[u8] {
        if offset < self.first_string {
            return self.base.map_or(&[], |base| base.string(offset));
        }
        let tail = self
            .strings
            .get((offset - self.first_string) as usize..)
            .unwrap_or(&[]);
        let end = tail
            .iter()
            .position(|byte| *byte == 0)
            .unwrap_or(tail.len());
        &tail[..end]
    }

    /// A type, with the part of the chain that holds its bytes.
    fn get(&self, id: u32) -> Option<(&Btf<'base>, Type)> {
        if id < self.first_id {
            return self.base?.get(id);
        }
        let start = *self.starts.get((id - self.first_id) as usize)?;
        let (_, found, _) = self.read_at(id, start as usize).ok()?;
        Some((self, found))
    }

    fn struct_id(&self, name: &[u8]) -> Option<u32> {
        let own = self.structs.get(name).copied();
        own.or_else(|| self.base.and_then(|base| base.struct_id(name)))
    }

    /// Follows typedefs and qualifiers to the type that they stand for.
    fn resolve(&self, mut id: u32) -> Option<u32> {
        for _ in 0..MAX_DEPTH {
            match self.get(id)? {
                (
                    _,
                    Type {
                        kind: TypeKind::Alias,
                        value,
                        ..
                    },
                ) => id = value,
                _ => return Some(id),
            }
        }
        None
    }

    fn size(&self, id: u32, depth: u32) -> Option<u32> {
        if depth > MAX_DEPTH {
            return None;
        }
        let (part, found) = self.get(self.resolve(id)?)?;
        match found.kind {
            TypeKind::Sized | TypeKind::Composite => Some(found.value),
            // Both targets are 64-bit.
            TypeKind::Pointer => Some(8),
            TypeKind::Array => {
                let element = word(&part.types, found.at)?;
                let count = word(&part.types, found.at + 8)?;
                self.size(element, depth + 1)?.checked_mul(count)
            }
            TypeKind::Forward | TypeKind::Alias | TypeKind::Other => None,
        }
    }

    /// Finds `path` (`ah_attr.grh.dgid`) in `structure`, looking into anonymous members too.
    ///
    /// # Errors
    /// [`BtfError::NoStruct`], [`BtfError::NoMember`], [`BtfError::BitField`].
    pub fn member(&self, structure: &str, path: &str) -> Result<Member, BtfError> {
        let start = self
            .struct_id(structure.as_bytes())
            .ok_or_else(|| BtfError::NoStruct(structure.to_owned()))?;
        let missing = || BtfError::NoMember {
            structure: structure.to_owned(),
            member: path.to_owned(),
        };
        let mut id = start;
        let mut bits = 0u32;
        let mut visits = MAX_VISITS;
        for name in path.split('.') {
            let (member_bits, member_type) = self
                .find(id, name.as_bytes(), 0, &mut visits)
                .ok_or_else(missing)?;
            bits = bits.checked_add(member_bits).ok_or_else(missing)?;
            id = member_type;
        }
        if !bits.is_multiple_of(8) {
            return Err(BtfError::BitField {
                structure: structure.to_owned(),
                member: path.to_owned(),
            });
        }
        let size = self.size(id, 0).ok_or_else(missing)?;
        Ok(Member {
            offset: bits / 8,
            size,
        })
    }

    /// A member of a composite type: its offset in bits and its type.
    fn find(&self, id: u32, name: &[u8], depth: u32, visits: &mut u32) -> Option<(u32, u32)> {
        if depth > MAX_DEPTH {
            return None;
        }
        let (part, found) = self.get(self.resolve(id)?)?;
        if found.kind != TypeKind::Composite {
            return None;
        }
        for index in 0..found.count as usize {
            *visits = visits.checked_sub(1)?;
            let at = found.at + 12 * index;
            let member_name = word(&part.types, at)?;
            let member_type = word(&part.types, at + 4)?;
            let position = word(&part.types, at + 8)?;
            // With bit fields the upper byte is their width.
            let bits = if found.bit_fields {
                position & 0x00ff_ffff
            } else {
                position
            };
            if part.string(member_name) == name && !name.is_empty() {
                // A bit field of its own is of no use to a reader of whole bytes: report a crooked offset.
                let is_bit_field = found.bit_fields && position >> 24 != 0;
                return Some((if is_bit_field { bits | 1 } else { bits }, member_type));
            }
            if part.string(member_name).is_empty()
                && let Some((inner, inner_type)) = self.find(member_type, name, depth + 1, visits)
            {
                return Some((bits.checked_add(inner)?, inner_type));
            }
        }
        None
    }
}

#[cfg(test)]
mod tests;
