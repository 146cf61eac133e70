//! # The guest's initramfs as a cpio archive

use std::io::{Result, Write};

use cpio::newc::{Builder, trailer};

const DIRECTORY: u32 = 0o040_755;
const PROGRAM: u32 = 0o100_755;
const SYMLINK: u32 = 0o120_777;

pub struct Archive<W> {
    out: W,
    inode: u32,
}

impl<W: Write> Archive<W> {
    pub fn new(out: W) -> Self {
        Self { out, inode: 0 }
    }

    pub fn directory(&mut self, name: &str) -> Result<()> {
        self.entry(name, DIRECTORY, &[])
    }

    pub fn file(&mut self, name: &str, content: &[u8]) -> Result<()> {
        self.entry(name, PROGRAM, content)
    }

    pub fn symlink(&mut self, name: &str, to: &str) -> Result<()> {
        self.entry(name, SYMLINK, to.as_bytes())
    }

    pub fn finish(self) -> Result<()> {
        trailer(self.out)?.flush()
    }

    fn entry(&mut self, name: &str, mode: u32, content: &[u8]) -> Result<()> {
        let too_long = |_| std::io::Error::other(format!("{name}: over 4 GiB"));
        let size = u32::try_from(content.len()).map_err(too_long)?;
        self.inode += 1;
        let links = if mode == DIRECTORY { 2 } else { 1 };
        let entry = Builder::new(name).ino(self.inode).mode(mode).nlink(links);
        let mut entry = entry.write(&mut self.out, size);
        entry.write_all(content)?;
        entry.finish().map(drop)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn entries_are_aligned() {
        let mut bytes = Vec::new();
        let mut archive = Archive::new(&mut bytes);
        archive.file("init", b"hello").unwrap();
        archive.finish().unwrap();
        assert!(bytes.starts_with(b"070701"));
        // The header of 110 bytes and the name with its NUL, then the content, both padded to 4.
        assert_eq!(&bytes[116..121], b"hello");
        assert_eq!(&bytes[124..130], b"070701");
        assert_eq!(bytes.len() % 4, 0);
    }
}
