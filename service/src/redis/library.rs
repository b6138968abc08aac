//! The functions that run inside Redis (`library.lua`), and what they are called there. The name of the library is made
//! from its text: an instance of another version finds its own beside ours, and nobody can forget to raise a number.

use std::sync::LazyLock;

use bytes::Bytes;

const SOURCE: &str = include_str!("library.lua");

/// A function of the library.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(usize)]
pub(crate) enum Function {
    Publish,
    Read,
    Position,
    ReadOnly,
    PositionOnly,
    Primary,
    Enter,
    Leave,
    Clear,
    Renew,
    GiveUp,
    Announce,
    Instances,
    Sweep,
    /// A command that only reads, its key first.
    Look,
    /// A command that adds.
    Add,
    /// A command that removes, or puts an end to what is there.
    Remove,
}

const FUNCTIONS: [&str; 17] = [
    "publish",
    "read",
    "position",
    "read_only",
    "position_only",
    "primary",
    "enter",
    "leave",
    "clear",
    "renew",
    "give_up",
    "announce",
    "instances",
    "sweep",
    "look",
    "add",
    "remove",
];

struct Library {
    text: Bytes,
    names: [Bytes; FUNCTIONS.len()],
}

static LIBRARY: LazyLock<Library> = LazyLock::new(|| {
    let library = format!("parley_{:016x}", fnv1a(SOURCE.as_bytes()));
    Library {
        text: Bytes::from(SOURCE.replace('@', &library)),
        names: FUNCTIONS.map(|function| Bytes::from(format!("{library}_{function}"))),
    }
});

impl Function {
    /// What it is called in `FCALL`.
    pub(crate) fn name(self) -> Bytes {
        LIBRARY.names[self as usize].clone()
    }
}

/// What `FUNCTION LOAD` takes.
pub(crate) fn text() -> Bytes {
    LIBRARY.text.clone()
}

/// FNV-1a with 64 bits, which tells texts of one author apart.
const fn fnv1a(text: &[u8]) -> u64 {
    let (mut hash, mut index) = (0xcbf2_9ce4_8422_2325, 0);
    while index < text.len() {
        hash = (hash ^ text[index] as u64).wrapping_mul(0x0100_0000_01b3);
        index += 1;
    }
    hash
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_function_is_registered_under_its_name() {
        let text = String::from_utf8(text().to_vec()).unwrap();
        assert_eq!(Function::Remove as usize + 1, FUNCTIONS.len());
        for (function, name) in FUNCTIONS.iter().zip(&LIBRARY.names) {
            assert!(text.contains(&format!("\nregister('{function}', ")), "{function}");
            let registered = String::from_utf8(name.to_vec()).unwrap().replace(function, "");
            assert!(text.contains(&format!("'{registered}' .. name")), "{name:?}");
        }
        assert_eq!(text.matches("\nregister('").count(), FUNCTIONS.len());
        assert!(Function::GiveUp.name().ends_with(b"_give_up"));
    }

    #[test]
    fn the_hash_is_the_one_that_everybody_knows() {
        assert_eq!(fnv1a(b""), 0xcbf2_9ce4_8422_2325);
        assert_eq!(fnv1a(b"foobar"), 0x8594_4171_f739_67e8);
    }
}
