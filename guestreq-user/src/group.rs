//! # Who may open the socket
//!
//! Root, and one group, which may only read. Groups are looked up in /etc/group, as a
//! static binary has no other; one that is elsewhere is given by its number.

use std::{
    fs::{self, DirBuilder, Permissions},
    io,
    os::unix::fs::{DirBuilderExt as _, MetadataExt as _, PermissionsExt as _, chown},
    path::Path,
};

use anyhow::{Context as _, Result, anyhow};
use log::warn;

/// The group that is used if there is one of that name.
const DEFAULT: &str = "guestreq";
const GROUPS: &str = "/etc/group";

/// The number of the group that was asked for, or else of the usual one.
pub fn wanted(asked: Option<&str>) -> Result<Option<u32>> {
    let groups = match fs::read_to_string(GROUPS) {
        // A static binary in an empty container.
        Err(error) if error.kind() == io::ErrorKind::NotFound => String::new(),
        // An unreadable file does not mean that the group is missing.
        groups => groups.context(GROUPS)?,
    };
    let Some(asked) = asked else { return Ok(number(&groups, DEFAULT)) };
    let found = number(&groups, asked).or_else(|| asked.parse().ok());
    found.map(Some).ok_or_else(|| {
        anyhow!(
            "socket_group: there is no group {asked:?} in {GROUPS}: make it with `groupadd`, or \
             give its number"
        )
    })
}

fn number(groups: &str, name: &str) -> Option<u32> {
    entries(groups).find(|(of, _)| *of == name).map(|(_, number)| number)
}

/// Names and numbers: `name:password:number:members`.
fn entries(groups: &str) -> impl Iterator<Item = (&str, u32)> {
    groups.lines().filter_map(|line| {
        let mut fields = line.split(':');
        Some((fields.next()?, fields.nth(1)?.parse().ok()?))
    })
}

/// A folder that others may enter, if it is not there yet: what lies in it says who may open it.
pub fn make_folder(path: &Path) -> io::Result<()> {
    if path.is_dir() {
        return Ok(());
    }
    if let Some(parent) = path.parent() {
        fs::create_dir_all(parent)?;
    }
    match DirBuilder::new().mode(0o755).create(path) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => return Ok(()),
        made => made?,
    }
    // Whatever this process' mask is.
    fs::set_permissions(path, Permissions::from_mode(0o755))
}

/// Lets a group open the socket, and nobody else but its owner.
pub fn admit(socket: &Path, group: Option<u32>) -> io::Result<()> {
    // First: as long as it belongs to another group, that one may not write.
    fs::set_permissions(socket, Permissions::from_mode(0o600))?;
    if let Some(group) = group {
        chown(socket, None, Some(group))?;
        if let Some(folder) = socket.parent().filter(|folder| !may_enter(folder, group)) {
            let folder = folder.display();
            warn!("{folder} may not be entered by group {group}: the socket in it is root's alone");
        }
    }
    fs::set_permissions(socket, Permissions::from_mode(0o660))
}

fn may_enter(folder: &Path, group: u32) -> bool {
    fs::metadata(folder).is_ok_and(|folder| {
        let bit = if folder.gid() == group { 0o010 } else { 0o001 };
        folder.mode() & bit != 0
    })
}

/// How somebody may open a socket that was refused to them.
pub fn advice(socket: &Path) -> String {
    let gid = fs::metadata(socket).map_or(0, |socket| socket.gid());
    let groups = fs::read_to_string(GROUPS).unwrap_or_default();
    let name = entries(&groups).find(|(_, number)| *number == gid).map(|(name, _)| name);
    match (gid, name) {
        (0, _) => {
            "it is root's alone: use `sudo` (the key socket_group lets a group read)".to_owned()
        }
        (_, Some(name)) => format!(
            "use `sudo`, or join group {name}, which may read: `sudo usermod -aG {name} $USER`, \
             then log in again"
        ),
        (gid, None) => format!("use `sudo`, or join the group of number {gid}, which may read"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FILE: &str = "root:x:0:\nguestreq:x:990:alice,bob\nbad line\nops:x:1001:\n";

    #[test]
    fn a_group_is_known_by_its_name() {
        assert_eq!(number(FILE, "guestreq"), Some(990));
        assert_eq!(number(FILE, "ops"), Some(1001));
        assert_eq!(number(FILE, "bad line"), None);
        assert_eq!(number("", "guestreq"), None);
    }

    #[test]
    fn a_missing_group_is_an_error_unless_it_is_a_number() {
        assert_eq!(wanted(Some("54321")).unwrap(), Some(54321));
        let error = wanted(Some("no such group")).unwrap_err().to_string();
        assert!(error.contains("\"no such group\"") && error.contains("groupadd"), "{error}");
    }

    #[test]
    fn a_folder_is_made_so_that_others_may_enter_it() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a/b");
        make_folder(&path).unwrap();
        make_folder(&path).unwrap();
        assert_eq!(fs::metadata(&path).unwrap().mode() & 0o777, 0o755);
        assert!(may_enter(&path, 54321));
    }
}
