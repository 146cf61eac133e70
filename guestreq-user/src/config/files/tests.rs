use std::os::unix::fs::symlink;

use proptest::prelude::*;

use super::*;

fn refused(make: impl FnOnce(&Path)) -> String {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("config.toml");
    make(&path);
    let error = format!("{:#}", Files::of(Some(&path)).read().unwrap_err());
    assert!(!error.contains('\n'), "{error}");
    let (name, why) = error.split_once(": ").unwrap();
    assert!(name.ends_with("/config.toml"), "{error}");
    why.to_owned()
}

#[test]
fn anything_but_a_file_is_an_error_and_does_not_block() {
    assert!(refused(|_| {}).contains("No such file"));
    assert_eq!(refused(|path| fs::create_dir(path).unwrap()), "it is a folder, not a file");
    assert_eq!(
        refused(|path| symlink("/nonexistent/x", path).unwrap()),
        "it is a dangling link: /nonexistent/x"
    );
    assert_eq!(refused(|path| symlink("/dev/zero", path).unwrap()), "it is a device, not a file");
    let pipe = refused(|path| {
        let name = std::ffi::CString::new(path.as_os_str().as_encoded_bytes()).unwrap();
        // SAFETY: a string that ends with 0.
        assert_eq!(unsafe { libc::mkfifo(name.as_ptr(), 0o600) }, 0);
    });
    assert_eq!(pipe, "it is a pipe, not a file");
    let socket = refused(|path| {
        std::os::unix::net::UnixListener::bind(path).unwrap();
    });
    assert_eq!(socket, "it is a socket, not a file");
    assert_eq!(
        refused(|path| fs::write(path, b"# good\n# b\xffd").unwrap()),
        "line 2, column 4: not UTF-8 text"
    );
    let long = refused(|path| fs::write(path, vec![b'#'; 10 << 20]).unwrap());
    assert_eq!(long, "too long: all configuration files together may have 1 MiB");
}

#[test]
fn anything_but_a_folder_is_an_error_and_a_missing_one_is_empty() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("config.toml");
    fs::write(&path, "").unwrap();
    assert_eq!(Files::of(Some(&path)).paths().unwrap(), std::slice::from_ref(&path));
    fs::write(folder.path().join("conf.d"), "").unwrap();
    let error = format!("{:#}", Files::of(Some(&path)).read().unwrap_err());
    assert!(error.contains("/conf.d: Not a directory"), "{error}");
}

#[test]
fn the_default_file_may_be_absent_and_a_given_one_may_not() {
    let folder = tempfile::tempdir().unwrap();
    let main = folder.path().join("config.toml");
    let default = Files { main: main.clone(), required: false };
    let given = Files::of(Some(&main));
    assert!(default.read().unwrap().is_empty() && given.read().is_err());
    fs::write(&main, "").unwrap();
    for files in [default, given] {
        assert_eq!(files.read().unwrap(), [(main.clone(), String::new())]);
    }
}

#[test]
fn the_size_limit_is_for_all_files_together() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("config.toml");
    fs::create_dir(folder.path().join("conf.d")).unwrap();
    fs::write(&path, vec![b'\n'; 1 << 19]).unwrap();
    fs::write(folder.path().join("conf.d/a.toml"), vec![b'\n'; 1 << 19]).unwrap();
    let files = Files::of(Some(&path));
    assert_eq!(files.read().unwrap().len(), 2);
    fs::write(folder.path().join("conf.d/b.toml"), "\n").unwrap();
    let error = format!("{:#}", files.read().unwrap_err());
    assert!(error.contains("conf.d/b.toml: too long"), "{error}");
}

#[test]
fn a_config_map_s_swap_and_an_editor_s_rename_are_seen() {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name);
    for (version, text) in [("..1", "mode = 1"), ("..2", "mode = 2")] {
        fs::create_dir(at(version)).unwrap();
        fs::write(at(version).join("config.toml"), text).unwrap();
    }
    symlink("..1", at("..data")).unwrap();
    symlink("..data/config.toml", at("config.toml")).unwrap();
    let files = Files::of(Some(&at("config.toml")));
    let mut last = files.fingerprint();
    assert_eq!(files.fingerprint(), last, "nothing has changed");
    let mut differs = |what: &str| {
        let now = files.fingerprint();
        assert_ne!(now, last, "{what}");
        last = now;
    };
    symlink("..2", at("..data_tmp")).unwrap();
    fs::rename(at("..data_tmp"), at("..data")).unwrap();
    differs("the swap");
    assert_eq!(files.read().unwrap()[0].1, "mode = 2");
    fs::write(at("new"), "mode = 3").unwrap();
    fs::rename(at("new"), at("config.toml")).unwrap();
    differs("the rename");
    fs::create_dir(at("conf.d")).unwrap();
    differs("a new folder");
    fs::write(at("conf.d/a.toml"), "").unwrap();
    differs("a new file");
    fs::write(at("conf.d/a.toml"), "mode = 4").unwrap();
    differs("a file that is written");
    fs::remove_file(at("conf.d/a.toml")).unwrap();
    differs("a file less");
    fs::remove_file(at("config.toml")).unwrap();
    differs("no file");
    symlink("nowhere", at("config.toml")).unwrap();
    differs("a link to nothing");
}

#[test]
fn an_editor_s_own_files_are_no_change() {
    let folder = tempfile::tempdir().unwrap();
    fs::create_dir(folder.path().join("conf.d")).unwrap();
    let files = Files::of(Some(&folder.path().join("config.toml")));
    let before = files.fingerprint();
    for name in ["conf.d/.a.toml.swp", "conf.d/a.toml~", ".config.toml.swp"] {
        fs::write(folder.path().join(name), "").unwrap();
    }
    assert_eq!(files.fingerprint(), before);
}

proptest! {
    #[test]
    fn no_bytes_make_it_panic(bytes: Vec<u8>) {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("config.toml");
        fs::write(&path, &bytes).unwrap();
        if let Err(error) = crate::config::Config::load(Some(&path)) {
            let error = format!("{error:#}");
            prop_assert!(!error.contains('\n') && error.contains("config.toml: "), "{error}");
        }
    }
}
