//! # Reading a process' arguments
//!
//! `/proc/PID/cmdline` is memory of that process, which sets its bounds (PR_SET_MM_ARG_END): it may
//! be of any length. So no more is read than the kernel accepts, one argument at a time.

use std::io::{self, BufRead};

/// The kernel's limit of one argument (MAX_ARG_STRLEN); the rest of a longer one is dropped.
pub const MAX_ARGUMENT: usize = 128 << 10;
/// More than the kernel's limit of all together (three quarters of _STK_LIM).
const MAX_ALL: u64 = 8 << 20;

/// A sequence of zero-terminated arguments.
pub struct Arguments<R>(io::Take<R>);

impl<R: BufRead> Arguments<R> {
    pub fn of(cmdline: R) -> Arguments<R> {
        Arguments(cmdline.take(MAX_ALL))
    }

    /// The next one; `None` after the last. Invalid UTF-8 is replaced.
    pub fn next(&mut self) -> io::Result<Option<String>> {
        let (mut argument, mut any) = (Vec::new(), false);
        loop {
            let part = match self.0.fill_buf() {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                part => part?,
            };
            if part.is_empty() {
                break;
            }
            any = true;
            let end = part.iter().position(|&byte| byte == 0);
            let kept = &part[..end.unwrap_or(part.len())];
            let room = MAX_ARGUMENT - argument.len();
            argument.extend_from_slice(&kept[..kept.len().min(room)]);
            let read = end.map_or(part.len(), |end| end + 1);
            self.0.consume(read);
            if end.is_some() {
                break;
            }
        }
        Ok(any.then(|| String::from_utf8_lossy(&argument).into_owned()))
    }
}

/// The arguments of a command line without quotes, as /proc/PID/cmdline has them.
#[cfg(test)]
pub fn cmdline(line: &str) -> Vec<u8> {
    line.split(' ').flat_map(|argument| [argument.as_bytes(), b"\0"].concat()).collect()
}

#[cfg(test)]
mod tests {
    use std::io::{BufReader, Read, repeat};

    use super::*;

    fn all(bytes: &[u8]) -> Vec<String> {
        // Parts that are shorter than most arguments.
        let mut arguments = Arguments::of(BufReader::with_capacity(3, bytes));
        std::iter::from_fn(|| arguments.next().unwrap()).collect()
    }

    #[test]
    fn each_ends_with_a_zero() {
        assert_eq!(all(b"qemu\0-name\0web\0"), ["qemu", "-name", "web"]);
        assert_eq!(all(b"qemu\0\0-S"), ["qemu", "", "-S"], "or with the memory");
        assert_eq!(all(b""), [""; 0]);
        assert_eq!(all(b"\0"), [""]);
        assert_eq!(all(b"a\xff\0\xc3"), ["a\u{fffd}", "\u{fffd}"]);
    }

    #[test]
    fn a_too_long_argument_is_cut_and_the_next_is_found() {
        for (length, kept) in [
            (MAX_ARGUMENT - 1, MAX_ARGUMENT - 1),
            (MAX_ARGUMENT, MAX_ARGUMENT),
            (MAX_ARGUMENT + 1, MAX_ARGUMENT),
            (4 * MAX_ARGUMENT, MAX_ARGUMENT),
        ] {
            let line = [&vec![b'x'; length][..], b"\0-S\0"].concat();
            let mut arguments = Arguments::of(&line[..]);
            assert_eq!(arguments.next().unwrap().map(|one| one.len()), Some(kept));
            assert_eq!(arguments.next().unwrap().as_deref(), Some("-S"));
            assert_eq!(arguments.next().unwrap(), None);
        }
    }

    #[test]
    fn an_endless_argument_is_cut() {
        let mut arguments = Arguments::of(BufReader::new(repeat(b'x')));
        assert_eq!(arguments.next().unwrap().map(|one| one.len()), Some(MAX_ARGUMENT));
        assert_eq!(arguments.next().unwrap(), None);
        let mut empty = Arguments::of(BufReader::new(repeat(0)));
        let count = std::iter::from_fn(|| empty.next().unwrap()).count();
        assert_eq!(count as u64, MAX_ALL);
    }

    #[test]
    fn two_mebibytes_are_read_to_their_end() {
        let line = [b"x".repeat(100), b"\0".to_vec()].concat().repeat((2 << 20) / 101);
        let line = [line, b"last\0".to_vec()].concat();
        let mut arguments = Arguments::of(&line[..]);
        let last = std::iter::from_fn(|| arguments.next().unwrap()).last();
        assert_eq!(last.as_deref(), Some("last"));
    }

    #[test]
    fn an_error_is_no_end() {
        struct Broken;
        impl Read for Broken {
            fn read(&mut self, _: &mut [u8]) -> io::Result<usize> {
                Err(io::Error::from_raw_os_error(libc::ESRCH))
            }
        }
        let mut arguments = Arguments::of(BufReader::new(b"qemu\0-na".chain(Broken)));
        assert_eq!(arguments.next().unwrap().as_deref(), Some("qemu"));
        assert!(arguments.next().is_err());
    }

    /// A source whose first read is interrupted by a signal.
    struct Disturbed(bool, &'static [u8]);

    impl Read for Disturbed {
        fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
            match std::mem::replace(&mut self.0, false) {
                true => Err(io::ErrorKind::Interrupted.into()),
                false => self.1.read(buffer),
            }
        }
    }

    #[test]
    fn an_interrupted_read_is_repeated() {
        let mut arguments = Arguments::of(BufReader::new(Disturbed(true, b"-name\0web\0")));
        assert_eq!(arguments.next().unwrap().as_deref(), Some("-name"));
        assert_eq!(arguments.next().unwrap().as_deref(), Some("web"));
        assert_eq!(arguments.next().unwrap(), None);
    }
}
