//! # The kernel's symbols

use std::{
    collections::HashMap,
    fs,
    io::{self, BufRead, BufReader},
};

use anyhow::{Context as _, Result, ensure};

use crate::host::system::{Missing, System};

/// Data that the programs read.
pub const DATA: [&str; 2] = [PAGE_OFFSET, ENCRYPTION_MASK];
pub const PAGE_OFFSET: &str = "page_offset_base";
pub const ENCRYPTION_MASK: &str = "sme_me_mask";

const FILE: &str = "/proc/kallsyms";

/// Some of the kernel's functions and data, by name.
pub struct Symbols(HashMap<String, u64>);

impl Symbols {
    /// The wanted ones, of some 200,000.
    pub fn read_some(system: &System, wanted: impl Fn(&str) -> bool) -> Result<Symbols> {
        let path = system.path(FILE);
        // As in `System::read`.
        ensure!(
            !system.is_collected() || path.is_file(),
            "{FILE} was not collected, or is no file"
        );
        let file = fs::File::open(path).context(FILE)?;
        Symbols::parse(BufReader::new(file), wanted).context(FILE)
    }

    fn parse(mut text: impl BufRead, wanted: impl Fn(&str) -> bool) -> io::Result<Symbols> {
        let (mut found, mut line) = (HashMap::new(), String::new());
        while text.read_line(&mut line)? != 0 {
            if let Some((name, address)) = symbol(&line, &wanted) {
                found.insert(name.to_owned(), address);
            }
            line.clear();
        }
        Ok(Symbols(found))
    }

    /// The lines of the wanted ones, without their addresses: for others, those of a running kernel
    /// are a secret. Whether they are hidden remains.
    pub fn reduced(mut text: impl BufRead, wanted: impl Fn(&str) -> bool) -> io::Result<Vec<u8>> {
        let (mut kept, mut line) = (String::new(), String::new());
        while text.read_line(&mut line)? != 0 {
            if let Some((name, address)) = symbol(&line, &wanted) {
                let behind = line.split_once(' ').map_or(name, |(_, behind)| behind);
                let address = if address == 0 { 0 } else { u64::MAX };
                kept.push_str(&format!("{address:016x} {behind}"));
            }
            line.clear();
        }
        Ok(kept.into_bytes())
    }

    pub fn has(&self, name: &str) -> bool {
        self.0.contains_key(name)
    }

    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.0.keys().map(String::as_str)
    }

    /// The name under which the kernel has a function, if it was renamed and otherwise left alone:
    /// clang's link-time optimisation (ThinLTO) adds a number to a static function that it calls
    /// from other files. Other suffixes, such as `.isra.0` and `.cold`, are of functions with other
    /// arguments, or of parts.
    pub fn renamed(&self, function: &str) -> Option<&str> {
        let is_it = |name: &&str| {
            let number = name.strip_prefix(function).and_then(|rest| rest.strip_prefix(".llvm."));
            number.is_some_and(|it| !it.is_empty() && it.bytes().all(|byte| byte.is_ascii_digit()))
        };
        let mut found = self.names().filter(is_it);
        found.next().filter(|_| found.next().is_none())
    }

    /// An address; zeros mean that the kernel hides them.
    pub fn address(&self, name: &str) -> Result<u64, Missing> {
        match self.0.get(name) {
            Some(0) => Err(hidden()),
            Some(address) => Ok(*address),
            None => Err(absent(name)),
        }
    }
}

/// The kernel has symbols, and shows nobody their addresses.
pub fn hidden() -> Missing {
    Missing::new(
        "the kernel hides its addresses (kernel.kptr_restrict)",
        "`sysctl kernel.kptr_restrict=1` shows them to root",
    )
}

/// The kernel has no symbol of a name.
pub fn absent(name: &str) -> Missing {
    Missing::new(
        format!("{FILE} has no {name}"),
        "it needs an x86-64 kernel with CONFIG_KALLSYMS_ALL",
    )
}

/// `ffffffff829ca6a8 D page_offset_base`, and a module's name in brackets where it is a module's.
fn symbol(line: &str, wanted: impl Fn(&str) -> bool) -> Option<(&str, u64)> {
    let mut words = line.split_ascii_whitespace();
    let (address, name) = (words.next()?, words.nth(1)?);
    let address = wanted(name).then(|| u64::from_str_radix(address, 16))?;
    Some((name, address.ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &[u8]) -> Symbols {
        Symbols::parse(text, |name| DATA.contains(&name)).unwrap()
    }

    #[test]
    fn symbols_are_found_by_their_whole_name() {
        let symbols = parse(
            b"ffffffffa0001000 D sme_me_mask\n\
             ffffffffa0002000 t sme_me_mask.cold\t[kvm_amd]\n\
             0000000000000000 D page_offset_base\n",
        );
        assert_eq!(symbols.address("sme_me_mask").unwrap(), 0xffff_ffff_a000_1000);
        assert!(symbols.address("page_offset_base").unwrap_err().to_string().contains("kptr"));
        assert!(parse(b"").address("sme_me_mask").is_err());
    }

    #[test]
    fn reduced_symbols_show_that_addresses_are_not_hidden_but_not_which_they_are() {
        let text = "ffffffffa0001000 D sme_me_mask\n0000000000000000 D page_offset_base\n\
                    ffffffffa0001008 t x\t[kvm]\nffffffffa0001010 t y\n";
        let kept = Symbols::reduced(text.as_bytes(), |name| name != "y").unwrap();
        let expected = "ffffffffffffffff D sme_me_mask\n0000000000000000 D page_offset_base\n\
                        ffffffffffffffff t x\t[kvm]\n";
        assert_eq!(String::from_utf8(kept).unwrap(), expected);
    }

    #[test]
    fn only_a_whole_function_is_a_renamed_one() {
        let renamed = |names: &[&str]| {
            let lines: String =
                names.iter().map(|name| format!("ffffffffa0000000 t {name}\t[ccp]\n")).collect();
            let symbols = Symbols::parse(lines.as_bytes(), |_| true).unwrap();
            symbols.renamed("do_cmd").map(str::to_owned)
        };
        assert_eq!(renamed(&["do_cmd.llvm.42", "do_cmd.cold"]).as_deref(), Some("do_cmd.llvm.42"));
        for other in ["do_cmd.isra.0", "do_cmd.llvm.42.cold", "redo_cmd.llvm.42", "do_cmd"] {
            assert_eq!(renamed(&[other]), None);
        }
        assert_eq!(renamed(&["do_cmd.llvm.42", "do_cmd.llvm.43"]), None, "one of two");
    }
}
