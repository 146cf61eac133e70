//! # A guest's firmware image
//!
//! What a VMM finds in it to launch an SNP guest, in OVMF's formats, and the guest's script. No code
//! is executed, so there is none.
//!
//! | from the end | content |
//! |---|---|
//! | 0x1000 | [`Script`], which snpsim's guest reads |
//! | 0x800 | SEV metadata: sections of memory that the launch measures, too |
//! | up to 0x20 | the GUIDed table, which is read backwards: where the metadata is |
//!
//! The table's last entry is its footer, with the length of all entries. An entry is its data, its
//! length (2 bytes, of all three) and its GUID.

mod script;

use anyhow::{Context as _, Result, ensure};
pub use script::Script;

/// Pages of the smallest image that QEMU accepts as a BIOS; others are a multiple.
pub const PAGES: usize = 16;
const PAGE: usize = 4096;
/// From the end.
const SCRIPT: usize = 0x1000;
const METADATA: usize = 0x800;
const TABLE_END: usize = 0x20;

/// GUEST_SCRIPT_OVMF_GPA of snpsim.
const SCRIPT_IN_OVMF: u64 = 0xffc4_2000;

/// 96b582de-1fb2-45f7-baea-a366c55a082d, as GUIDs are stored.
const FOOTER: Guid = guid(0x96b5_82de, 0x1fb2, 0x45f7, 0xbaea_a366_c55a_082d);
/// dc886566-984a-4798-a75e-5585a7bf67cc: the metadata's offset from the end.
const SEV_METADATA: Guid = guid(0xdc88_6566, 0x984a, 0x4798, 0xa75e_5585_a7bf_67cc);
/// 00f771de-1a7e-4fcb-890e-68c77e2fb44e: where further vCPUs begin.
const RESET_BLOCK: Guid = guid(0x00f7_71de, 0x1a7e, 0x4fcb, 0x890e_68c7_7e2f_b44e);
/// QEMU demands one, but an SNP guest starts its second vCPU elsewhere.
const RESET_VECTOR: u32 = 0xffff_f400;

const VERSION: u32 = 1;
/// Address, length and kind of the metadata's sections.
const SECTIONS: [(u32, u32, Section); 3] = [
    (0x80_0000, 0x1000, Section::Zero),
    (0x80_1000, 0x1000, Section::Secrets),
    (0x80_2000, 0x1000, Section::Cpuid),
];

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Section {
    Zero = 1,
    Secrets = 2,
    Cpuid = 3,
}

type Guid = [u8; 16];

const fn guid(a: u32, b: u16, c: u16, d: u64) -> Guid {
    let (a, b, c, d) = (a.to_le_bytes(), b.to_le_bytes(), c.to_le_bytes(), d.to_be_bytes());
    [a[0], a[1], a[2], a[3], b[0], b[1], c[0], c[1], d[0], d[1], d[2], d[3], d[4], d[5], d[6], d[7]]
}

/// What a VMM finds in an image.
const ENTRIES: [(Guid, u32); 2] = [(RESET_BLOCK, RESET_VECTOR), (SEV_METADATA, METADATA as u32)];

/// The image of a guest with this script, of so many pages, which are all measured.
pub fn image(script: &Script, pages: usize) -> Result<Vec<u8>> {
    image_with(script, pages, &ENTRIES)
}

fn image_with(script: &Script, pages: usize, entries: &[(Guid, u32)]) -> Result<Vec<u8>> {
    ensure!(pages > 0 && pages.is_multiple_of(PAGES), "QEMU takes no image of {pages} pages");
    let size = pages * PAGE;
    let mut image = vec![0; size];
    let mut put = |at: usize, bytes: &[u8]| image[at..at + bytes.len()].copy_from_slice(bytes);
    put(size - SCRIPT, &script.bytes()?);
    put(size - METADATA, &metadata());
    let table = table(entries);
    put(size - TABLE_END - table.len(), &table);
    Ok(image)
}

const OVMF: &str = "/usr/share/ovmf/OVMF.fd";

/// Debian's OVMF, with a script where it has room for one. Its metadata and code are its own; none of
/// the code is executed.
pub fn ovmf(script: &Script) -> Result<Vec<u8>> {
    let mut image = std::fs::read(OVMF).context(OVMF)?;
    let at = image.len() as u64 - ((1 << 32) - SCRIPT_IN_OVMF);
    let bytes = script.bytes()?;
    let place = image.get_mut(at as usize..).and_then(|image| image.get_mut(..bytes.len()));
    let place = place.context("OVMF has another size")?;
    ensure!(place.iter().all(|byte| *byte == 0xff), "OVMF has something at {at:#x}");
    place.copy_from_slice(&bytes);
    Ok(image)
}

/// An image whose table does not say where the metadata is, as of a firmware for SEV-ES.
pub fn without_metadata(script: &Script) -> Result<Vec<u8>> {
    image_with(script, PAGES, &[(RESET_BLOCK, RESET_VECTOR)])
}

/// An image without the table, as a BIOS is that knows nothing of SEV.
pub fn without_table(script: &Script) -> Result<Vec<u8>> {
    let mut image = image(script, PAGES)?;
    let end = image.len() - TABLE_END;
    image[end - table(&ENTRIES).len()..end].fill(0);
    Ok(image)
}

fn metadata() -> Vec<u8> {
    let length = 16 + 12 * SECTIONS.len() as u32;
    let mut bytes = b"ASEV".to_vec();
    for number in [length, VERSION, SECTIONS.len() as u32] {
        bytes.extend(number.to_le_bytes());
    }
    for (address, length, kind) in SECTIONS {
        for number in [address, length, kind as u32] {
            bytes.extend(number.to_le_bytes());
        }
    }
    bytes
}

fn table(entries: &[(Guid, u32)]) -> Vec<u8> {
    let mut bytes = Vec::new();
    for (guid, number) in entries {
        bytes.extend(number.to_le_bytes());
        bytes.extend(entry(*guid, 4));
    }
    let footer = entry(FOOTER, bytes.len() as u16);
    bytes.extend(footer);
    bytes
}

/// What follows an entry's data.
fn entry(guid: Guid, data: u16) -> Vec<u8> {
    [&(data + 18).to_le_bytes()[..], &guid].concat()
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn u16_at(bytes: &[u8], at: usize) -> usize {
        u16::from_le_bytes(bytes[at..at + 2].try_into().unwrap()).into()
    }

    fn u32_at(bytes: &[u8], at: usize) -> u32 {
        u32::from_le_bytes(bytes[at..at + 4].try_into().unwrap())
    }

    /// A table's entry, searched as QEMU's pc_system_parse_ovmf_flash() does.
    fn find<'a>(image: &'a [u8], guid: &str) -> Option<&'a [u8]> {
        let mut end = image.len() - 0x20;
        assert_eq!(text(&image[end - 16..end]), "96b582de-1fb2-45f7-baea-a366c55a082d");
        let begin = end - u16_at(image, end - 18);
        end -= 18;
        while end > begin {
            let length = u16_at(image, end - 18);
            if text(&image[end - 16..end]) == guid {
                return Some(&image[end - length..end - 18]);
            }
            end -= length;
        }
        assert_eq!(end, begin, "the lengths do not add up");
        None
    }

    /// A GUID as it is written.
    fn text(guid: &[u8]) -> String {
        let order = [3, 2, 1, 0, 5, 4, 7, 6, 8, 9, 10, 11, 12, 13, 14, 15];
        let hex: String = order.iter().map(|i| format!("{:02x}", guid[*i])).collect();
        [&hex[..8], &hex[8..12], &hex[12..16], &hex[16..20], &hex[20..]].join("-")
    }

    #[test]
    fn a_vmm_finds_the_sections_that_it_has_to_measure() {
        let image = image(&Script::reports(Duration::from_millis(1)), 256).unwrap();
        assert_eq!(image.len(), 1 << 20);
        let offset = find(&image, "dc886566-984a-4798-a75e-5585a7bf67cc").unwrap();
        let metadata = &image[image.len() - u32_at(offset, 0) as usize..];
        assert_eq!(&metadata[..4], b"ASEV");
        let count = u32_at(metadata, 12) as usize;
        assert_eq!((u32_at(metadata, 4) as usize, u32_at(metadata, 8)), (16 + 12 * count, 1));
        let sections: Vec<_> = metadata[16..][..12 * count].chunks(12).collect();
        let kinds: Vec<_> = sections.iter().map(|section| u32_at(section, 8)).collect();
        assert_eq!(kinds, [1, 2, 3], "a page of zeros, the secrets and CPUID");
        let mut free = 0;
        for section in sections {
            let (address, length) = (u32_at(section, 0), u32_at(section, 4));
            assert!(address >= free && address % 4096 == 0 && length % 4096 == 0 && length > 0);
            free = address + length;
        }
    }

    #[test]
    fn an_image_lacks_what_it_is_to_lack_and_nothing_else() {
        let script = Script::reports(Duration::from_millis(1));
        let image = without_metadata(&script).unwrap();
        assert_eq!(find(&image, "dc886566-984a-4798-a75e-5585a7bf67cc"), None);
        assert!(find(&image, "00f771de-1a7e-4fcb-890e-68c77e2fb44e").is_some());
        let image = without_table(&script).unwrap();
        let end = image.len() - 0x20;
        assert_ne!(text(&image[end - 16..end]), "96b582de-1fb2-45f7-baea-a366c55a082d");
    }

    #[test]
    fn a_vmm_finds_a_reset_vector_and_nothing_that_is_not_there() {
        let image = image(&Script::reports(Duration::from_millis(1)), PAGES).unwrap();
        let vector = find(&image, "00f771de-1a7e-4fcb-890e-68c77e2fb44e").unwrap();
        assert!(u32_at(vector, 0) > 0xffff_0000);
        assert_eq!(find(&image, "4c2eb361-7d9b-4cc3-8081-127c90d3d294"), None, "launch secrets");
    }

    #[test]
    fn the_script_is_where_the_guest_reads_it_and_overlaps_nothing() {
        let script = Script::reports(Duration::from_millis(1));
        assert!(image(&script, PAGES + 1).is_err() && image(&script, 0).is_err());
        let image = image(&script, PAGES).unwrap();
        let bytes = script.bytes().unwrap();
        let at = (0xffff_f000_u64 - ((1 << 32) - image.len() as u64)) as usize;
        assert_eq!(image[at..at + bytes.len()], bytes);
        assert!(SCRIPT - bytes.len() >= METADATA);
        assert!(METADATA - metadata().len() >= TABLE_END + table(&ENTRIES).len());
    }
}
